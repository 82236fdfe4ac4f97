"""``python -m mn_blueprint_support.python_workflow_bundle_cli``: a blueprint in Python becomes a bundle.

Prints progress to stderr and the path of the bundle to stdout; exits with 0, or with 1 and what is wrong.
Source: bundle contract, section 14.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from headway_wire.errors import HeadwayError

from mn_sdk.blueprint_support.python_workflow_bundle import QUICK_TEST, Blueprint, generate_bundle

_NO = ("", "0", "false", "no", "off")


def main(argv: Sequence[str] | None = None) -> int:
    """The program; its exit code."""
    given = _parser().parse_args(argv)
    quick_test = given.quick_test or os.environ.get(QUICK_TEST, "").strip().lower() not in _NO
    try:
        if message := Blueprint(given.blueprint_dir).status_message:
            _tell(message)
        bundle = generate_bundle(given.blueprint_dir, given.output_dir, quick_test=quick_test)
        _tell("bundle generated")
        sys.stdout.write(f"{bundle}\n")
        sys.stdout.flush()
    except (HeadwayError, OSError) as error:
        _tell(f"Error: {error}")
        return 1
    return 0


def _tell(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _named(folder: str) -> str:
    if not folder.strip():  # An unset variable is not meant to be the folder one is in.
        raise argparse.ArgumentTypeError("it is empty; name a folder")
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python_workflow_bundle_cli", description="Compile a blueprint in Python into a bundle folder."
    )
    parser.add_argument(
        "--blueprint-dir", default=".", metavar="DIR", help="the folder of manifest.json and the workflow"
    )
    parser.add_argument(
        "--output-dir", required=True, metavar="DIR", type=_named, help="where the bundle goes"
    )
    parser.add_argument(
        "--quick-test", action="store_true", help=f"agents find {QUICK_TEST}=1; the same when it is set here"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
