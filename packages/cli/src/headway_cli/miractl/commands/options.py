"""Options that several commands have."""

from __future__ import annotations

import click

mode_option = click.option(
    "--mode",
    type=click.Choice(("manual", "guided", "autonomous")),
    default=None,
    help="A stricter mode than the one that applies anyway; none skips an approval.",
)
wait_option = click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Show progress until it ends, or rests at a gate.",
)
