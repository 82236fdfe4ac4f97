"""`agent.defn`: says that a method is the work of an agent, and how it runs.

A decorated method is unchanged; what its decorator was given is kept on it.  Every worker imports this
module, so it imports nothing.  Source: bundle contract, section 13.1.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` alone would take a third of the time in which an interpreter starts.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Literal, TypeVar

    from mn_sdk.policies import BackpressurePolicy, RetryPolicy, RunnerConfig

    Method = TypeVar("Method", bound=Callable[..., Any])
    Json = Any
    Template = Literal["generic", "map", "reduce", "stream", "batch", "accumulator"]

__all__ = ["defn"]

MARK = "__mn_agent__"
"""The attribute of a decorated method that holds the options it was given."""


def defn(
    name: str | None = None,
    type: Template = "generic",
    *,
    runner: str | RunnerConfig = "host_local",
    retries: RetryPolicy | Mapping[str, int] | None = None,
    pool: str | None = None,
    pool_slots: int | None = None,
    backpressure: BackpressurePolicy | Mapping[str, int] | None = None,
    env: Mapping[str, Json] | None = None,
    pass_env: Sequence[str] | None = None,
    uploads: Sequence[Mapping[str, str]] | None = None,
    policy: str | None = None,
    timeout_seconds: float | None = None,
    role: str | None = None,
    output_message_type: str | None = None,
    raw_config: Mapping[str, Json] | None = None,
    resources: Mapping[str, Json] | None = None,
    services: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None = None,
    requires_services: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None = None,
    uses_action: str | None = None,
) -> Callable[[Method], Method]:
    """Decorate a method that is the work of an agent.  For each turn its class is made, without arguments.

        @agent.defn(name="reviewer", type="reduce", retries={"max_attempts": 2, "backoff_ms": 250})
        def review(self, result): ...

    name: the agent's id in the bundle, else the method's name.  uses_action: ``plugin.action``, a governed
    action that is done instead of the method, with the arguments of the call as its parameters.  All options
    are explained in docs/guide/write-a-workflow.md.
    """
    options = dict(locals())
    if callable(name):
        raise TypeError("agent.defn is called, also without options: @agent.defn()")

    def decorate(method: Method) -> Method:
        # A static or class method cannot carry it, its function can.
        setattr(getattr(method, "__func__", method), MARK, options)
        return method

    return decorate
