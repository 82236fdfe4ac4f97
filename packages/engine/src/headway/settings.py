"""The configuration file: the only reader of files and environment.  Everything else is a runtime setting.

Published keys are accepted; those that ask for what this engine does not have are refused, or said to
have no effect.  Source: engine surface, section 2; architecture, section 8; docs/reference/configuration.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from headway_wire.errors import Invalid, NotFound, Problem
from headway_wire.tenantid import id_from_slug

from headway.intake import checked
from headway.runbooks.document import Node, read
from headway.runbooks.durations import EXPECTED, duration_ms
from headway.runbooks.findings import Findings

PREFIX = "MIRASTACK_"
SLOTS_MAX = 100_000


class Duration(int):
    """Milliseconds, written as ``30s``."""


class Address(str):
    """Where to listen, as ``host:port``; an empty host means every interface."""

    @property
    def host(self) -> str:
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.rpartition(":")[2])


class Backend(str):
    """sqlite; the published word for the other one is refused in words."""


Slots = Annotated[int, msgspec.Meta(ge=1, le=SLOTS_MAX)]


class Kine(msgspec.Struct, frozen=True):
    backend: Backend = Backend("sqlite")
    sqlite_path: str = ""
    mariadb_dsn: str = ""


class StoreConfig(msgspec.Struct, frozen=True):
    url: str = ""


class Valkey(msgspec.Struct, frozen=True):
    addr: str = ""
    password: str = ""
    db: int = 0


class External(msgspec.Struct, frozen=True):
    name: str
    addr: str


class Plugins(msgspec.Struct, frozen=True):
    dir: str = "./plugins"
    health_check_interval: Duration = Duration(30_000)
    external: list[External] = []
    token: str = ""


class Models(msgspec.Struct, frozen=True):
    default_provider: str = ""


class SingleSignOn(msgspec.Struct, frozen=True):
    allowed_providers: list[str] = []


class Tenants(msgspec.Struct, frozen=True):
    default_slug: str = "default"


class Runs(msgspec.Struct, frozen=True):
    active_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1_000


Depth = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Device(msgspec.Struct, frozen=True):
    """A device that jobs may be given.  index: its number among its kind, as its driver counts."""

    id: Word
    type: Word = "gpu"
    vendor: str = ""
    memory_mb: Annotated[int, msgspec.Meta(ge=0)] = 0
    index: Annotated[int, msgspec.Meta(ge=0)] = 0


class MirrorNeuron(msgspec.Struct, frozen=True):
    """What serves jobs.  executors: slots of the pool `default`, and of pools that have no name in `pools`.

    Source: runtime API, section 1.4; its environment variables set these keys.
    """

    addr: Address = Address("127.0.0.1:55051")
    token: str = ""
    node: str = "127.0.0.1"
    executors: Slots = 4
    pools: dict[str, Slots] = {}
    temp_dir: str = ""
    python: str = ""
    command_length_max: Annotated[int, msgspec.Meta(ge=1)] = 32_768
    output_bytes_max: Annotated[int, msgspec.Meta(ge=1_024)] = 1_048_576
    agent_messages_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    job_messages_max: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000
    queue_depth: Depth = 100
    queue_high: Depth = 75
    queue_low: Depth = 25
    devices: Annotated[tuple[Device, ...], msgspec.Meta(max_length=1_000)] = ()
    capabilities: Annotated[tuple[Word, ...], msgspec.Meta(max_length=1_000)] = ()


class Config(msgspec.Struct, frozen=True):
    """The whole file.  Paths are absolute once `load` has returned it."""

    listen_addr: Address = Address("0.0.0.0:8080")
    websocket_addr: Address | None = None
    grpc_addr: Address = Address("0.0.0.0:9090")
    data_dir: str = "./headway-data"
    store: StoreConfig = StoreConfig()
    kine: Kine = Kine()
    valkey: Valkey = Valkey()
    plugins: Plugins = Plugins()
    pools: dict[str, Slots] = {}
    runs: Runs = Runs()
    mirrorneuron: MirrorNeuron = MirrorNeuron()
    tenants: Tenants = Tenants()
    llm: Models = Models()
    oidc: SingleSignOn = SingleSignOn()

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the embedded store, or None when the store is a server."""
        if self.store.url.startswith("sqlite:"):
            return Path(self.store.url.removeprefix("sqlite:"))
        return None

    @property
    def postgres_url(self) -> str | None:
        """The URL of the PostgreSQL store, or None when the store is a file."""
        return None if self.sqlite_path else self.store.url


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, where it came from, and what in it has no effect."""

    config: Config
    path: Path | None
    warnings: list[Problem]


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """The configuration in a file (none: all defaults) under what the environment overrides.

    Relative paths start at the folder of the file, without a file at the current one.
    Raises NotFound when there is no such file, Invalid with every problem in it.
    """
    findings = Findings(path.name if path else "")
    root = _read(path, findings) if path else None
    lines = _lines(root) if root is not None else {}
    plain: Any = root.plain() if root is not None else {}
    problems: list[Problem] = [*findings.in_order()]
    if not isinstance(plain, dict):
        problems.append(Problem("the file must be a mapping of keys", file=findings.filename, line=1))
        plain = {}
    expanded = _expand(plain, "", environ, problems)
    names, wrong = _override(expanded, environ)
    problems += wrong
    names |= _runtime_variables(expanded, environ, problems)
    config, found = checked(Config, expanded, lax=True, hook=_hook)
    problems += found
    warnings: list[Problem] = []
    if config is not None:
        config = _resolved(config, (path.parent if path else Path()).absolute(), problems, warnings)
    if problems or config is None:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        place = f"the configuration {path}" if path else "the configuration from the environment"
        problems = [_placed(problem, findings.filename, lines, names) for problem in problems]
        raise Invalid(f"{place} has {count}", code="configuration_invalid", problems=problems)
    return Loaded(config, path, [_placed(warning, findings.filename, lines, names) for warning in warnings])


# Reading ------------------------------------------------------------------------------------------


def _read(path: Path, findings: Findings) -> Node | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        hint = "give another file with --config, or none for the defaults"
        raise NotFound(f"there is no configuration file {path}: {hint}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Invalid(f"the configuration file {path} cannot be read: {reason}") from None
    if not re.sub(rb"(?m)^\s*(#.*)?$|^---\s*$", b"", text).strip():
        return None
    return read(text, findings)


def _lines(node: Node, path: str = "") -> dict[str, int]:
    found = {path: (node.key or node.place).line}
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            found |= _lines(child, f"{path}.{key}" if path else key)
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            found |= _lines(child, f"{path}[{index}]")
    return found


def _placed(problem: Problem, file: str, lines: Mapping[str, int], names: Mapping[str, str]) -> Problem:
    """The problem with the line, or the environment variable, that its key comes from."""
    where = problem.where
    if where in names:
        return Problem(problem.message, where, names[where], 0, problem.hint)
    if problem.line or where not in lines or not file:
        return problem
    return Problem(problem.message, where, file, lines[where], problem.hint)


_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _expand(value: Any, where: str, environ: Mapping[str, str], problems: list[Problem]) -> Any:
    """`value` with ``${NAME}`` replaced in every text; ``$${NAME}`` stands for itself."""
    if isinstance(value, dict):
        return {
            key: _expand(item, f"{where}.{key}" if where else key, environ, problems)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_expand(item, f"{where}[{i}]", environ, problems) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in environ:
            hint = f"set it, or write $${{{match[2]}}} for the text itself"
            problems.append(Problem(f"the environment has no variable {match[2]}", where, hint=hint))
        return environ.get(match[2], "")

    return _VARIABLE.sub(put, value)


def _override(plain: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """Put ``MIRASTACK_KINE__SQLITE_PATH`` and the like into `plain`; returns the variable behind each key.

    Other variables with this prefix belong to plugins and are left alone.
    """
    known = {field.encode_name for field in msgspec.structs.fields(Config)}
    names: dict[str, str] = {}
    problems: list[Problem] = []
    for name in sorted(environ):
        path = name.removeprefix(PREFIX).lower().split("__")
        if not name.startswith(PREFIX) or path[0] not in known:
            continue
        holder = plain
        for part in path[:-1]:
            inner = holder.setdefault(part, {})
            if not isinstance(inner, dict):
                problems.append(Problem(f"'{part}' has no keys below it", name))
                break
            holder = inner
        else:
            holder[path[-1]] = _listed(environ[name])
            names[".".join(path)] = name
    return names, problems


_RUNTIME = {
    "MN_EXECUTOR_MAX_CONCURRENCY": "executors",
    "MN_TEMP_DIR": "temp_dir",
    "MN_WORKER_PYTHON": "python",
    "MN_MAX_COMMAND_LENGTH": "command_length_max",
    "MN_MAX_ARTIFACT_BYTES": "output_bytes_max",
    "MN_MESSAGE_MAX_PENDING_PER_AGENT": "agent_messages_max",
    "MN_MESSAGE_MAX_PENDING_PER_JOB": "job_messages_max",
    "MN_DEFAULT_MAX_AGENT_QUEUE_DEPTH": "queue_depth",
    "MN_DEFAULT_AGENT_QUEUE_HIGH_WATERMARK": "queue_high",
    "MN_DEFAULT_AGENT_QUEUE_LOW_WATERMARK": "queue_low",
    "MN_GRPC_AUTH_TOKEN": "token",
}


def _runtime_variables(
    plain: dict[str, Any], environ: Mapping[str, str], problems: list[Problem]
) -> dict[str, str]:
    """Put the published variables of the runtime into `plain`; returns the variable behind each key.

    Source: runtime API, section 1.4.
    """
    found: dict[str, Any] = {key: environ[name] for name, key in _RUNTIME.items() if environ.get(name)}
    names = {f"mirrorneuron.{key}": name for name, key in _RUNTIME.items() if environ.get(name)}
    holder = plain.get("mirrorneuron", {})
    if port := environ.get("MN_GRPC_PORT"):
        host = str(holder.get("addr", MirrorNeuron().addr) if isinstance(holder, dict) else "")
        found["addr"] = f"{host.rpartition(':')[0]}:{port}"
        names["mirrorneuron.addr"] = "MN_GRPC_PORT"
    if (file := environ.get("MN_GRPC_AUTH_TOKEN_FILE")) and "token" not in found:
        try:
            found["token"] = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(f"{file} cannot be read: {error}", "MN_GRPC_AUTH_TOKEN_FILE"))
    if text := environ.get("MN_EXECUTOR_POOL_CAPACITIES"):
        pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
        if wrong := [name for name, _, slots in pairs if not slots.strip().isdigit()]:
            hint = "write name=slots,name=slots"
            problems.append(
                Problem(f"no slots for {', '.join(wrong)}", "MN_EXECUTOR_POOL_CAPACITIES", hint=hint)
            )
        found["pools"] = {name.strip(): int(slots) for name, _, slots in pairs if slots.strip().isdigit()}
        names["mirrorneuron.pools"] = "MN_EXECUTOR_POOL_CAPACITIES"
    if found and isinstance(holder, dict):
        plain["mirrorneuron"] = holder | found
    return names


def _listed(text: str) -> Any:
    """An environment variable's value: a list or mapping when it is written as JSON, else the text."""
    if text[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text
    return text


def _hook(type_: type, value: Any) -> Any:
    if type_ is Duration:
        ms = duration_ms(value) if isinstance(value, str) else None
        if ms is None:
            raise ValueError(f"expected {EXPECTED}, found {value!r}")
        return Duration(ms)
    if type_ is Backend:
        if value != "sqlite":
            found = "MariaDB is" if value == "mariadb" else f"{value!r} is"
            url = "postgresql://user:password@host/database"
            raise ValueError(f"{found} not supported; use sqlite, or set store.url to {url}")
        return Backend(value)
    if type_ is Address:
        host, colon, port = str(value).rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535 or " " in host:
            raise ValueError(f"expected host:port, as 0.0.0.0:8080 or :8080, found {value!r}")
        return Address(value)
    raise TypeError(f"a configuration key cannot be a {type_.__name__}")


# Meaning ------------------------------------------------------------------------------------------


def _resolved(config: Config, base: Path, problems: list[Problem], warnings: list[Problem]) -> Config:
    try:
        id_from_slug(config.tenants.default_slug)
    except ValueError as error:
        problems.append(Problem(str(error), "tenants.default_slug"))
    _no_effect(config, warnings)
    ids = [device.id for device in config.mirrorneuron.devices]
    if twice := sorted({id for id in ids if ids.count(id) > 1}):
        problems.append(Problem(f"two devices are called {', '.join(twice)}", "mirrorneuron.devices"))
    data_dir = base / Path(config.data_dir).expanduser()
    plugins_dir = base / Path(config.plugins.dir).expanduser()
    return msgspec.structs.replace(
        config,
        data_dir=str(data_dir),
        store=StoreConfig(_store_url(config, base, data_dir, problems)),
        plugins=msgspec.structs.replace(config.plugins, dir=str(plugins_dir)),
        websocket_addr=config.websocket_addr or config.listen_addr,
    )


def _store_url(config: Config, base: Path, data_dir: Path, problems: list[Problem]) -> str:
    url, kine = config.store.url, config.kine
    if url and kine.sqlite_path:
        problems.append(Problem("name one store: store.url or kine.sqlite_path", "store.url"))
    if not url:
        path = base / Path(kine.sqlite_path).expanduser() if kine.sqlite_path else data_dir / "headway.db"
        return f"sqlite:{path}"
    if url.startswith(("postgresql://", "postgres://")):
        return url
    if url.startswith("sqlite:") and len(url) > len("sqlite:"):
        name = re.sub(r"^sqlite:(//(?=/))?", "", url)
        return f"sqlite:{base / Path(name).expanduser()}"
    expected = "sqlite:PATH or postgresql://user:password@host:port/database"
    problems.append(Problem("this is no store", "store.url", hint=f"expected {expected}"))
    return url


def _no_effect(config: Config, warnings: list[Problem]) -> None:
    if config.kine.mariadb_dsn:
        text = "has no effect: MariaDB is not supported"
        warnings.append(Problem(text, "kine.mariadb_dsn", hint="leave it out, or set store.url"))
    if config.valkey.addr:
        text = "has no effect: the plugin cache lives in the engine's process"
        warnings.append(Problem(text, "valkey.addr", hint="leave it out"))
    if config.websocket_addr not in (None, config.listen_addr):
        text = "has no effect: live updates are server-sent events on listen_addr"
        warnings.append(Problem(text, "websocket_addr", hint="leave it out"))
    if config.oidc.allowed_providers:
        text = "has no effect: single sign-on is not offered yet; people log in with API keys"
        warnings.append(Problem(text, "oidc.allowed_providers", hint="leave it out"))
