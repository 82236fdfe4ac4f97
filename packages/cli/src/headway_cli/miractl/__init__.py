"""`miractl`: the client of an engine's REST interface."""

from headway_cli.miractl.program import cli, main

__all__ = ["cli", "main"]
