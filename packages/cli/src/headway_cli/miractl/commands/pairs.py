"""Values given as KEY=VALUE, once for each."""

from __future__ import annotations

from collections.abc import Iterable

import click
from headway_wire.errors import Invalid, Problem


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """Names and values.  Raises Invalid with every one that is wrong."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or not name:
            problems.append(Problem(f"'{text}' is not KEY=VALUE", option))
        elif name in found:
            problems.append(Problem(f"'{name}' is given twice", option))
        else:
            found[name] = value
    if problems:
        raise Invalid(f"wrong {option}", code="usage", problems=problems)
    return found


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
