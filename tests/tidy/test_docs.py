"""Links between documents lead somewhere, and every module says what it is for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.tidy.tree import Finding, Tree, planted, report

_LINK = re.compile(r"(?<!!)\[[^\]^]+\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)


def anchors(markdown: str) -> set[str]:
    """The anchors that headings get: lower case, punctuation gone, spaces as hyphens."""
    titles = _HEADING.findall(_FENCE.sub("", markdown))
    plain = (re.sub(r"[^\w\s-]", "", title.replace("`", "").lower()) for title in titles)
    return {re.sub(r"\s", "-", title.strip()) for title in plain}


def broken_links(tree: Tree) -> list[Finding]:
    findings: list[Finding] = []
    for path, text in tree.texts.items():
        if not path.endswith(".md"):
            continue
        without_code = _FENCE.sub(lambda found: "\n" * found.group().count("\n"), text)
        for number, line in enumerate(without_code.splitlines(), 1):
            for link in (first or second for first, second in _LINK.findall(line)):
                if problem := _problem(tree, path, link):
                    findings.append(Finding(path, number, f"{link}: {problem}"))
    return findings


def _problem(tree: Tree, path: str, link: str) -> str:
    if "://" in link or link.startswith("mailto:"):
        return ""
    name, _, anchor = link.partition("#")
    target = (tree.root / path).parent / name if name else tree.root / path
    if not target.exists():
        return "leads nowhere"
    if anchor and target.suffix == ".md" and anchor not in anchors(target.read_text(encoding="utf-8")):
        return f"no heading gives the anchor #{anchor}"
    return ""


def unreachable(tree: Tree) -> list[Finding]:
    """Pages below docs/ that no other page leads to."""
    led_to: set[Path] = set()
    for path, text in tree.texts.items():
        if path.endswith(".md"):
            links = (first or second for first, second in _LINK.findall(_FENCE.sub("", text)))
            page = tree.root / path
            led_to |= {(page.parent / link.partition("#")[0]).resolve() for link in links} - {page.resolve()}
    pages = (path for path in tree.texts if path.startswith("docs/") and path.endswith(".md"))
    return [
        Finding(path, 1, "no page leads here; add it to docs/README.md or to a page listed there")
        for path in pages
        if (tree.root / path).resolve() not in led_to
    ]


def unexplained(tree: Tree) -> list[Finding]:
    """Modules without a docstring.  An empty `__init__.py` of a folder of tests has nothing to say."""
    return [
        Finding(module.path, 1, "no docstring; say what the module is for and what it must never do")
        for module in tree.modules
        if not ast.get_docstring(module.syntax) and not (module.is_test and not module.text.strip())
    ]


def test_every_link_between_documents_leads_somewhere(repository: Tree) -> None:
    findings = broken_links(repository)

    assert not findings, report(findings)


def test_every_page_of_the_documentation_can_be_found(repository: Tree) -> None:
    findings = unreachable(repository)

    assert not findings, report(findings)


def test_every_module_says_what_it_is_for(repository: Tree) -> None:
    findings = unexplained(repository)

    assert not findings, report(findings)


def test_broken_links_are_found(tmp_path: Path) -> None:
    text = "# One two\n[a](b.md) [b](c.md) [c](b.md#one-two) [d](#nowhere) [e](#one-two)\n"
    text += "```\n[f](nowhere.md)\n```\n"
    tree = planted(tmp_path, {"a.md": text, "b.md": "# One two!\n"})

    assert [finding.what.split(":")[0] for finding in broken_links(tree)] == ["c.md", "#nowhere"]


def test_a_page_that_nobody_links_to_is_found(tmp_path: Path) -> None:
    pages = {"README.md": "[a](docs/a.md)", "docs/a.md": "", "docs/b.md": "[b](b.md)", "docs/c.txt": ""}
    tree = planted(tmp_path, pages)

    assert [finding.path for finding in unreachable(tree)] == ["docs/b.md"]


def test_a_module_without_a_docstring_is_found(tmp_path: Path) -> None:
    tree = planted(tmp_path, {"a.py": "x = 1\n", "b.py": '"""Why."""\n', "tests/__init__.py": "", "c.py": ""})

    assert [finding.path for finding in unexplained(tree)] == ["a.py", "c.py"]
