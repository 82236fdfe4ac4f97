"""Workflows: runbooks kept by name and version, and the runs they start.

A version is the text as written, stored under its digest; the record of the name lists the versions.  So
two people who write at the same moment cannot mix their texts, and a plan in use never changes.
Source: engine surface, section 11.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from headway_wire.errors import Conflict, Invalid, NotFound, Problem

from headway.core.plan import Json, Plan
from headway.ports import Clock, Record, Records
from headway.runbooks.checks import check, resolve
from headway.runbooks.compiler import compile
from headway.runbooks.findings import suggestion
from headway.runbooks.inputs import bind_inputs
from headway.runbooks.loader import parse
from headway.runbooks.runbook import Approval, ChildRun, PluginCall, Runbook
from headway.service.access import Ability, Actor, require
from headway.service.actions import Offered, check_mode
from headway.service.engine import Engine

log = logging.getLogger("headway.workflows")

VERSIONS_KEPT = 200
COMPILED_MAX = 256
NAMES_MAX = 10_000
KEY_CHARS_MAX = 200
FILE_CHARS_MAX = 200


class Version(msgspec.Struct, frozen=True):
    """One version of a runbook.  `digest` is the SHA-256 of its text."""

    number: int
    digest: str
    created_ms: int
    created_by: str


class Head(msgspec.Struct, frozen=True):
    """The record of a name: its versions, oldest first, and what lists show of the newest."""

    name: str
    versions: list[Version]
    description: str = ""
    mode: str = ""

    @property
    def newest(self) -> Version:
        return self.versions[-1]


@dataclass(frozen=True, slots=True)
class WorkflowLine:
    """A workflow in a list."""

    name: str
    version: int
    versions: list[int]
    description: str
    mode: str
    created_ms: int
    created_by: str


@dataclass(frozen=True, slots=True)
class Workflow(WorkflowLine):
    """One version of a workflow as people see it."""

    inputs: dict[str, Json]
    steps: list[dict[str, Json]]
    source: str
    warnings: list[dict[str, Json]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `validate` found."""

    valid: bool
    problems: list[dict[str, Json]]
    warnings: list[dict[str, Json]]


class Workflows:
    """The workflows of every tenant.  `offered` says what a tenant's plugins offer now."""

    def __init__(
        self, records: Records, clock: Clock, engine: Engine, offered: Callable[[str], Offered]
    ) -> None:
        self._records = records
        self._clock = clock
        self._engine = engine
        self._offered = offered
        self._compiled: OrderedDict[str, tuple[Runbook, Plan]] = OrderedDict()

    # Reading --------------------------------------------------------------------------------------

    async def page(self, actor: Actor, *, after: str = "", limit: int = 100) -> list[WorkflowLine]:
        """Workflows by name, behind the name `after`."""
        require(actor, Ability.READ)
        prefix = _head_key(actor.tenant, "")
        records = await self._records.list(prefix, after=prefix + after if after else "", limit=limit)
        return [_line(msgspec.json.decode(record.value, type=Head)) for record in records]

    async def get(self, actor: Actor, name: str, *, version: int = 0) -> Workflow:
        """One version, the newest when 0.  Raises NotFound."""
        require(actor, Ability.READ)
        head, _ = await self._head(actor.tenant, name)
        chosen = _choose(head, version)
        source = await self._source(actor.tenant, chosen.digest)
        runbook, plan = self._compile(chosen.digest, source, head.name)
        return _view(head, chosen, runbook, plan, source, [])

    def validate(self, actor: Actor, source: bytes, *, filename: str = "runbook.yaml") -> Verdict:
        """All that is wrong with a runbook, and what to know about it; nothing is stored."""
        require(actor, Ability.READ)
        try:
            runbook = parse(source, filename=filename[:FILE_CHARS_MAX])
        except Invalid as error:
            return Verdict(False, [problem.to_dict() for problem in error.problems], [])
        found = check(runbook, self._offered(actor.tenant))
        errors = [problem.to_dict() for problem in found.errors]
        return Verdict(not errors, errors, [problem.to_dict() for problem in found.warnings])

    async def validate_stored(self, actor: Actor, name: str) -> Verdict:
        """`validate` for the newest version of a stored workflow."""
        found = await self.get(actor, name)
        return self.validate(actor, found.source.encode(), filename=f"{found.name}.yaml")

    # Writing --------------------------------------------------------------------------------------

    async def create(
        self, actor: Actor, source: bytes, *, filename: str = "runbook.yaml"
    ) -> tuple[Workflow, bool]:
        """Store a runbook as a new version of its name; False when the newest version has this very text.

        Raises Invalid with every finding, Conflict when somebody else wrote the same name just now.
        """
        require(actor, Ability.WRITE_WORKFLOWS)
        runbook = parse(source, filename=filename[:FILE_CHARS_MAX])
        found = check(runbook, self._offered(actor.tenant))
        if found.errors:
            count = len(found.errors)
            text = f"{runbook.filename} has {count} mistake{'s' if count > 1 else ''}"
            raise Invalid(text, code="bad_runbook", problems=[*found.errors, *found.warnings])
        plan = compile(runbook)
        if problems := plan.problems:
            raise Invalid(f"{runbook.filename} cannot run", code="bad_runbook", problems=problems)
        digest = hashlib.sha256(source).hexdigest()
        record = await self._records.get(_head_key(actor.tenant, runbook.name))
        old = msgspec.json.decode(record.value, type=Head) if record else None
        text = source.decode("utf-8-sig")
        if old is not None and old.newest.digest == digest:
            return _view(old, old.newest, runbook, plan, text, found.warnings), False
        now_ms = self._clock.now_ms()
        number = old.newest.number + 1 if old else 1
        version = Version(number, digest, now_ms, actor.user)
        versions = [*(old.versions if old else []), version][-VERSIONS_KEPT:]
        head = Head(runbook.name, versions, runbook.description, str(plan.mode))
        await self._records.put(_source_key(actor.tenant, digest), source, now_ms=now_ms)
        await self._records.put(
            _head_key(actor.tenant, runbook.name),
            msgspec.json.encode(head),
            now_ms=now_ms,
            expect=record.version if record else 0,
        )
        log.info("'%s' stored version %d of workflow %s", actor.user, number, runbook.name)
        return _view(head, version, runbook, plan, text, found.warnings), True

    async def delete(self, actor: Actor, name: str) -> None:
        """Remove all versions; runs they started keep their plan.  Texts stay, under their digests."""
        require(actor, Ability.WRITE_WORKFLOWS)
        head, _ = await self._head(actor.tenant, name)
        await self._records.delete(_head_key(actor.tenant, head.name))
        log.info("'%s' deleted workflow %s", actor.user, head.name)

    # Running --------------------------------------------------------------------------------------

    async def run(
        self,
        actor: Actor,
        name: str,
        inputs: Mapping[str, Json],
        *,
        mode: str = "",
        version: int = 0,
        key: str = "",
    ) -> str:
        """Start a run and return its id; durable by then.

        mode: stricter than the workflow's, or "".  key: makes a repeated request name the same run, for
        this user and workflow.
        Raises Invalid with every wrong input, Conflict when `key` was used with other inputs.
        """
        require(actor, Ability.RUN)
        check_mode(mode)
        plan, bound = await self.prepare(actor.tenant, name, inputs, version=version)
        run_id = _keyed_id(actor, plan.name, key) if key else ""
        run_id = await self._engine.submit(
            plan, bound, tenant=actor.tenant, requester=actor.user, mode=mode, run_id=run_id
        )
        if key and (await self._engine.run(run_id)).inputs != bound:
            text = f"the idempotency key was used for {run_id} with other inputs"
            raise Conflict(text, code="idempotency_key_reused", facts={"execution": run_id})
        log.info("'%s' started %s of workflow %s", actor.user, run_id, plan.name)
        return run_id

    async def prepare(
        self, tenant: str, name: str, inputs: Mapping[str, Json], *, version: int = 0
    ) -> tuple[Plan, dict[str, Json]]:
        """The plan of a workflow, and its inputs as it declares them."""
        head, _ = await self._head(tenant, name)
        chosen = _choose(head, version)
        cached = self._compiled.get(chosen.digest)
        if cached is None:
            cached = self._compile(chosen.digest, await self._source(tenant, chosen.digest), head.name)
        return cached[1], bind_inputs(cached[1], inputs)

    # Inside ---------------------------------------------------------------------------------------

    def _compile(self, digest: str, source: str, name: str) -> tuple[Runbook, Plan]:
        found = self._compiled.get(digest)
        if found is None:
            runbook = parse(source, filename=f"{name}.yaml")
            found = self._compiled[digest] = (runbook, compile(runbook))
            if len(self._compiled) > COMPILED_MAX:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(digest)
        return found

    async def _source(self, tenant: str, digest: str) -> str:
        record = await self._records.get(_source_key(tenant, digest))
        if record is None:
            raise NotFound(f"the text of this workflow version ({digest[:12]}) is not in the store")
        return record.value.decode("utf-8-sig")

    async def _head(self, tenant: str, name: str) -> tuple[Head, Record]:
        record = await self._records.get(_head_key(tenant, name)) if "/" not in name else None
        if record is None:
            names = await self._names(tenant)
            alike = resolve(name, names)
            record = await self._records.get(_head_key(tenant, alike)) if alike else None
            if record is None:
                hint = suggestion(name, names)
                text = f"there is no workflow '{name}'{f'; {hint}' if hint else ''}"
                raise NotFound(text, code="unknown_workflow")
        return msgspec.json.decode(record.value, type=Head), record

    async def _names(self, tenant: str) -> list[str]:
        prefix = _head_key(tenant, "")
        return [
            record.key.removeprefix(prefix) for record in await self._records.list(prefix, limit=NAMES_MAX)
        ]


def _head_key(tenant: str, name: str) -> str:
    return f"/mirastack/{tenant}/workflows/{name}"


def _source_key(tenant: str, digest: str) -> str:
    return f"/mirastack/{tenant}/runbooks/{digest}"


def _keyed_id(actor: Actor, workflow: str, key: str) -> str:
    if len(key) > KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        raise Invalid(f"an idempotency key has 1 to {KEY_CHARS_MAX} visible characters")
    place = "\n".join((actor.tenant, actor.user, workflow, key))
    return f"run-{hashlib.sha256(place.encode()).hexdigest()[:24]}"


def _choose(head: Head, version: int) -> Version:
    if version == 0:
        return head.newest
    for one in head.versions:
        if one.number == version:
            return one
    kept = f"{head.versions[0].number} to {head.newest.number}"
    raise NotFound(
        f"workflow '{head.name}' has no version {version}; there are {kept}", code="unknown_version"
    )


def _line(head: Head) -> WorkflowLine:
    newest = head.newest
    numbers = [version.number for version in head.versions]
    return WorkflowLine(
        head.name,
        newest.number,
        numbers,
        head.description,
        head.mode,
        newest.created_ms,
        newest.created_by,
    )


def _view(
    head: Head, version: Version, runbook: Runbook, plan: Plan, source: str, warnings: Sequence[Problem]
) -> Workflow:
    return Workflow(
        head.name,
        version.number,
        [one.number for one in head.versions],
        runbook.description,
        str(plan.mode),
        version.created_ms,
        version.created_by,
        plan.inputs,
        [_step(step.id, step.task, step.waits_for) for step in runbook.steps],
        source,
        [problem.to_dict() for problem in warnings],
    )


def _step(id: str, task: object, after: tuple[str, ...]) -> dict[str, Json]:
    match task:
        case PluginCall(plugin, action):
            kind = "plugin"
        case ChildRun(workflow):
            kind, plugin, action = "workflow", "", workflow
        case Approval():
            kind, plugin, action = "approval", "", ""
        case _:
            kind, plugin, action = "compute", "", ""
    return {"id": id, "kind": kind, "plugin": plugin, "action": action, "after": list(after)}
