"""``python -m mn_blueprint_support.python_workflow_bundle_cli``; see `mn_sdk.blueprint_support`."""

from mn_sdk.blueprint_support.python_workflow_bundle_cli import main

__all__ = ["main"]

if __name__ == "__main__":
    raise SystemExit(main())
