"""`workflow`: says that a class is a workflow, which method is its program, and what it takes as input.

A decorated class is unchanged; what its decorator was given is kept on it.  Every worker imports this module,
so it imports nothing before it is asked to compile.  Source: bundle contract, section 13.1.
"""

from __future__ import annotations

TYPE_CHECKING = False  # As in mn_sdk.agent.
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from pathlib import Path
    from typing import Any, TypeVar, Unpack

    from mn_sdk.compiler import BundleOptions
    from mn_sdk.policies import BackpressurePolicy

    Workflow = TypeVar("Workflow")
    Program = TypeVar("Program", bound=Callable[..., Any])
    Json = Any

__all__ = ["Input", "defn", "input", "run", "to_bundle"]

MARK = "__mn_workflow__"
"""The attribute of a decorated class that holds the options it was given."""

RUN_MARK = "__mn_run__"
"""The attribute of the method that is the workflow's program."""


class Input:
    """An input of a workflow, as it stands in the program: `name`, and `default` when none is supplied."""

    __slots__ = ("default", "name")

    def __init__(self, name: str, default: Json = None) -> None:
        self.name = name
        self.default = default

    def __repr__(self) -> str:
        return f"workflow.input({self.name!r}, default={self.default!r})"


def input(name: str, default: Json = None) -> Json:
    """An input of the workflow, to be passed to its agents.

        TOPIC = workflow.input("topic", default="tea")

    Its type is anyone's, for in the program it stands for a value that is not there yet.
    """
    return Input(name, default)


def defn(
    name: str,
    *,
    type: str | None = None,
    stream_mode: str | None = None,
    recovery_mode: str = "cluster_recover",
    backpressure: BackpressurePolicy | Mapping[str, int] | None = None,
    requirements: Mapping[str, Json] | None = None,
    input_validation: Mapping[str, Json] | Sequence[Mapping[str, Json]] | None = None,
    services: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None = None,
    required_services: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None = None,
    deployment: Mapping[str, Json] | None = None,
    update_policy: Mapping[str, Json] | None = None,
    schedule: Mapping[str, Json] | None = None,
    triggers: Sequence[Mapping[str, Json]] | Mapping[str, Json] | None = None,
    parameterized: Mapping[str, Json] | None = None,
    policies: Mapping[str, Json] | None = None,
    includes: Sequence[str] | None = None,
    excludes: Sequence[str] | None = None,
) -> Callable[[Workflow], Workflow]:
    """Decorate the class of a workflow.

        @workflow.defn(name="research", recovery_mode="local_restart")
        class Research: ...

    type: "service" for a job that goes on until someone ends it.  All options are explained in
    docs/guide/write-a-workflow.md.
    """
    options = dict(locals())

    def decorate(cls: Workflow) -> Workflow:
        setattr(cls, MARK, options)
        return cls

    return decorate


def run(method: Program) -> Program:
    """Decorate the one method of a workflow that says which agents work on what."""
    setattr(method, RUN_MARK, True)
    return method


def to_bundle(
    workflow_class: type[object], output_dir: str | PathLike[str], **options: Unpack[BundleOptions]
) -> Path:
    """Compile a workflow into a bundle folder; the same as `mn_sdk.build_bundle`."""
    from mn_sdk.compiler import build_bundle  # Here, so that workers need not import the compiler.

    return build_bundle(workflow_class, output_dir, **options)
