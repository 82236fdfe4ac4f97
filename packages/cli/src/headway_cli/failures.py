"""What goes wrong, as one message with all problems, and an exit code that scripts can act on.

Exit codes: 0 ok, 1 error, 2 usage, 3 not logged in, 4 forbidden, 5 not found, 6 refused or failed run.
Source: engine surface, section 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import click
from headway_wire.errors import Broken, HeadwayError, Invalid, Problem

from headway_cli.app import App
from headway_cli.output import clean, document

EXIT_FAILED_RUN = 6
EXIT_CODES = {
    "invalid": 2,
    "unauthenticated": 3,
    "forbidden": 4,
    "not_found": 5,
    "refused": 6,
    "conflict": 6,
}
"""By kind of error; every other kind is 1: the engine is away, too busy, or defect."""

Hints = Mapping[str, str]
"""By code or kind of an error, what to do about it; each program has its own."""


def report(
    error: Exception, app: App, arguments: Sequence[str], *, hints: Hints, title: str = "error:"
) -> int:
    """Print an error on stderr, in the chosen format, and return the exit code."""
    known = _translated(error, app.program)
    code = EXIT_CODES.get(known.kind, 1)
    output = _wanted_format(app, arguments)
    if output == "table":
        colour = False if app.colourless else None
        click.echo("\n".join(_lines(error, known, hints, title)), err=True, color=colour)
    else:
        click.echo(document({"error": known.to_dict()}, output), err=True)
    return code


def _translated(error: Exception, program: str) -> HeadwayError:
    match error:
        case HeadwayError():
            return error
        case click.UsageError():
            return Invalid(error.format_message(), code="usage")
        case click.ClickException():
            return Broken(error.format_message(), code="usage")
        case OSError():
            name = f"{error.filename}: " if error.filename else ""
            return Broken(f"{name}{error.strerror or error}", code="file")
        case _:
            text = f"a defect of {program}: {type(error).__name__}: {error}"
            return Broken(text, code="defect")


def _lines(error: Exception, known: HeadwayError, hints: Hints, title: str) -> list[str]:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return [error.format_message()]
    lines = [f"{click.style(title, fg='red', bold=True)} {clean(known.message)}"]
    lines += [f"  {_problem(problem)}" for problem in known.problems]
    nearest = known.facts.get("nearest")
    if isinstance(nearest, list) and nearest:
        lines.append(_hint("did you mean " + " or ".join(clean(str(name)) for name in nearest) + "?"))
    if hint := hints.get(known.code) or hints.get(known.kind):
        lines.append(_hint(hint))
    if isinstance(error, click.UsageError) and error.ctx is not None:
        lines.append(_hint(f"`{error.ctx.command_path} --help` says how"))
    return lines


def _problem(problem: Problem) -> str:
    place = f"{problem.file}:{problem.line}" if problem.file and problem.line else problem.file
    spot = " ".join(part for part in (place, problem.where) if part)
    text = (
        f"{click.style(clean(spot), bold=True)}: {clean(problem.message)}" if spot else clean(problem.message)
    )
    return f"{text}\n{_hint(clean(problem.hint), indent=4)}" if problem.hint else text


def _hint(text: str, *, indent: int = 2) -> str:
    return " " * indent + click.style(f"-> {text}", fg="cyan")


def _wanted_format(app: App, arguments: Sequence[str]) -> str:
    """The format that was asked for, even when the line was wrong before it was read that far."""
    if app.output != "table":
        return app.output
    for word, following in pairwise([*arguments, ""]):
        for format in ("json", "yaml"):
            if word in (f"-o{format}", f"--output={format}"):
                return format
            if word in ("-o", "--output") and following == format:
                return format
    return "table"
