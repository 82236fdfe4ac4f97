"""Where the runtime is and how to speak to it, from arguments, environment and the files in `MN_HOME`.

Every function takes the environment it reads; the caller decides whether that is `os.environ`.

Source: runtime API, section 1.3 (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

TARGET_DEFAULT = "localhost:55051"
TIMEOUT_S_DEFAULT = 10.0
TIMEOUT_S_MAX = (
    366 * 86_400.0
)  # Longer is no limit: gRPC takes what it cannot count for a moment that is over.
FILE_BYTES_MAX = 64 << 10  # of a token or of the endpoints: whatever is longer is something else

Environment = Mapping[str, str]


def home(environ: Environment) -> Path:
    """The state folder of the tools: `MN_HOME`, else `~/.mn`."""
    named = environ.get("MN_HOME", "").strip()
    return Path(named).expanduser() if named else Path.home() / ".mn"


def target(argument: str | None, environ: Environment) -> str:
    """The runtime's `host:port`; the first that is given wins.

    The argument, `MN_GRPC_TARGET`, `MN_CORE_HOST` with `MN_GRPC_PORT` (one of them is enough),
    `runtime-endpoints.json` in the state folder, `localhost:55051`.

    Raises: ValueError for a port that is none, or endpoints that cannot be read.
    """
    given = (argument or "").strip() or environ.get("MN_GRPC_TARGET", "").strip()
    if given:
        return given
    host = environ.get("MN_CORE_HOST", "").strip()
    port = environ.get("MN_GRPC_PORT", "").strip()
    if host or port:
        return _joined(host, port, source="MN_CORE_HOST and MN_GRPC_PORT")
    return _recorded(home(environ) / "runtime-endpoints.json") or TARGET_DEFAULT


def timeout_s(argument: float | None, environ: Environment) -> float | None:
    """Seconds that a call may take, None for no limit: the argument, else `MN_GRPC_TIMEOUT_SECONDS`, else 10.

    0 and `none` mean no limit.  Raises: ValueError for anything that is not a number of seconds.
    """
    if argument is not None:
        return seconds(float(argument), name="timeout", said=repr(argument))
    text = environ.get("MN_GRPC_TIMEOUT_SECONDS", "").strip()
    if not text:
        return TIMEOUT_S_DEFAULT
    if text.lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return seconds(value, name="MN_GRPC_TIMEOUT_SECONDS", said=repr(text))


def auth_token(argument: str | None, environ: Environment) -> str:
    """The bearer token, "" for none: the argument, `MN_GRPC_AUTH_TOKEN`, the file that
    `MN_GRPC_AUTH_TOKEN_FILE` names, `grpc_auth.token` in the state folder.

    Raises: ValueError for a token that cannot be sent, or a named file that cannot be read.
    """
    given = _token(argument, "MN_GRPC_AUTH_TOKEN", environ)
    if given:
        return given
    left = home(environ) / "grpc_auth.token"
    return _sendable(_read(left), source=str(left)) if left.is_file() else ""


def admin_token(argument: str | None, environ: Environment) -> str:
    """The admin token, "" for none: the argument, `MN_GRPC_ADMIN_TOKEN`, or the file of `..._FILE`.

    It is kept for tools that ask for it, and never sent.  Raises: ValueError as `auth_token` does.
    """
    return _token(argument, "MN_GRPC_ADMIN_TOKEN", environ)


def log_path(environ: Environment) -> Path:
    """The log file: `MN_SDK_LOG_PATH`, else `sdk.log` in `MN_LOGS_ROOT`, else in `logs` of `home`."""
    named = environ.get("MN_SDK_LOG_PATH", "").strip()
    if named:
        return Path(named).expanduser()
    root = environ.get("MN_LOGS_ROOT", "").strip()
    return (Path(root).expanduser() if root else home(environ) / "logs") / "sdk.log"


def whole_number(name: str, default: int, environ: Environment) -> int:
    """A setting that counts something.  Raises: ValueError when it is not a whole number of 0 or more."""
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"{name} must be a whole number of 0 or more, not {text!r}")
    return int(text)


def _joined(host: str, port: str, *, source: str) -> str:
    """`host:port`, with what is missing taken from the default."""
    default_host, _, default_port = TARGET_DEFAULT.rpartition(":")
    port = port or default_port
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{source}: the port must be a number from 1 to 65535, not {port!r}")
    host = host or default_host
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _recorded(path: Path) -> str:
    """What a runtime on this machine wrote about itself; "" when there is nothing."""
    if not path.is_file():
        return ""
    try:
        told = json.loads(_read(path))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; remove it, or set MN_GRPC_TARGET") from error
    grpc = told.get("grpc") if isinstance(told, dict) else None
    if not isinstance(grpc, dict):
        return ""
    named = grpc.get("target")
    if isinstance(named, str) and named.strip():
        return named.strip()
    host, port = grpc.get("host"), grpc.get("port")
    if not isinstance(host, str) or not host.strip() or isinstance(port, bool):
        return ""
    return _joined(host.strip(), str(port), source=str(path)) if isinstance(port, (int, str)) else ""


def seconds(value: float, *, name: str, said: str) -> float | None:
    """A timeout in seconds; None, for no limit, when it is 0 or too long to matter.

    Raises: ValueError when it is none.
    """
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name} must be a number of seconds, 0 or none, not {said}")
    return value if 0 < value <= TIMEOUT_S_MAX else None


def _token(argument: str | None, name: str, environ: Environment) -> str:
    if (argument or "").strip():
        return _sendable(argument or "", source="the argument")
    if environ.get(name, "").strip():
        return _sendable(environ[name], source=name)
    file = environ.get(f"{name}_FILE", "").strip()
    return _sendable(_read(Path(file).expanduser()), source=file) if file else ""


def _sendable(text: str, *, source: str) -> str:
    """A token without the space around it; its text never becomes part of a message."""
    token = text.strip()
    if not (token.isascii() and token.isprintable()):
        raise ValueError(f"the token of {source} must be one line of printable ASCII")
    return token


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(raw) > FILE_BYTES_MAX:
        raise ValueError(f"{path} has more than {FILE_BYTES_MAX} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8") from error
