"""The one tree of errors, and the one table that says how each kind leaves a process.

Three kinds, by who must act: the caller (`Refused`), the world (`Unavailable`), or us (`Broken`).  Every
error carries a stable `code`, a headline, and all problems that were found, never only the first.

Standard library only: the rules of the engine import this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

PROBLEM_FIELDS = ("message", "where", "file", "line", "hint")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where.

    `where` is a path inside the document (`steps[2].params`), `file` and `line` name its text (lines count
    from 1; 0 is unknown), `hint` says what to do about it.
    """

    message: str
    where: str = ""
    file: str = ""
    line: int = 0
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        spot = " ".join(part for part in (place, self.where) if part)
        text = f"{spot}: {self.message}" if spot else self.message
        return f"{text} ({self.hint})" if self.hint else text

    def to_dict(self) -> dict[str, Any]:
        """The problem as plain JSON, without its empty fields."""
        return {name: value for name in PROBLEM_FIELDS if (value := getattr(self, name))}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Problem:
        """The problem that `to_dict` wrote; unknown fields are ignored."""
        line = value.get("line")
        return cls(
            message=str(value.get("message") or ""),
            where=str(value.get("where") or ""),
            file=str(value.get("file") or ""),
            line=line if isinstance(line, int) else 0,
            hint=str(value.get("hint") or ""),
        )


class HeadwayError(Exception):
    """The root.  Raise one of the kinds below, never this class.

    `code` is stable and has a page in docs/reference/errors/; give one when a caller would act on it, else
    the kind's own code stands.  `facts` are plain JSON values for programs; nothing secret belongs there.
    """

    kind: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 70
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        problems: Iterable[Problem | str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.kind
        self.problems = tuple(Problem(item) if isinstance(item, str) else item for item in problems)
        self.facts: dict[str, Any] = dict(facts or {})

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  - {problem}" for problem in self.problems)])

    @property
    def details(self) -> dict[str, Any]:
        """All problems, and the facts, as plain JSON."""
        found = {"problems": [problem.to_dict() for problem in self.problems]} if self.problems else {}
        return {**self.facts, **found}

    def to_dict(self) -> dict[str, Any]:
        """The error as plain JSON: what REST puts under "error"."""
        return {"code": self.code, "kind": self.kind, "message": self.message, "details": self.details}


class Refused(HeadwayError):
    """The caller must change something: the request cannot be granted as it stands."""

    kind = "refused"
    http_status = 400
    grpc_status = "FAILED_PRECONDITION"
    exit_code = 2


class Invalid(Refused):
    """The request is malformed or breaks a rule that its author can read."""

    kind = "invalid"
    grpc_status = "INVALID_ARGUMENT"


class Unauthenticated(Refused):
    """We do not know who is asking."""

    kind = "unauthenticated"
    http_status = 401
    grpc_status = "UNAUTHENTICATED"
    exit_code = 3


class Forbidden(Refused):
    """We know who is asking, and they may not."""

    kind = "forbidden"
    http_status = 403
    grpc_status = "PERMISSION_DENIED"
    exit_code = 4


class NotFound(Refused):
    """What was named does not exist, or not for this caller."""

    kind = "not_found"
    http_status = 404
    grpc_status = "NOT_FOUND"
    exit_code = 5


class Conflict(Refused):
    """The request was right for another state than the present one."""

    kind = "conflict"
    http_status = 409


class Unavailable(HeadwayError):
    """The world is not ready; the same request may succeed later."""

    kind = "unavailable"
    http_status = 503
    grpc_status = "UNAVAILABLE"
    exit_code = 6
    retryable = True


class Throttled(Unavailable):
    """Too much at once.  `retry_after_ms` in the facts says when to try again."""

    kind = "throttled"
    http_status = 429
    grpc_status = "RESOURCE_EXHAUSTED"

    def __init__(
        self,
        message: str,
        *,
        retry_after_ms: int = 0,
        code: str = "",
        problems: Iterable[Problem | str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        wait = {"retry_after_ms": retry_after_ms} if retry_after_ms else {}
        super().__init__(message, code=code, problems=problems, facts={**(facts or {}), **wait})


class TimedOut(Unavailable):
    """No answer before the deadline; what was asked may or may not have happened."""

    kind = "timed_out"
    http_status = 504
    grpc_status = "DEADLINE_EXCEEDED"


class Broken(HeadwayError):
    """A defect of ours, or of a peer that breaks the protocol."""

    kind = "broken"


KINDS: dict[str, type[HeadwayError]] = {
    cls.kind: cls
    for cls in (
        Refused,
        Invalid,
        Unauthenticated,
        Forbidden,
        NotFound,
        Conflict,
        Unavailable,
        Throttled,
        TimedOut,
        Broken,
    )
}

# What a peer's status means to the caller.  Several statuses share a kind; the code keeps them apart.
GRPC_KINDS: dict[str, tuple[type[HeadwayError], str]] = {
    "CANCELLED": (Unavailable, "cancelled"),
    "UNKNOWN": (Broken, "unknown_status"),
    "INVALID_ARGUMENT": (Invalid, ""),
    "DEADLINE_EXCEEDED": (TimedOut, ""),
    "NOT_FOUND": (NotFound, ""),
    "ALREADY_EXISTS": (Conflict, "already_exists"),
    "PERMISSION_DENIED": (Forbidden, ""),
    "RESOURCE_EXHAUSTED": (Throttled, ""),
    "FAILED_PRECONDITION": (Conflict, ""),
    "ABORTED": (Conflict, "aborted"),
    "OUT_OF_RANGE": (Invalid, "out_of_range"),
    "UNIMPLEMENTED": (NotFound, "unimplemented"),
    "INTERNAL": (Broken, ""),
    "UNAVAILABLE": (Unavailable, ""),
    "DATA_LOSS": (Broken, "data_loss"),
    "UNAUTHENTICATED": (Unauthenticated, ""),
}


def from_dict(value: Mapping[str, Any]) -> HeadwayError:
    """The error that `to_dict` wrote, in this process; an unknown kind is `Broken` and keeps its code."""
    cls = KINDS.get(str(value.get("kind") or value.get("code") or ""), Broken)
    details = value.get("details")
    facts = dict(details) if isinstance(details, Mapping) else {}
    listed = facts.pop("problems", None)
    problems = [Problem.from_dict(item) for item in listed or () if isinstance(item, Mapping)]
    return cls(
        str(value.get("message") or "no message"),
        code=str(value.get("code") or ""),
        problems=problems,
        facts=facts,
    )


def from_grpc(status: str, message: str, *, code: str = "") -> HeadwayError:
    """The error that a peer's gRPC status means; `code` is the peer's own, when it sent one.

    The status name itself is kept as fact `grpc_status`, since one kind stands for several statuses.
    """
    cls, own = GRPC_KINDS.get(status, (Broken, "unknown_status"))
    return cls(message or f"the peer answered {status}", code=code or own, facts={"grpc_status": status})
