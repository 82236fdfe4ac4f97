"""From YAML to a runbook: everything that is wrong with a file, at once, or the runbook."""

from __future__ import annotations

import re
from collections.abc import Collection

from headway_wire.errors import Invalid

from headway.core.plan import Mode
from headway.runbooks import fields
from headway.runbooks.document import Node, kind_of, read
from headway.runbooks.expressions import has_template
from headway.runbooks.findings import Findings, Place, one_of, suggestion
from headway.runbooks.inputs import EXPECTED, WrongType, converted
from headway.runbooks.links import check_outputs, link
from headway.runbooks.runbook import INPUTS_MAX, Input, Intent, Runbook
from headway.runbooks.steps import NAME_CHARS_MAX, read_steps

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*", re.ASCII)
INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
INTENTS_MAX = 50
VERSION_MAX = 1_000_000

RUNBOOK_KEYS = ("name", "description", "version", "mode", "timeout", "intents", "inputs", "steps", "outputs")
INPUT_KEYS = ("type", "required", "default", "description", "enum")
_INTENT_KEYS = ("pattern", "priority", "description")
_MODES = {mode.value: mode for mode in Mode}


def parse(source: bytes | str, *, filename: str = "runbook.yaml") -> Runbook:
    """The runbook that a YAML text holds.

    Raises Invalid, and never anything else, with every mistake as a `Finding`: file, line, column, what was
    found, what was expected, and what may have been meant.
    Source: engine surface, section 11; docs/reference/runbook.md.
    """
    findings = Findings(filename)
    root = read(source, findings)
    runbook = _runbook(root, filename, findings) if root is not None else None
    if runbook is None or findings.found:
        count = len(findings.found)
        mistakes = "one mistake" if count == 1 else f"{count} mistakes"
        raise Invalid(f"{filename} has {mistakes}", code="bad_runbook", problems=findings.in_order())
    return runbook


def _runbook(root: Node, filename: str, findings: Findings) -> Runbook | None:
    if not isinstance(root.value, dict):
        findings.add(root.place, f"a runbook is a mapping, not {kind_of(root)}", "begin with 'name: ...'")
        return None
    entries = root.value
    fields.known_keys(entries, RUNBOOK_KEYS, findings, what="a runbook")
    for key in ("name", "steps"):
        if fields.lacks(entries, key, RUNBOOK_KEYS):
            findings.add(root.place, f"a runbook needs '{key}'", f"add '{key}: ...'")
    inputs = _inputs(entries.get("inputs"), findings)
    steps = read_steps(entries.get("steps"), findings)
    declared = set(_declared(entries.get("inputs")))
    linked = link(steps, declared, findings)
    outputs = fields.mapping(entries.get("outputs"), findings, what="'outputs'")
    check_outputs(entries.get("outputs"), declared, [one.id for one in steps], findings)
    return Runbook(
        name=_name(entries.get("name"), findings),
        steps=linked,
        description=fields.text(entries.get("description"), findings, what="'description'"),
        version=fields.whole(
            entries.get("version"), findings, what="'version'", least=1, most=VERSION_MAX, default=1
        ),
        mode=fields.choice(entries["mode"], _MODES, findings, what="'mode'", default=Mode.GUIDED)
        if "mode" in entries
        else None,
        timeout_ms=fields.duration(entries.get("timeout"), findings, what="'timeout'", default=0),
        intents=_intents(entries.get("intents"), findings),
        inputs=inputs,
        outputs={name: node.plain() for name, node in outputs.items()},
        filename=filename,
        places=_places(steps_node) if (steps_node := entries.get("steps")) else {},
    )


def _name(node: Node | None, findings: Findings) -> str:
    name = fields.text(node, findings, what="'name'")
    if node is not None and name and (not NAME.fullmatch(name) or len(name) > NAME_CHARS_MAX):
        slug = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")[:NAME_CHARS_MAX]
        findings.add(
            node.place,
            f"'{name[:80]}' is no name: lower-case letters, digits, '-' and '_', at most {NAME_CHARS_MAX}",
            f"write '{slug}'" if slug else "",
        )
    return name


def _intents(node: Node | None, findings: Findings) -> tuple[Intent, ...]:
    items = fields.listing(node, findings, what="'intents'")
    if node is not None and len(items) > INTENTS_MAX:
        findings.add(node.place, f"a runbook has at most {INTENTS_MAX} intents, this one has {len(items)}")
    found = []
    for item in items[:INTENTS_MAX]:
        if isinstance(item.value, str):
            found.append(Intent(fields.text(item, findings, what="a pattern")))
            continue
        entries = fields.mapping(item, findings, what="an intent")
        fields.known_keys(entries, _INTENT_KEYS, findings, what="an intent")
        if entries and fields.lacks(entries, "pattern", _INTENT_KEYS):
            findings.add(item.place, "an intent needs a pattern", "add 'pattern: \"...\"'")
        found.append(
            Intent(
                fields.text(entries.get("pattern"), findings, what="'pattern'"),
                fields.whole(
                    entries.get("priority"), findings, what="'priority'", least=1, most=10, default=5
                ),
                fields.text(entries.get("description"), findings, what="'description'"),
            )
        )
    return tuple(found)


# Inputs -------------------------------------------------------------------------------------------


def _declared(node: Node | None) -> Collection[str]:
    """Every name under 'inputs', also of declarations with mistakes: what reads them is not wrong too."""
    return node.value if node is not None and isinstance(node.value, dict) else ()


def _inputs(node: Node | None, findings: Findings) -> tuple[Input, ...]:
    entries = fields.mapping(node, findings, what="'inputs'")
    if node is not None and len(entries) > INPUTS_MAX:
        findings.add(node.place, f"a runbook has at most {INPUTS_MAX} inputs, this one has {len(entries)}")
    return tuple(_input(name, item, findings) for name, item in list(entries.items())[:INPUTS_MAX])


def _input(name: str, node: Node, findings: Findings) -> Input:
    if not INPUT_NAME.fullmatch(name) or len(name) > NAME_CHARS_MAX:
        slug = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:NAME_CHARS_MAX]
        hint = f"write '{slug}'" if INPUT_NAME.fullmatch(slug) else ""
        findings.add(
            node.key or node.place, f"'{name[:80]}' is no name for an input: letters, digits and '_'", hint
        )
    entries = fields.mapping(node, findings, what=f"input '{name}'")
    fields.known_keys(entries, INPUT_KEYS, findings, what="an input")
    kind = entries.get("type")
    type = fields.text(kind, findings, what="'type'", default="string")
    if kind is not None and type not in EXPECTED:
        hint = suggestion(type, EXPECTED)
        findings.add(kind.place, f"'{type}' is no type of input", hint or f"write {one_of(EXPECTED)}")
    items = fields.listing(entries.get("enum"), findings, what="'enum'")
    choices = [_of_type(Input(name, type), item, findings, what="a value of 'enum'") for item in items]
    declaration = Input(
        name,
        type,
        required=fields.boolean(entries.get("required"), findings, what="'required'", default=False),
        description=fields.text(entries.get("description"), findings, what="'description'"),
        choices=tuple(choice for choice in choices if choice is not None),
    )
    default = entries.get("default")
    if default is None or default.value is None:
        return declaration
    value = _of_type(declaration, default, findings, what="'default'")
    return Input(name, type, declaration.required, value, declaration.description, declaration.choices)


def _of_type(declaration: Input, node: Node, findings: Findings, *, what: str) -> object:
    value = node.plain()
    if declaration.type not in EXPECTED:
        return None
    if has_template(value):
        findings.add(node.place, f"{what} cannot hold a template", "use a value step to compute something")
        return None
    if declaration.type in ("string", "timerange") and isinstance(value, int | float):
        findings.add(node.place, f"{what} is a text, not {kind_of(node)}", "put it in quotes")
        return None
    try:
        return converted(declaration, value)
    except WrongType as error:
        findings.add(node.place, f"{what}: {error}")
        return None


def _places(steps: Node) -> dict[str, Place]:
    """Where each key of each step, and of its parameters, stands: by step id, then keys joined by dots."""
    found: dict[str, Place] = {}
    for item in steps.value if isinstance(steps.value, list) else ():
        if not isinstance(item.value, dict):
            continue
        id = item.value.get("id") or item.value.get("name")
        start = str(id.value) if id else ""
        found[start] = item.place
        for key, child in item.value.items():
            found[f"{start}.{key}"] = child.key or child.place
            inner = child.value if isinstance(child.value, dict) else {}
            found |= {f"{start}.{key}.{name}": node.key or node.place for name, node in inner.items()}
    return found
