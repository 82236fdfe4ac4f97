"""`mn completion`: scripts that complete commands in a shell."""

from __future__ import annotations

from headway_cli.completion import completion_command
from headway_cli.mn.group import Command

completion = completion_command("mn", Command)
