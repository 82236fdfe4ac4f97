"""Reading the steps of a runbook: what each does, and the keys that all of them share."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headway.core.plan import EACH_ITEMS_MAX, WORKFLOW, Json, OnFailure, Permission, Retry, Rule, Trigger
from headway.runbooks import fields
from headway.runbooks.cel import ExpressionError
from headway.runbooks.document import Node, kind_of
from headway.runbooks.expressions import Template, compiled
from headway.runbooks.findings import Findings, suggestion
from headway.runbooks.runbook import (
    STEP_TIMEOUT_MS,
    STEPS_MAX,
    WORKFLOW_TIMEOUT_MS,
    Approval,
    ChildRun,
    PluginCall,
    RunbookStep,
    Task,
    Value,
)

STEP_ID = re.compile(r"[A-Za-z0-9_]+(?:-+[A-Za-z0-9_]+)*", re.ASCII)
NAME_CHARS_MAX = 64
RETRY_ATTEMPTS_MAX = 20

_COMMON = ("id", "name", "type", "description", "depends_on", "trigger", "when", "for_each", "on_error")
_OWN: dict[str, tuple[str, ...]] = {
    "plugin": ("plugin", "action", "params", "retry", "timeout"),
    "workflow": ("workflow", "inputs", "retry", "timeout"),
    "approval": ("text", "permission"),
    "value": ("value",),
}
TYPES = tuple(_OWN)
STEP_KEYS = dict.fromkeys((*_COMMON, *(key for own in _OWN.values() for key in own)))
"""Every key that some step can have."""

_KEYS = {kind: (*_COMMON, *own) for kind, own in _OWN.items()}
RETRY_KEYS = ("attempts", "delay", "multiplier", "max_delay")

ON_ERROR = {
    "fail": OnFailure.FAIL,
    "continue": OnFailure.PARTIAL,
    "skip": OnFailure.SKIP,
    "fallback": OnFailure.FALLBACK,
}
_PERMISSIONS = {"MODIFY": Permission.MODIFY, "ADMIN": Permission.ADMIN, "WRITE": Permission.MODIFY}
_RULES = {rule.value: rule for rule in Rule if rule is not Rule.QUORUM}


@dataclass(frozen=True, slots=True)
class ReadStep:
    """A step and the nodes it was read from; `step` is None when it can only be referred to."""

    id: str
    node: Node
    step: RunbookStep | None
    depends_on: list[Node] | None
    texts: tuple[tuple[str, Node], ...]
    """(key, node) of every part that may hold templates."""


def read_steps(node: Node | None, findings: Findings) -> list[ReadStep]:
    """All steps that have an id of their own, in the order of the file."""
    items = fields.listing(node, findings, what="'steps'")
    if node is not None and not items and (node.value is None or node.value == []):
        findings.add(node.key or node.place, "a runbook needs at least one step")
    if len(items) > STEPS_MAX and node is not None:
        findings.add(node.place, f"a runbook has at most {STEPS_MAX} steps, this one has {len(items)}")
        items = items[:STEPS_MAX]
    found: dict[str, ReadStep] = {}
    for item in items:
        if not isinstance(item.value, dict) or not item.value:
            what = kind_of(item) if item.value else "nothing"
            findings.add(item.place, f"a step is a mapping, not {what}", "write '- id: NAME'")
            continue
        id = _id(item, findings, found)
        read = _step(id, item, item.value, findings)
        if id and id not in found:
            found[id] = read
    return list(found.values())


def _id(item: Node, findings: Findings, found: dict[str, ReadStep]) -> str:
    assert isinstance(item.value, dict)
    node = item.value.get("id") or item.value.get("name")
    if node is None:
        findings.add(item.place, "a step needs an id", "add 'id: NAME'")
        return ""
    id = fields.text(node, findings, what="a step's id")
    if id and (not STEP_ID.fullmatch(id) or len(id) > NAME_CHARS_MAX):
        slug = re.sub(r"[^A-Za-z0-9_]+", "-", id).strip("-")[:NAME_CHARS_MAX].strip("-")
        findings.add(
            node.place,
            f"'{id[:80]}' is no step id: letters, digits, '_' and '-' between them, at most {NAME_CHARS_MAX}",
            f"write '{slug}'" if slug else "",
        )
        return ""
    if id in found:
        line = found[id].node.place.line
        findings.add(node.place, f"step id '{id}' is used twice", f"first in line {line}")
    return id


def _step(id: str, item: Node, entries: dict[str, Node], findings: Findings) -> ReadStep:
    label = f"step '{id}'" if id else "a step"
    kind = _kind(item, entries, findings, label)
    if kind == "":
        return ReadStep(id, item, None, None, ())
    fields.known_keys(entries, _KEYS[kind], findings, what=f"a {kind} step")
    task = _TASKS[kind](entries, item, findings, label)
    depends_on = entries.get("depends_on")
    step = RunbookStep(
        id,
        task,
        when=_condition(entries.get("when"), findings),
        for_each=_items(entries.get("for_each"), findings),
        retry=_retry(entries.get("retry"), findings),
        timeout_ms=fields.duration(
            entries.get("timeout"),
            findings,
            what="'timeout'",
            default=WORKFLOW_TIMEOUT_MS if kind == "workflow" else STEP_TIMEOUT_MS,
        ),
        on_error=fields.choice(
            entries.get("on_error"), ON_ERROR, findings, what="'on_error'", default=OnFailure.FAIL
        ),
        trigger=_trigger(entries.get("trigger"), findings),
        description=fields.text(entries.get("description"), findings, what="'description'"),
    )
    texts = [
        (key, entries[key])
        for key in ("when", "for_each", "params", "inputs", "text", "value")
        if key in entries
    ]
    waits = fields.names(depends_on, findings, what="'depends_on'") if depends_on else None
    return ReadStep(id, item, step, waits, tuple(texts))


def _kind(item: Node, entries: dict[str, Node], findings: Findings, label: str) -> str:
    """The type of a step: as said, or as its keys tell; "" when it is none we can run."""
    said = entries.get("type")
    if said is None:
        told = [kind for kind in ("plugin", "workflow", "value") if kind in entries]
        if told:
            return told[0]
        if "action" in entries:
            return "plugin"
        findings.add(
            item.place, f"{label} does nothing", "give it a 'plugin', a 'workflow', a 'value' or a 'type'"
        )
        return ""
    kind = fields.text(said, findings, what="'type'")
    if kind == "llm":
        findings.add(
            said.place,
            f"{label} has type 'llm', which is not available in this version",
            "call a provider-backed agent with a plugin step, or compute the result with 'value'",
        )
        return ""
    if kind and kind not in TYPES:
        findings.add(said.place, f"'{kind}' is no type of step", suggestion(kind, TYPES))
    return kind if kind in TYPES else ""


# What steps do ------------------------------------------------------------------------------------


def _plugin(entries: dict[str, Node], item: Node, findings: Findings, label: str) -> Task:
    plugin = _target(entries, item, findings, label, key="plugin")
    params = dict(fields.mapping(entries.get("params"), findings, what="'params'"))
    # Published workflows write the action inside the parameters (engine surface, section 11).
    node = entries.get("action") or params.pop("action", None)
    if node is None and fields.lacks(entries, "action", _KEYS["plugin"]):
        findings.add(item.place, f"{label} does not say which action to call", "add 'action: NAME'")
    action = _static(node, findings, what="'action'")
    return PluginCall(plugin, action, {name: value.plain() for name, value in params.items()})


def _workflow(entries: dict[str, Node], item: Node, findings: Findings, label: str) -> Task:
    workflow = _target(entries, item, findings, label, key="workflow")
    inputs = fields.mapping(entries.get("inputs"), findings, what="'inputs'")
    return ChildRun(workflow, {name: value.plain() for name, value in inputs.items()})


def _approval(entries: dict[str, Node], item: Node, findings: Findings, label: str) -> Task:
    node = entries.get("text")
    if node is None and fields.lacks(entries, "text", _KEYS["approval"]):
        findings.add(item.place, f"{label} does not say what is to be approved", "add 'text: ...'")
    text = fields.text(node, findings, what="'text'")
    permission = fields.choice(
        entries.get("permission"), _PERMISSIONS, findings, what="'permission'", default=Permission.MODIFY
    )
    return Approval(text, permission)


def _value(entries: dict[str, Node], item: Node, findings: Findings, label: str) -> Task:
    node = entries.get("value")
    if node is None:
        if fields.lacks(entries, "value", _KEYS["value"]):
            findings.add(item.place, f"{label} has no value", "add 'value: ...'")
        return Value(None)
    return Value(node.plain())


_TASKS = {"plugin": _plugin, "workflow": _workflow, "approval": _approval, "value": _value}


def _target(entries: dict[str, Node], item: Node, findings: Findings, label: str, *, key: str) -> str:
    node = entries.get(key)
    if fields.lacks(entries, key, _KEYS[key]):
        findings.add(item.place, f"{label} does not say which {key} to use", f"add '{key}: NAME'")
    name = _static(node, findings, what=f"'{key}'")
    if node is not None and name.startswith(WORKFLOW[0]):
        findings.add(node.place, f"'{name}' is no {key}: names do not begin with '{WORKFLOW[0]}'")
    return name


def _static(node: Node | None, findings: Findings, *, what: str) -> str:
    """A text that is known before the run, so that permissions can be checked and shown."""
    found = fields.text(node, findings, what=what)
    if node is not None and "{{" in found:
        findings.add(
            node.place, f"{what} cannot be a template", "write the name; use 'when' to choose between steps"
        )
    return found


# The keys that steps share ------------------------------------------------------------------------


def _condition(node: Node | None, findings: Findings) -> str | None:
    if node is None:
        return None
    if isinstance(node.value, bool):
        return f"{{{{ {str(node.value).lower()} }}}}"
    text = fields.text(node, findings, what="'when'").strip()
    if "{{" not in text:
        return f"{{{{ {text} }}}}" if text else None
    if not _one_template(text):
        findings.add(node.place, "'when' is one expression", "write the whole condition without {{ }}")
    return text


def _items(node: Node | None, findings: Findings) -> Json:
    if node is None:
        return None
    if isinstance(node.value, list):
        if len(node.value) > EACH_ITEMS_MAX:
            findings.add(
                node.place, f"'for_each' takes at most {EACH_ITEMS_MAX} items, not {len(node.value)}"
            )
        return node.plain()
    if not isinstance(node.value, str) or not _one_template(node.value):
        findings.add(
            node.place,
            f"'for_each' is a list, or one template for a list, not {kind_of(node)}",
            "write \"{{ steps.ID.output }}\" or begin each item with '- '",
        )
        return None
    return node.value.strip()


def _one_template(text: str) -> bool:
    """Whether a text is one template and nothing else; one that cannot be read is told about elsewhere."""
    try:
        parts = compiled(text.strip())
    except ExpressionError:
        return True
    return len(parts) == 1 and isinstance(parts[0], Template)


def _retry(node: Node | None, findings: Findings) -> Retry:
    entries = fields.mapping(node, findings, what="'retry'")
    fields.known_keys(entries, RETRY_KEYS, findings, what="'retry'")
    default = Retry()
    return Retry(
        attempts=fields.whole(
            entries.get("attempts"),
            findings,
            what="'attempts'",
            least=1,
            most=RETRY_ATTEMPTS_MAX,
            default=3 if entries else 1,
        ),
        delay_ms=fields.duration(
            entries.get("delay"), findings, what="'delay'", default=default.delay_ms, least=0
        ),
        multiplier=fields.number(
            entries.get("multiplier"),
            findings,
            what="'multiplier'",
            least=1,
            most=10,
            default=default.multiplier,
        ),
        delay_max_ms=fields.duration(
            entries.get("max_delay"), findings, what="'max_delay'", default=default.delay_max_ms
        ),
    )


def _trigger(node: Node | None, findings: Findings) -> Trigger:
    if node is None:
        return Trigger()
    if isinstance(node.value, dict) and set(node.value) == {"quorum"}:
        count = fields.whole(
            node.value["quorum"], findings, what="'quorum'", least=1, most=STEPS_MAX, default=1
        )
        return Trigger(Rule.QUORUM, count)
    if isinstance(node.value, str) and node.value not in _RULES:
        findings.add(
            node.place, f"'{node.value}' is no trigger", suggestion(node.value, [*_RULES, "quorum: N"])
        )
        return Trigger()
    return Trigger(fields.choice(node, _RULES, findings, what="'trigger'", default=Rule.ALL_SUCCESS))
