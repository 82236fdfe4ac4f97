"""Serve the agent: `python -m headway_agent_host`, or the command `headway-agent-host`."""

from __future__ import annotations

import argparse
import os

from mirastack_sdk import serve

from headway_agent_host.plugin import HostAgent


def main() -> None:
    """Serve until SIGTERM or SIGINT.  The engine's address and the tenant come from the environment."""
    parser = argparse.ArgumentParser(
        prog="headway-agent-host",
        description="The first-party agent that reads this machine and cleans folders you allow.",
        epilog="MIRASTACK_ENGINE_ADDR names the engine, MIRASTACK_PLUGIN_TENANT_SLUG the tenant.",
    )
    parser.add_argument(
        "--allow",
        metavar="FOLDER",
        action="append",
        default=[],
        help="a folder below which old files may be deleted, unless the setting allowed_folders is changed",
    )
    allowed = [os.path.abspath(folder) for folder in parser.parse_args().allow]
    serve(HostAgent(allowed=allowed))


if __name__ == "__main__":
    main()
