"""Values given as NAME=VALUE, once for each."""

from __future__ import annotations

from collections.abc import Iterable

from headway_wire.errors import Invalid, Problem


def pairs(given: Iterable[str], option: str, *, form: str = "KEY=VALUE") -> dict[str, str]:
    """Names and values.  form: as help calls them.  Raises Invalid with every one that is wrong."""
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or not name:
            problems.append(Problem(f"'{text}' is not {form}", option))
        elif name in found:
            problems.append(Problem(f"'{name}' is given twice", option))
        else:
            found[name] = value
    if problems:
        raise Invalid(f"wrong {option}", code="usage", problems=problems)
    return found
