"""`miractl completion`: scripts that complete commands in a shell."""

from __future__ import annotations

from headway_cli.completion import completion_command
from headway_cli.miractl.group import Command

completion = completion_command("miractl", Command)
