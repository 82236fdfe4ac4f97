"""Bundles: a manifest and its payload files, as folders on disk and as what is submitted.

A folder comes from anywhere, so nothing in it is trusted: no link may lead out of it, no special file is
opened, and its size is bounded before it is read.  Source: bundle contract, sections 1 and 14; gRPC
contract, section 3.1.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from headway_wire.errors import Invalid
from headway_wire.manifest.fields import is_plain
from headway_wire.manifest.findings import Finding, Findings, shown
from headway_wire.manifest.paths import folders_of, path_problem
from headway_wire.manifest.reading import findings, invalid
from headway_wire.manifest.terms import Json

BUNDLE_BYTES_MAX = 64 * 1024 * 1024
"""Of the manifest and all payloads together."""

PAYLOADS_MAX = 10_000
CONFIG_BYTES_MAX = 8 * 1024 * 1024
PROBLEMS_MAX = 50
BOM = "\ufeff"

MANIFEST = "manifest.json"
PAYLOADS = "payloads"
CONFIG_FILES = ("config/default.json", "config/overwrite.json")


class Bundle(Struct, frozen=True):
    """What is submitted: the text of a manifest, and files by their path below ``payloads/``."""

    manifest_json: str
    payloads: dict[str, bytes] = {}


# From disk ----------------------------------------------------------------------------------------


def read_folder(path: str | os.PathLike[str]) -> Bundle:
    """The bundle in the folder `path`.  Its manifest is a JSON object; more is not checked.

    Raises: Invalid with the contract's texts, for what is wrong with the folder all at once.
    """
    name = os.fspath(path)
    root = Path(name)
    if not root.is_dir():
        raise Invalid(f"'{name}' is not a directory. Expected a bundle folder.", code="bundle_folder")
    if not (root / MANIFEST).is_file():
        raise Invalid(f"{MANIFEST} not found in '{name}'.", code="bundle_folder")
    text = _manifest_text(root, root / MANIFEST)
    return Bundle(text, _payloads(root, BUNDLE_BYTES_MAX - len(text.encode())))


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """The bundle in a folder, or of a manifest file and the ``payloads/`` beside it.

    Raises: Invalid, as `read_folder`.
    """
    file = Path(path)
    if not file.is_file():
        return read_folder(path)
    text = _manifest_text(file.parent, file)
    return Bundle(text, _payloads(file.parent, BUNDLE_BYTES_MAX - len(text.encode())))


def read_config(path: str | os.PathLike[str]) -> dict[str, Json]:
    """The blueprint configuration of a folder: ``config/overwrite.json`` merged over ``config/default.json``.

    Raises: Invalid for a file that is there and not a JSON object.
    """
    root = Path(path)
    config: dict[str, Json] = {}
    for name in CONFIG_FILES:
        if (root / name).is_symlink() or (root / name).exists():
            raw = _read(root, root / name, name, CONFIG_BYTES_MAX)
            config = deep_merge(config, _object(raw, name))
    return config


def check_folder(path: str | os.PathLike[str]) -> tuple[dict[str, Json] | None, list[Finding]]:
    """The manifest of a folder, None when it cannot be read, and what ``mn blueprint validate`` finds."""
    try:
        bundle = read_folder(path)
        raw = parse_manifest(bundle.manifest_json)
        read_config(path)
    except Invalid as error:
        return None, [Finding(error.code, error.message)]
    return raw, findings(raw, payload_names=bundle.payloads.keys(), authored=True)


# From anywhere ------------------------------------------------------------------------------------


def parse_manifest(text: str | bytes) -> dict[str, Json]:
    """The object that the text of a manifest states.  Raises: Invalid with the contract's texts."""
    return _object(text, MANIFEST)


def check_payloads(payloads: Mapping[str, bytes], *, bytes_max: int = BUNDLE_BYTES_MAX) -> None:
    """Raises Invalid unless all of `payloads` can be written below one folder and are not too much."""
    if len(payloads) > PAYLOADS_MAX:
        message = f"a bundle has at most {PAYLOADS_MAX} payloads, this one has {len(payloads)}"
        raise Invalid(message, code="bundle_too_large")
    problems = [f"payload path must {problem}" for name in payloads if (problem := path_problem(name))]
    if not problems:
        both = sorted(folders_of(payloads) & payloads.keys())
        problems = [f"payload path must not be a file and a folder: {shown(name)}" for name in both]
    if problems:
        raise Invalid(_joined(problems), code="payload_path")
    if (size := sum(map(len, payloads.values()))) > bytes_max:
        raise _too_large(size, bytes_max)


def bundle_digest(manifest_json: str, payloads: Mapping[str, bytes]) -> str:
    """What names a bundle: SHA-256, in hex, of the manifest's text and of every payload's path and bytes."""
    digest = hashlib.sha256(b"headway-bundle/1\n")
    digest.update(hashlib.sha256(manifest_json.encode()).digest())
    for name in sorted(payloads):
        path = name.encode(errors="surrogatepass")  # Whatever it is; `check_payloads` says what it may be.
        digest.update(len(path).to_bytes(4, "big") + path + hashlib.sha256(payloads[name]).digest())
    return digest.hexdigest()


def deep_merge(base: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    """`over` laid on `base`: objects are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = deep_merge(below, value)
        merged[key] = value
    return merged


# Reading files ------------------------------------------------------------------------------------


def _manifest_text(root: Path, file: Path) -> str:
    raw = _read(root, file, file.name, BUNDLE_BYTES_MAX)
    _object(raw, file.name)
    return raw.decode()


def _object(text: str | bytes, name: str) -> dict[str, Json]:
    if text[:3] == codecs.BOM_UTF8 or text[:1] == BOM:
        why = "it begins with a byte order mark; save it as UTF-8 without one"
        raise Invalid(f"{name} is not valid JSON: {why}", code="not_json")
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise Invalid(f"{name} is not valid JSON: it is nested too deeply", code="not_json") from None
    except (ValueError, UnicodeError) as error:
        raise Invalid(f"{name} is not valid JSON: {error}", code="not_json") from error
    if not isinstance(value, dict):
        raise Invalid(f"{name} must contain a JSON object.", code="not_an_object")
    found = Findings()
    if not is_plain(found, value):
        raise invalid(found.all())
    return value


def _payloads(root: Path, bytes_max: int) -> dict[str, bytes]:
    """Every file below ``payloads/``, by its path there, within `bytes_max`."""
    folder = root / PAYLOADS
    if not folder.is_symlink() and not folder.exists():
        return {}
    if folder.is_symlink() or not folder.is_dir():
        raise Invalid(f"{PAYLOADS} must be a folder, found {_kind_of(folder)}", code="bundle_folder")
    payloads: dict[str, bytes] = {}
    problems: list[str] = []
    left = bytes_max
    for name, file in _files(folder, problems):
        if len(payloads) >= PAYLOADS_MAX:
            raise Invalid(f"a bundle has at most {PAYLOADS_MAX} payloads", code="bundle_too_large")
        try:
            payloads[name] = _read(root, file, f"{PAYLOADS}/{name}", left)
        except Invalid as error:
            if error.code == "bundle_too_large":
                raise
            problems.append(error.message)
        else:
            left -= len(payloads[name])
    if problems:
        raise Invalid(_joined(problems), code="bundle_folder")
    return payloads


def _files(folder: Path, problems: list[str]) -> Iterator[tuple[str, Path]]:
    """What may be a payload below `folder`, with its path there, in order; what may not is a problem."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(folder / inside) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            problems.append(f"{PAYLOADS}/{inside} cannot be read: {error.strerror}")
            continue
        below = []
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if problem := path_problem(name):
                problems.append(f"payload path must {problem}")
            elif entry.is_dir(follow_symlinks=False):
                below.append(name)
            else:
                yield name, Path(entry.path)
        waiting += reversed(below)


def _read(root: Path, file: Path, name: str, bytes_max: int) -> bytes:
    """The bytes of a regular file inside `root`; a link to one counts as it.

    Raises: Invalid for anything else, without having opened it.
    """
    try:
        target = file.resolve(strict=True) if file.is_symlink() else file
        if target is not file and not target.is_relative_to(root.resolve()):
            raise Invalid(f"{name} is a symbolic link that leaves the bundle folder", code="bundle_folder")
        if not stat.S_ISREG(os.lstat(target).st_mode):
            raise Invalid(f"{name} must be a regular file, found {_kind_of(target)}", code="bundle_folder")
        # Neither a link nor a pipe that took the file's place since may be opened, or waited for.
        with open(os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Invalid(f"{name} must be a regular file", code="bundle_folder")
            if status.st_size > bytes_max:
                raise _too_large(status.st_size, bytes_max)
            content = opened.read(bytes_max + 1)
    except RuntimeError as error:  # What pathlib says of a loop of links, before Python 3.13.
        raise Invalid(f"{name} is a symbolic link that leads nowhere", code="bundle_folder") from error
    except OSError as error:
        raise Invalid(f"{name} cannot be read: {error.strerror}", code="bundle_folder") from error
    if len(content) > bytes_max:
        raise _too_large(len(content), bytes_max)  # It grew since.
    return content


def _kind_of(path: Path) -> str:
    """What stands at `path`, for people."""
    mode = os.lstat(path).st_mode
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a file"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((kind for matches, kind in kinds if matches(mode)), "a device")


def _too_large(size: int, bytes_max: int) -> Invalid:
    message = f"a bundle may have {BUNDLE_BYTES_MAX} bytes; {bytes_max} were left for the next {size}"
    return Invalid(message, code="bundle_too_large")


def _joined(problems: Iterable[str]) -> str:
    listed = list(problems)
    rest = len(listed) - PROBLEMS_MAX
    return "; ".join([*listed[:PROBLEMS_MAX], *([f"and {rest} more"] if rest > 0 else [])])
