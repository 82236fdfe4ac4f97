"""The folders of blueprints: where they are, what is in them, and which one is meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from headway_wire.bundle import parse_manifest
from headway_wire.errors import Invalid, NotFound

from headway_cli.mn.bundles import is_source

ROOT_VARIABLE = "MN_BLUEPRINTS_ROOT"
IN_CHECKOUT = Path("examples/blueprints")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A folder with a manifest.

    kind: python (compiled when it runs) or bundle.  problem: why it cannot be read, or "".
    """

    path: Path
    kind: str = ""
    about: str = ""
    type: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """What it is called: the name of its folder."""
        return self.path.name


def root_of(given: Path | None, environ: Mapping[str, str], here: Path) -> Path:
    """The folder of blueprints: the given one, MN_BLUEPRINTS_ROOT, or examples/blueprints of a checkout.

    Raises NotFound when there is none.
    """
    named = environ.get(ROOT_VARIABLE, "").strip()
    root = given or (Path(named).expanduser() if named else None)
    if root is None:
        places = [folder / IN_CHECKOUT for folder in (here, *here.parents)]
        root = next((place for place in places if place.is_dir()), None)
    if root is None:
        raise NotFound(f"there is no {IN_CHECKOUT} here or above", code="no_blueprints")
    if not root.is_dir():
        raise NotFound(f"'{root}' is no folder of blueprints", code="no_blueprints")
    return root


def all_in(root: Path) -> list[Blueprint]:
    """The blueprints of a folder, by name."""
    folders = sorted(entry for entry in root.iterdir() if (entry / "manifest.json").is_file())
    return [described(folder) for folder in folders]


def described(folder: Path) -> Blueprint:
    """What the manifest in a folder says of itself."""
    try:
        manifest = parse_manifest((folder / "manifest.json").read_bytes())
    except (Invalid, OSError) as error:
        return Blueprint(folder, problem=str(error))
    kind = "python" if is_source(folder) else "bundle"
    source = (manifest.get("metadata") or {}).get("python_workflow") if kind == "python" else {}
    type = manifest.get("type") or (source or {}).get("type") or "batch"
    return Blueprint(folder, kind, _about(manifest, source or {}), str(type))


def meant(target: str, given: Path | None, environ: Mapping[str, str], here: Path) -> Path:
    """What a path or the name of a blueprint means.  Raises NotFound, with the names that are near."""
    if Path(target).exists():
        return Path(target)
    try:
        root = root_of(given, environ, here)
    except NotFound as error:
        raise NotFound(f"'{target}' does not exist, and {error.message}", code=error.code) from None
    if (root / target / "manifest.json").is_file():
        return root / target
    names = [blueprint.name for blueprint in all_in(root)]
    text = f"'{target}' is neither a path nor a blueprint in '{root}'"
    raise NotFound(text, code="unknown_blueprint", facts={"nearest": get_close_matches(target, names)})


def _about(manifest: dict[str, Any], source: dict[str, Any]) -> str:
    text = str(manifest.get("description") or source.get("description") or manifest.get("name") or "")
    return " ".join(text.split())
