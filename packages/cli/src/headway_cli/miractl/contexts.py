"""The files of `miractl`: contexts in config.yaml, tokens in tokens.yaml.

Both are readable by their owner alone, and written so that a reader sees the old file or the new one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from headway_wire.errors import Invalid, NotFound, Unauthenticated

VARIABLE = "MIRACTL_CONFIG"
OWNER_ONLY = 0o600
FOLDER_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Context:
    """Where an engine is.  insecure: its certificate is not checked."""

    name: str
    url: str
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts; `current` names one of them, or is empty."""

    current: str = ""
    all: tuple[Context, ...] = ()

    def get(self, name: str = "") -> Context:
        """A context by name; without one, the current.  Raises NotFound, or Unauthenticated for none."""
        wanted = name or self.current
        for context in self.all:
            if context.name == wanted:
                return context
        if not name:
            raise Unauthenticated("no engine is known yet", code="no_context")
        known = ", ".join(context.name for context in self.all) or "none"
        raise NotFound(f"there is no context '{name}'; there are: {known}", code="unknown_context")

    def with_context(self, new: Context) -> Contexts:
        """These contexts and a new or changed one, which becomes the current."""
        others = tuple(context for context in self.all if context.name != new.name)
        return Contexts(new.name, (*others, new))


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one session.  Units: milliseconds since the epoch."""

    access_token: str
    access_expires_ms: int
    refresh_token: str
    refresh_expires_ms: int
    username: str = ""
    role: str = ""
    key: str = ""


def default_path() -> Path:
    """Where config.yaml is: in ~/.miractl, or where MIRACTL_CONFIG says (a file, or a folder for it)."""
    given = os.environ.get(VARIABLE, "")
    if not given:
        return Path.home() / ".miractl" / "config.yaml"
    path = Path(given).expanduser()
    return path / "config.yaml" if path.is_dir() else path


@dataclass(frozen=True, slots=True)
class Files:
    """The two files, side by side.  config: the path of config.yaml."""

    config: Path = field(default_factory=default_path)

    @property
    def tokens(self) -> Path:
        """The file of the tokens."""
        return self.config.parent / "tokens.yaml"

    def contexts(self) -> Contexts:
        """What config.yaml says; nothing when there is none.  Raises Invalid with what is wrong in it."""
        value = _read(self.config)
        listed = value.get("contexts") or []
        try:
            found = tuple(
                Context(str(item["name"]), checked_url(str(item["url"])), bool(item.get("insecure")))
                for item in listed
            )
        except (TypeError, KeyError, AttributeError) as error:
            text = f"{self.config}: 'contexts' must be a list of objects with 'name' and 'url'"
            raise Invalid(text, code="bad_config") from error
        return Contexts(str(value.get("current") or ""), found)

    def keep_contexts(self, contexts: Contexts) -> None:
        """Write config.yaml."""
        listed = [asdict(context) for context in contexts.all]
        _write(self.config, {"current": contexts.current, "contexts": listed})

    def tokens_of(self, name: str) -> Tokens | None:
        """The tokens of a context, or None."""
        item = _read(self.tokens).get(name)
        if not isinstance(item, dict):
            return None
        known = {key: value for key, value in item.items() if key in Tokens.__dataclass_fields__}
        try:
            return Tokens(**known)
        except TypeError:  # A field is missing: an older or damaged file; one logs in again.
            return None

    def keep_tokens(self, name: str, tokens: Tokens | None) -> None:
        """Write the tokens of a context; None forgets them.  Call it inside `locked`."""
        value = {key: item for key, item in _read(self.tokens).items() if key != name}
        if tokens is not None:
            value[name] = asdict(tokens)
        _write(self.tokens, value)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the files against other commands: a refresh token works once, so only one may use it."""
        _make_folder(self.config.parent)
        handle = os.open(self.config.parent / ".lock", os.O_RDWR | os.O_CREAT, OWNER_ONLY)
        try:
            _lock(handle)
            yield
        finally:
            os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)


def checked_url(url: str) -> str:
    """The address of an engine, without a slash at its end.  Raises Invalid."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        text = f"'{url}' is not the address of an engine; write it like http://localhost:8080"
        raise Invalid(text, code="usage")
    return url.rstrip("/")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is not YAML: {error}", code="bad_config") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"{path} must hold names and values", code="bad_config")
    return value


def _write(path: Path, value: dict[str, Any]) -> None:
    _make_folder(path.parent)
    # mkstemp makes a file for its owner alone, from the first byte on.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yaml.safe_dump(value, file, sort_keys=False, allow_unicode=True)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, OWNER_ONLY)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
