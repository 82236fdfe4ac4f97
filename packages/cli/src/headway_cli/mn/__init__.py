"""`mn`: the client of an engine's MirrorNeuron interface, for authors and operators of bundles."""

from headway_cli.mn.program import cli, main

__all__ = ["cli", "main"]
