"""Reading dynamic regions: what a controller may do to the step graph while it runs.

Only what can be known before the start is checked here; the patches are the core's to judge.
Source: bundle contract, section 7.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from headway_wire.manifest.fields import Spot, Table, names, whole
from headway_wire.manifest.findings import quoted, shown
from headway_wire.manifest.form import Dynamic, Node, Region, StepDef, StepEdge, Strategy
from headway_wire.manifest.graph import between
from headway_wire.manifest.ids import dynamic_id_problem
from headway_wire.manifest.shapes import Parts
from headway_wire.manifest.steps import read_step
from headway_wire.manifest.terms import Json

MODES = ("static_dag", "dynamic_dag")
STRATEGIES = ("replace_path", "checkpoint_fanout")
APPLY_AT = "between_steps"

REGIONS_MAX = 1_000
TEMPLATES_MAX = 1_000
PATCHES_DEFAULT = {"replace_path": 64, "checkpoint_fanout": 10_000}

_LIMITS: Table = {
    "max_patches": ("max_patches", whole(1, 100_000)),
    "max_active_steps": ("max_active_steps", whole(1, 1_000)),
    "max_operations_per_patch": ("max_operations_per_patch", whole(1, 256)),
    "max_instance_input_bytes": ("max_instance_input_bytes", whole(1, 1 << 20)),
}
_REGION: Table = {"templates": ("templates", names), "mutable_edges": ("mutable_edges", names)}


def read_dynamic(
    parts: Parts,
    nodes: Mapping[str, Node | None],
    steps: Mapping[str, StepDef],
    edges: Mapping[str, StepEdge],
    children: dict[str, list[str]],
    join_default: Json,
) -> Dynamic | None:
    """The dynamic part of the step graph; None when there is none, or the mode is static (D-b7)."""
    place = parts.graph("mode")
    mode = place.value
    if mode is not None and mode not in MODES:
        place.spot.wrong("mode", mode, " or ".join(MODES))
    place = parts.graph("dynamic")
    raw = place.spot.object(place.holder, "dynamic")
    if mode != "dynamic_dag":
        return None
    if raw.get("enabled") is not True:
        message = "mode dynamic_dag needs dynamic.enabled: true"
        place.spot.note("missing_key", message, "dynamic", expected="true", actual=raw.get("enabled"))
        return None
    spot = place.spot.inside("dynamic")
    if raw.get("apply_at") not in (None, APPLY_AT):
        spot.wrong("apply_at", raw["apply_at"], APPLY_AT)
    templates = _templates(spot, raw, nodes, join_default)
    regions: dict[str, Region] = {}
    for at, item in spot.objects(raw, "regions", most=REGIONS_MAX):
        region = _region(at, item, templates, steps, edges, children)
        if region is not None and region.id in regions:
            at.note("duplicate", f"duplicate region id {region.id}", "id", actual=region.id)
        elif region is not None:
            regions[region.id] = region
    given = spot.inside("limits").take(spot.object(raw, "limits"), _LIMITS)
    given.setdefault("max_patches", max([PATCHES_DEFAULT[one.strategy] for one in regions.values()] or [64]))
    return Dynamic(tuple(regions.values()), {id: step for id, step in templates.items() if step}, **given)


def _templates(
    spot: Spot, raw: dict[str, Json], nodes: Mapping[str, Node | None], join_default: Json
) -> dict[str, StepDef | None]:
    """The templates by id; None for those with mistakes, so that their names are known."""
    templates: dict[str, StepDef | None] = {}
    given = spot.object(raw, "templates")
    if len(given) > TEMPLATES_MAX:
        spot.note("over_limit", f"there may be at most {TEMPLATES_MAX} templates", "templates")
        return {}
    for id, item in given.items():
        at = spot.inside("templates").inside(id)
        at.prefix = f"template {shown(id)}: "
        templates[id] = None
        if problem := dynamic_id_problem(id):
            at.note("wrong_value", f"template id {quoted(id)} {problem}", actual=id)
        elif isinstance(item, dict):
            templates[id] = read_step(at, item, id, nodes, join_default)
        else:
            at.note("wrong_type", f"template {id} must be an object, found {shown(item)}", actual=item)
    return templates


def _region(
    spot: Spot,
    item: dict[str, Json],
    templates: Mapping[str, Any],
    steps: Mapping[str, StepDef],
    edges: Mapping[str, StepEdge],
    children: dict[str, list[str]],
) -> Region | None:
    id, strategy = item.get("id"), item.get("strategy")
    if not isinstance(id, str) or (problem := dynamic_id_problem(id)):
        problem = problem if isinstance(id, str) else "must be text"
        spot.note("wrong_value", f"region id {quoted(id)} {problem}", "id", actual=id)
        return None
    spot.prefix = f"region {id}: "
    if strategy not in STRATEGIES:
        spot.wrong("strategy", strategy, " or ".join(STRATEGIES))
        return None
    given = spot.take(item, _REGION)
    for key, known, what in (("templates", templates, "template"), ("mutable_edges", edges, "step edge")):
        for name in given.get(key, ()):
            if name not in known:
                message = f"region {id} references missing {what} {shown(name)}"
                spot.note("unknown_reference", message, key, actual=name)
    controller = _fixed(spot, item, "controller", id, steps)
    needs_exit = strategy == "replace_path" or item.get("exit") is not None
    exit = _fixed(spot, item, "exit", id, steps) if needs_exit else ""
    if not controller or (needs_exit and not exit):
        return None
    if exit and not between(children, controller, exit):
        message = f"region {id}: no path leads from {controller} to {exit} yet"
        spot.note("unreachable", message, "exit", severity="warning")
    return Region(id=id, strategy=cast(Strategy, strategy), controller=controller, exit=exit, **given)


def _fixed(spot: Spot, item: dict[str, Json], key: str, region: str, steps: Mapping[str, StepDef]) -> str:
    """The step that `key` names; "" when there is no such step, which is noted."""
    value = item.get(key)
    if isinstance(value, str) and value in steps:
        return value
    if value is None:
        spot.note("missing_key", f"region {region} must define {key}", key)
    else:
        message = f"region {region} references missing step {shown(value)} as its {key}"
        spot.note("unknown_reference", message, key, actual=value)
    return ""
