"""docs/reference/errors has an entry for every code of the source, with its kind, and for nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from headway.api.rest.app import STATUS_BY_CODE
from headway_cli.failures import EXIT_CODES
from headway_wire.errors import KINDS

from tests.docs.codes import FAILURE, Used, codes_in, codes_of_the_table
from tests.tidy.tree import REPOSITORY, Tree, planted

PAGES = REPOSITORY / "docs" / "reference" / "errors"
_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)


def rows() -> dict[str, str]:
    """The rows of the pages with tables by code: the last cell, which says how the code shows."""
    found: dict[str, str] = {}
    for page in sorted(PAGES.glob("*.md")):
        if page.name == "README.md":
            continue
        for code, cells in _ROW.findall(page.read_text(encoding="utf-8")):
            assert code not in found, f"{code} has two entries"
            found[code] = cells.split("|")[-1].strip()
    return found


def pages() -> set[str]:
    """The codes that have a page of their own: its title begins with the code."""
    titles = {page.stem: page.read_text(encoding="utf-8").split("\n", 1)[0] for page in PAGES.glob("*.md")}
    return {code for code, title in titles.items() if title.startswith(f"# {code}:")}


def shows_as(code: str, kinds: set[str]) -> set[str]:
    """What the last cell of a code says about its kinds of error: the HTTP status, then the kind."""
    return {
        f"{STATUS_BY_CODE.get(code, KINDS[kind].http_status)} {kind}" for kind in kinds if kind != FAILURE
    }


@pytest.fixture(scope="module")
def used() -> dict[str, Used]:
    return codes_in(Tree(REPOSITORY))


def test_every_code_of_the_source_has_an_entry_and_every_entry_a_code(used: dict[str, Used]) -> None:
    documented = rows().keys() | pages()
    known = used.keys() | codes_of_the_table().keys() - KINDS.keys()

    missing = {code: used[code].places if code in used else [] for code in known - documented - KINDS.keys()}
    assert not missing
    assert not documented - known, "no source uses these codes any more"


def test_no_code_is_explained_in_two_places() -> None:
    assert not rows().keys() & pages()


def test_every_entry_says_the_status_with_which_the_code_shows(used: dict[str, Used]) -> None:
    table = codes_of_the_table()
    wrong = {}
    for code, cell in rows().items():
        said = {part.strip() for part in cell.split(",")}
        kinds = (used[code].kinds if code in used else set()) | ({table[code]} if code in table else set())
        if said - {"step", "run"} != shows_as(code, kinds) or (FAILURE in kinds) != bool(
            said & {"step", "run"}
        ):
            wrong[code] = (cell, kinds)

    assert not wrong


def test_the_table_of_kinds_is_the_one_of_the_code() -> None:
    text = (PAGES / "README.md").read_text(encoding="utf-8")
    found = {kind: [cell.strip() for cell in cells.split("|")][1:] for kind, cells in _ROW.findall(text)}

    assert found == {
        kind: [str(cls.http_status), cls.grpc_status, str(cls.exit_code), str(EXIT_CODES.get(kind, 1))]
        for kind, cls in KINDS.items()
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("raise Invalid('no', code='a')", {"a": {"invalid"}}),
        ("Failure('a', 'text', False)", {"a": {FAILURE}}),
        ("failed('x', 'a')", {"a": {FAILURE}}),
        ("raise Invalid('no', code='a' if x else 'b')", {"a": {"invalid"}, "b": {"invalid"}}),
        ("error(x.code or 'a')", {}),
        ("failed(x, x.code or 'a')", {"a": {FAILURE}}),
        ("code = 'a' if x else 'b'; failed(x, code)", {"a": {FAILURE}, "b": {FAILURE}}),
        ("Result(id, None, ('a', 'text', True))", {"a": {FAILURE}}),
        ("def lose(x, *, code='a'): pass", {"a": {FAILURE}}),
        ("def lose(x, code='a'): pass", {"a": {FAILURE}}),
    ],
)
def test_a_code_is_found_wherever_it_stands(tmp_path: Path, line: str, expected: dict[str, set[str]]) -> None:
    text = f"def failed(id, code): pass\ndef f(x):\n    {line}\n"
    found = codes_in(planted(tmp_path, {"packages/p/src/p/m.py": text, "packages/p/tests/t.py": text}))

    assert {code: used.kinds for code, used in found.items()} == expected
    assert all(len(used.places) == 1 for used in found.values())


def test_a_code_that_is_put_together_from_something_new_is_noticed(tmp_path: Path) -> None:
    tree = planted(tmp_path, {"packages/p/src/p/m.py": "def f(x):\n    Failure(f'new_{x}', '')\n"})

    with pytest.raises(KeyError, match="new_"):
        codes_in(tree)
