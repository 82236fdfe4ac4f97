"""Whether the services that somebody needs are there: what `CheckServices` and the start of a job ask.

A declaration with checks is probed; one without is looked up among the registered services.
Source: runtime API, section 4.4; bundle contract, sections 3 and 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from headway_wire.manifest import Manifest
from headway_wire.manifest.findings import Finding

from headway.core.plan import Json
from headway.core.value import value
from headway.service.cluster.health import service_status
from headway.service.cluster.probes import Prober
from headway.service.cluster.queries import Query
from headway.service.cluster.services import Services
from headway.service.cluster.specs import filled_service, probes_of
from headway.service.cluster.templates import Scope, config_of, scope_of

SPECS_MAX = 100
AT_ONCE_MAX = 16
CHECKS_S_MAX = 30.0
"""How long all checks of one question may take together."""


@value
class Need:
    """A service that is asked for.  scope: what its templates may name; where: the place of the question."""

    raw: Mapping[str, Json]
    where: str
    scope: Scope
    required: bool = True
    node: str = ""


@value
class Answer:
    """What was found of a need: a line of the report, and what is wrong."""

    result: dict[str, Json]
    findings: tuple[Finding, ...] = ()


async def examine(
    needs: Sequence[Need], services: Services, prober: Prober, *, job_id: str = ""
) -> list[Answer]:
    """An answer to each need, in order.  All checks together are bounded in number at once and in time."""
    slots = asyncio.Semaphore(AT_ONCE_MAX)

    async def ask(need: Need) -> Answer:
        try:
            async with asyncio.timeout(CHECKS_S_MAX):
                return await _examine(need, services, prober, slots, job_id)
        except TimeoutError:
            return _bad(need, "service.timed_out", f"was not checked within {CHECKS_S_MAX:g} s")

    return list(await asyncio.gather(*(ask(need) for need in needs)))


def needs_of(
    manifest: Manifest, *, job_id: str, node: str, config: Json, env: Mapping[str, str]
) -> list[Need]:
    """What a job needs before it starts.  What the job itself offers is no need: it comes with the job."""
    config = config or config_of(manifest)  # Once: there may be thousands of nodes.
    offered = {service.name for service in manifest.services}
    offered |= {service.name for each in manifest.nodes for service in each.services}
    needs = [
        Need(
            service.raw,
            f"/required_services/{index}",
            scope_of(manifest, node=node, job_id=job_id, config=config, env=env),
            service.required,
        )
        for index, service in enumerate(manifest.required_services)
    ]
    for each in manifest.nodes:
        if not each.requires_services:
            continue
        scope = scope_of(manifest, node=node, job_id=job_id, agent=each.id, config=config, env=env)
        needs += [
            Need(service.raw, f"/nodes/{each.id}/requires_services/{index}", scope, service.required, node)
            for index, service in enumerate(each.requires_services)
            if service.name not in offered
        ]
    return needs


async def _examine(
    need: Need, services: Services, prober: Prober, slots: asyncio.Semaphore, job_id: str
) -> Answer:
    problems: list[str] = []
    service = filled_service(need.raw, need.scope, f"service '{need.raw.get('name')}'", problems)
    if service is None:
        return _bad(need, "service.bad_spec", "; ".join(problems))
    if not service.checks:
        return _lookup(need, service.name, frozenset(service.tags), services)

    async def check(index: int) -> dict[str, Json]:
        probe = probes[index]
        async with slots:
            outcome = await prober.check(probe, job_id=job_id)
        status = "passing" if outcome.good else "critical"
        return {"name": probe.name, "type": probe.kind, "status": status, "message": outcome.message}

    probes = probes_of(service, need.where, [])
    checks = await asyncio.gather(*(check(index) for index in range(len(probes))))
    status = service_status(
        (probe.required, found["status"]) for probe, found in zip(probes, checks, strict=True)
    )
    health = {"status": status, "checks": checks}
    if status != "critical":
        return Answer(_result(need, ok=True, status=status, health=health))
    said = "; ".join(
        f"{found['name']}: {found['message']}" for found in checks if found["status"] == "critical"
    )
    return _bad(need, "service.unhealthy", f"is not healthy: {said}", health=health)


def _lookup(need: Need, name: str, tags: frozenset[str], services: Services) -> Answer:
    found = services.find(Query(name=name, node=need.node, tags=tags))
    passing = [instance for instance in found if instance["status"] == "passing"]
    if passing:
        return Answer(_result(need, ok=True, status="passing", instances=passing))
    tagged = f" with the tags {', '.join(sorted(tags))}" if tags else ""
    if not found:
        return _bad(need, "service.not_found", f"is not registered{tagged}", instances=[])
    told = ", ".join(f"{instance['id']} is {instance['status']}" for instance in found[:5])
    return _bad(
        need, "service.not_passing", f"has no instance that is passing{tagged}: {told}", instances=found
    )


def _bad(need: Need, kind: str, what: str, **found: Json) -> Answer:
    name = need.raw.get("name")
    text = what if what.startswith("service ") else f"service '{name}' {what}"
    finding = Finding(
        kind,
        text,
        need.where,
        expected="passing",
        severity="error" if need.required else "warning",
        help="" if need.required else "the service is optional",
    )
    return Answer(_result(need, ok=False, status="critical", **found), (finding,))


def _result(need: Need, *, ok: bool, status: str, **found: Json) -> dict[str, Json]:
    name = str(need.raw.get("name") or "")
    return {
        "name": name,
        "type": "service",
        "required": need.required,
        "ok": ok,
        "status": status,
        **found,
    }
