"""Checking a bundle before it is submitted, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from headway_wire.bundle import check_folder
from headway_wire.errors import HeadwayError, Problem
from headway_wire.manifest import Finding, findings, read, report

from headway_cli.mn.bundles import compiled, is_source
from headway_cli.output import clean

Report = dict[str, Any]


def report_of(path: Path) -> tuple[Report, dict[str, Any]]:
    """The validation report of a bundle or blueprint folder, and its manifest as far as it can be read."""
    manifest, found = _compiled(path) if is_source(path) else check_folder(path)
    return {"path": str(path), **report(found)}, manifest or {}


def _compiled(path: Path) -> tuple[dict[str, Any] | None, list[Finding]]:
    """What a blueprint in Python compiles to, and what is wrong with that, or with the source."""
    try:
        bundle = compiled(path, {})
    except HeadwayError as error:
        return None, [_finding(error, problem) for problem in error.problems or [Problem(error.message)]]
    manifest = bundle.manifest
    return manifest, findings(manifest, payload_names=bundle.payloads.keys(), authored=True)


def _finding(error: HeadwayError, problem: Problem) -> Finding:
    """A mistake in a source as a finding, with its place in front."""
    place = f"{problem.file}:{problem.line}: " if problem.file and problem.line else ""
    return Finding(error.code, place + problem.message, help=problem.hint)


def success_lines(path: Path, found: Report, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What is printed of a valid bundle.  Source: bundle contract, section 14."""
    normal = read(manifest)
    yield f"Job bundle at '{path}' is valid."
    yield f"Job name:  {clean(normal.job_name)}"
    yield f"Graph ID:  {clean(normal.graph_id)}"
    yield f"Nodes:     {len(normal.nodes)}"
    for issue in found["issues"]:
        if issue["severity"] == "warning":
            yield f"{click.style('Warning:', fg='yellow')} {clean(issue['message'])}"
