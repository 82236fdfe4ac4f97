"""The SDK's log file.  What goes in: calls, ids and failures.  What never does: tokens and payloads.

Source: runtime API, section 1.3 (docs/reference/mirrorneuron-api.md).
"""

from __future__ import annotations

import logging
import logging.handlers
import threading
from collections.abc import Mapping
from pathlib import Path

from mn_sdk.environment import log_path, whole_number

LOG_BYTES_MAX = 1_048_576
LOG_FILES_KEPT = 5
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_lock = threading.Lock()


def sdk_log(environ: Mapping[str, str]) -> logging.Logger:
    """The logger that writes to the log file of `environ`; its folder is made, the file with the first line.

    `MN_LOG_LEVEL`, `MN_LOG_MAX_BYTES` and `MN_LOG_BACKUP_COUNT` set level and rotation.  A file that cannot
    be written costs a warning on the logger `mn_sdk`, and no call fails for it.

    Raises: ValueError for a setting that is not one.
    """
    path = log_path(environ)
    level = environ.get("MN_LOG_LEVEL", "").strip().upper() or "INFO"
    if level not in LEVELS:
        raise ValueError(f"MN_LOG_LEVEL must be one of {', '.join(LEVELS)}, not {level!r}")
    bytes_max = whole_number("MN_LOG_MAX_BYTES", LOG_BYTES_MAX, environ)
    kept = whole_number("MN_LOG_BACKUP_COUNT", LOG_FILES_KEPT, environ)
    # One logger a file: two clients with different files do not write into each other's.
    log = logging.getLogger(f"mn_sdk.file.{str(path).replace('.', '_')}")
    with _lock:
        log.setLevel(level)
        if not log.handlers:
            log.propagate = False
            log.addHandler(_handler(path, bytes_max=bytes_max, kept=kept))
    return log


class _LogFile(logging.handlers.RotatingFileHandler):
    """Says once that it cannot write, instead of printing a stack trace for every line."""

    _warned = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._warned:
            self._warned = True
            logging.getLogger("mn_sdk").warning("the log file %s cannot be written", self.baseFilename)


def _handler(path: Path, *, bytes_max: int, kept: int) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.getLogger("mn_sdk").warning("there is no log file %s: %s", path, error)
        return logging.NullHandler()
    handler = _LogFile(path, maxBytes=bytes_max, backupCount=kept, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
