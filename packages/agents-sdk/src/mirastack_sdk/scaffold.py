"""A new agent as a project on disk: it installs, its tests pass, and it serves.

The files are those of `scaffold_files/` with `$name` and the like filled in, so what an author gets can be
read there.
"""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from headway_wire.errors import Conflict, HeadwayError, Invalid

__all__ = ["NAME_CHARACTERS_MAX", "new_agent"]

NAME_CHARACTERS_MAX = 63
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TAKEN = frozenset({"headway", "headway_cli", "headway_wire", "mirastack_sdk", "mn_sdk", "tests", "test"})

# Where each file of scaffold_files/ goes; `$module` is the name of the Python package.
_TARGETS = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
    "init.py.txt": "$module/__init__.py",
    "main.py.txt": "$module/__main__.py",
    "plugin.py.txt": "$module/plugin.py",
    "guide.tmpl.txt": "$module/templates/${module}_guide.tmpl",
    "test_plugin.py.txt": "tests/test_plugin.py",
}


def new_agent(name: str, folder: str | Path) -> list[Path]:
    """Write the project of a new agent called `name` into `folder`, which must not exist; its files, sorted.

    Raises: Invalid for a name that cannot be a project, Conflict when `folder` exists, OSError when it cannot
    be written.
    """
    module = _module_name(name)
    root = Path(folder)
    words = {"name": name, "module": module, "title": name.replace("-", " ")}
    texts = {
        root / Template(target).substitute(words): Template(_text(source)).substitute(words)
        for source, target in _TARGETS.items()
    }
    try:
        root.mkdir(parents=True)
    except FileExistsError as error:
        raise Conflict(
            f"{root} exists; an agent is written into a folder of its own. Choose another name or folder",
            code="folder_exists",
        ) from error
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return sorted(texts)


def _module_name(name: str) -> str:
    """The Python package of an agent called `name`.  Raises: Invalid with everything wrong with the name."""
    module = name.replace("-", "_")
    problems = []
    if not _NAME.fullmatch(name):
        problems.append(
            "use lower-case letters, digits and single hyphens, and start with a letter: my-agent"
        )
    if len(name) > NAME_CHARACTERS_MAX:
        problems.append(f"it has {len(name)} characters; at most {NAME_CHARACTERS_MAX} are allowed")
    if keyword.iskeyword(module) or module in sys.stdlib_module_names or module in _TAKEN:
        problems.append(f"a Python package cannot be called {module}, because something else is")
    if problems:
        raise Invalid(
            f"{name!r} cannot be the name of an agent", code="invalid_agent_name", problems=problems
        )
    return module


def _text(source: str) -> str:
    return files("mirastack_sdk").joinpath("scaffold_files", source).read_text(encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`python -m mirastack_sdk.scaffold NAME [FOLDER]`: write it, say what to do next; the exit code."""
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m mirastack_sdk.scaffold NAME [FOLDER]\n")
        return Invalid.exit_code
    name, folder = arguments[0], Path(arguments[-1])
    try:
        written = new_agent(name, folder)
    except HeadwayError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"{folder} cannot be written: {error.strerror}\n")
        return Invalid.exit_code
    sys.stdout.writelines(f"{path}\n" for path in written)
    sys.stdout.write(f"\nNext: cd {folder} && pytest\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
