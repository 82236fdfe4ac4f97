"""A tree of source files, and what rules say about it.  Reads; never changes a file."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_TEXT_BYTES_MAX = 2_000_000
"""Larger files are data; no rule here reads data."""


@dataclass(frozen=True)
class Finding:
    """One place that breaks a rule, and what to do about it."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True)
class PythonFile:
    """A module: its path below the root, its text and its syntax."""

    path: str
    text: str

    @cached_property
    def syntax(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def is_test(self) -> bool:
        return "tests" in Path(self.path).parts[:-1]

    def imported(self) -> Iterator[tuple[str, int]]:
        """Every absolute import as (dotted name, line), in functions too; `from a import b` gives a.b."""
        for node in ast.walk(self.syntax):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


class Tree:
    """The files that are in git, or would be after `git add`; a folder outside git counts whole."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def paths(self) -> list[str]:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=self.root,
            capture_output=True,
            check=False,
        )
        if listed.returncode == 0:
            names = listed.stdout.decode().split("\0")
        else:
            names = [path.relative_to(self.root).as_posix() for path in self.root.rglob("*")]
        return sorted(name for name in set(names) if name and (self.root / name).is_file())

    @cached_property
    def texts(self) -> Mapping[str, str]:
        """The text files by path; what is not UTF-8 is left out."""
        texts: dict[str, str] = {}
        for path in self.paths:
            content = (self.root / path).read_bytes()[: _TEXT_BYTES_MAX + 1]
            if len(content) > _TEXT_BYTES_MAX or b"\0" in content:
                continue
            texts[path] = content.decode("utf-8", errors="replace")
        return texts

    @cached_property
    def modules(self) -> list[PythonFile]:
        """Python that is ours to keep tidy.  Templates of files (`*.py.tmpl`) are not Python yet."""
        return [PythonFile(path, text) for path, text in self.texts.items() if path.endswith(".py")]


def planted(root: Path, files: Mapping[str, str]) -> Tree:
    """A tree made of `files`, for a test that wants to see a rule find something."""
    for path, text in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return Tree(root)


def report(findings: list[Finding]) -> str:
    """The findings, one a line, as the message of a failed assertion."""
    return "\n" + "\n".join(map(str, findings))
