"""What agents and workflows may be told about failures, queues and runners; plain maps say the same.

Source: bundle contract, sections 3.1, 8 and 13.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

HOST_LOCAL = "MirrorNeuron.Runner.HostLocal"
OPENSHELL = "MirrorNeuron.Sandbox.OpenShell"

RUNNERS = {"host_local": HOST_LOCAL, "openshell": OPENSHELL}
"""The module of a manifest for each kind of runner.  This project's engine has the first one."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often one turn of an agent is tried, and the first wait between tries, which doubles."""

    max_attempts: int = 1
    backoff_ms: int = 500

    def to_dict(self) -> dict[str, Any]:
        """As a plain map."""
        return {"max_attempts": self.max_attempts, "backoff_ms": self.backoff_ms}


@dataclass(frozen=True, slots=True)
class BackpressurePolicy:
    """How many messages may wait for an agent, and from when to when it counts as pressured.

    None: the runtime's own value, which follows from `max_queue_depth` (contract, section 8).
    """

    max_queue_depth: int = 100
    high_watermark: int | None = None
    low_watermark: int | None = None
    retry_after_ms: int = 250

    def to_dict(self) -> dict[str, Any]:
        """As a plain map, without what is left to the runtime."""
        marks = {"high_watermark": self.high_watermark, "low_watermark": self.low_watermark}
        given = {name: value for name, value in marks.items() if value is not None}
        return {"max_queue_depth": self.max_queue_depth, **given, "retry_after_ms": self.retry_after_ms}


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """What runs an agent's process.  Make one with `host_local` or `openshell`.

    settings: goes into the node's config as it is.
    """

    kind: Literal["host_local", "openshell"] = "host_local"
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def host_local(cls) -> RunnerConfig:
        """A process on the machine of the engine."""
        return cls("host_local")

    @classmethod
    def openshell(
        cls,
        *,
        image: str | None = None,
        policy: str | None = None,
        providers: Sequence[str] = (),
        gpu: bool = False,
        reuse_shared_sandbox: bool | None = None,
        persistent_workspace: bool | None = None,
        cleanup_remote_dir: bool | None = None,
        sandbox_upload_path: str | None = None,
    ) -> RunnerConfig:
        """A sandbox of another runtime.  Bundles say so; this project's engine refuses to run them."""
        settings = {
            "from": image,
            "policy": policy,
            "providers": list(providers) or None,
            "gpu": gpu or None,
            "reuse_shared_sandbox": reuse_shared_sandbox,
            "persistent_workspace": persistent_workspace,
            "cleanup_remote_dir": cleanup_remote_dir,
            "sandbox_upload_path": sandbox_upload_path,
        }
        return cls("openshell", {name: value for name, value in settings.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """As a plain map."""
        return {"kind": self.kind, **self.settings}
