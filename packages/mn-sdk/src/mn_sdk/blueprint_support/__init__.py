"""Blueprints in Python: folders whose manifest names a workflow class, and the bundles made of them.

The blueprint's own code is read, never executed.  Source: bundle contract, section 14.
"""

from mn_sdk.blueprint_support.python_workflow_bundle import (
    Blueprint,
    compile_blueprint,
    compile_file,
    generate_bundle,
)

__all__ = ["Blueprint", "compile_blueprint", "compile_file", "generate_bundle"]
