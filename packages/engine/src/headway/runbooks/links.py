"""How the parts of a runbook refer to each other: what templates read, and which step waits for which."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from headway.core.plan import OnFailure, Rule
from headway.runbooks.cel import ExpressionError
from headway.runbooks.document import Node
from headway.runbooks.expressions import Reference, references
from headway.runbooks.findings import Findings, Place, suggestion
from headway.runbooks.runbook import RunbookStep
from headway.runbooks.steps import ReadStep

STEP_FIELDS = ("output", "status", "error")
EXECUTION_FIELDS = ("id", "workflow", "requester", "started_ms")
SCOPE = ("inputs", "steps", "execution", "now")
ITEM_SCOPE = ("item", "index")
_AFTER_A_FAILURE = {Rule.ALL_DONE, Rule.ONE_DONE, Rule.ONE_FAILED, Rule.ONE_SUCCESS, Rule.QUORUM}


@dataclass(frozen=True, slots=True)
class Names:
    """What templates may read in one place."""

    inputs: Collection[str]
    steps: Collection[str]
    own: str = ""
    items: bool = False


def link(read: list[ReadStep], inputs: Collection[str], findings: Findings) -> tuple[RunbookStep, ...]:
    """The steps with what they wait for; everything that names nothing, or itself, is noted."""
    ids = [one.id for one in read]
    mentioned = {one.id: _mentions(one, inputs, ids, findings) for one in read}
    waits = {
        one.id: _named(one, ids, findings)
        if one.depends_on is not None
        else _in_order(ids, mentioned[one.id])
        for one in read
    }
    nodes = {one.id: one for one in read}
    cycles = list(_cycles(waits))
    for cycle in cycles:
        ring = " -> ".join([*cycle, cycle[0]])
        findings.add(nodes[cycle[0]].node.place, f"these steps wait for each other: {ring}")
    if not cycles:
        _races(read, waits, mentioned, findings)
    steps = {one.id: replace(one.step, waits_for=tuple(waits[one.id])) for one in read if one.step}
    for id, step in steps.items():
        _trigger(step, nodes[id], steps, findings)
    return tuple(steps.values())


def check_outputs(
    node: Node | None, inputs: Collection[str], steps: Collection[str], findings: Findings
) -> None:
    """Note what the templates of a runbook's outputs name wrongly."""
    if node is not None:
        for text, place_of in _texts(node):
            _read(text, place_of, Names(inputs, steps), findings)


# What templates read ------------------------------------------------------------------------------


def _mentions(read: ReadStep, inputs: Collection[str], ids: list[str], findings: Findings) -> set[str]:
    """The steps that the templates of a step read."""
    found: set[str] = set()
    scattered = read.step is not None and read.step.for_each is not None
    for key, node in read.texts:
        names = Names(inputs, ids, read.id, scattered and key not in ("when", "for_each"))
        if key == "when" and read.step is not None and read.step.when is not None:
            found |= _read(read.step.when, node, names, findings)
        elif key != "when":
            for text, place_of in _texts(node):
                found |= _read(text, place_of, names, findings)
    return found


def _texts(node: Node) -> Iterator[tuple[str, Node]]:
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from _texts(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from _texts(child)
    elif isinstance(node.value, str) and "{{" in node.value:
        yield node.value, node


def _read(text: str, node: Node, names: Names, findings: Findings) -> set[str]:
    """The steps that a text reads; what is wrong with its templates is noted."""
    try:
        found = references(text)
    except ExpressionError as error:
        place = node.line_of(max(0, text.find(error.expression)))
        findings.add(place, error.message, f"in {{{{ {error.expression} }}}}" if error.expression else "")
        return set()
    for reference in found:
        problem = _problem(reference, names)
        if problem:
            findings.add(node.line_of(reference.at), *problem)
    return {ref.path[1] for ref in found if ref.path[0] == "steps" and len(ref.path) > 1} & set(
        names.steps
    ) - {names.own}


def _problem(reference: Reference, names: Names) -> tuple[str, str] | None:
    """What is wrong with a reference, and a hint; None when it names something."""
    root, *rest = reference.path
    key = rest[0] if rest else ""
    scope = (*SCOPE, *ITEM_SCOPE) if names.items else SCOPE
    if root in ITEM_SCOPE and not names.items:
        return f"'{root}' exists in the parameters of a step with 'for_each' only", ""
    if root not in scope:
        return f"'{root}' is not defined in a template", suggestion(root, scope)
    if root == "inputs" and rest and key not in names.inputs:
        return f"there is no input '{key}'", suggestion(key, names.inputs) or "declare it under 'inputs'"
    if root == "execution" and rest and key not in EXECUTION_FIELDS:
        return f"'execution' has no '{key}'", suggestion(key, EXECUTION_FIELDS)
    return _step_problem(rest, names) if root == "steps" else None


def _step_problem(path: list[str], names: Names) -> tuple[str, str] | None:
    if not path:
        return "'steps' must be followed by the id of a step", "write steps.ID.output"
    if path[0] not in names.steps:
        return f"there is no step '{path[0]}'", suggestion(
            path[0], [id for id in names.steps if id != names.own]
        )
    if path[0] == names.own:
        return f"step '{names.own}' reads its own result", "read the result of another step"
    if len(path) > 1 and path[1] not in STEP_FIELDS:
        return f"a step has no '{path[1]}'", suggestion(path[1], STEP_FIELDS)
    return None


# Who waits for whom -------------------------------------------------------------------------------


def _in_order(ids: list[str], wanted: Collection[str]) -> list[str]:
    return [id for id in ids if id in wanted]


def _named(read: ReadStep, ids: list[str], findings: Findings) -> list[str]:
    wanted: set[str] = set()
    for node in read.depends_on or ():
        id = str(node.value)
        if id == read.id:
            findings.add(node.place, f"step '{id}' waits for itself", "remove it from 'depends_on'")
        elif id not in ids:
            findings.add(
                node.place, f"there is no step '{id}'", suggestion(id, [i for i in ids if i != read.id])
            )
        else:
            wanted.add(id)
    return _in_order(ids, wanted)


def _cycles(waits: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Rings of steps that wait for each other, each beginning with its first step in the file."""
    left = {id: set(parents) - {id} for id, parents in waits.items()}
    while True:
        free = [id for id, parents in left.items() if not parents & left.keys()]
        if free:
            for id in free:
                del left[id]
        elif left:
            ring = _ring(left, waits)
            yield ring
            for id in ring:
                del left[id]
        else:
            return


def _ring(left: Mapping[str, set[str]], waits: Mapping[str, list[str]]) -> list[str]:
    """One cycle, in the order in which its steps wait; every step left has a parent that is left."""
    seen: list[str] = []
    id = next(iter(left))
    while id not in seen:
        seen.append(id)
        id = next(parent for parent in waits[id] if parent in left and parent != id)
    ring = seen[seen.index(id) :]
    first = min(ring, key=list(waits).index)
    start = ring.index(first)
    return ring[start:] + ring[:start]


def _races(
    read: Iterable[ReadStep],
    waits: Mapping[str, list[str]],
    mentioned: Mapping[str, set[str]],
    findings: Findings,
) -> None:
    """A step that reads a result must come after it."""
    before: dict[str, set[str]] = {}
    while len(before) < len(waits):
        for id, parents in waits.items():
            if id not in before and all(parent in before for parent in parents):
                before[id] = set(parents).union(*(before[parent] for parent in parents))
    for one in read:
        for other in _in_order(list(waits), mentioned[one.id] - before[one.id]):
            findings.add(
                _key_place(one.node, "depends_on"),
                f"step '{one.id}' reads the result of '{other}' but does not wait for it",
                f"add '{other}' to 'depends_on'",
            )


def _trigger(step: RunbookStep, read: ReadStep, steps: Mapping[str, RunbookStep], findings: Findings) -> None:
    place = _key_place(read.node, "trigger")
    parents = [steps[id] for id in step.waits_for if id in steps]
    if step.trigger.rule is Rule.QUORUM and step.trigger.quorum > len(step.waits_for):
        count = len(step.waits_for)
        findings.add(
            place, f"a quorum of {step.trigger.quorum} cannot be reached with {count} steps before it"
        )
    if step.trigger.rule is Rule.ONE_FAILED and all(_ends_the_run(parent) for parent in parents):
        findings.add(
            place,
            f"step '{step.id}' waits for a failure that would end the run first",
            "set 'on_error: fallback' on a step it waits for",
        )
    children = [other for other in steps.values() if step.id in other.waits_for]
    handled = any(child.trigger.rule in _AFTER_A_FAILURE for child in children)
    if step.on_error is OnFailure.FALLBACK and not handled:
        findings.add(
            _key_place(read.node, "on_error"),
            f"no step goes on when '{step.id}' has failed",
            f"give a step 'depends_on: [{step.id}]' and 'trigger: one_failed', or use 'on_error: continue'",
        )


def _ends_the_run(step: RunbookStep) -> bool:
    """Whether the run is over when this step does not succeed; a rejected approval never ends a run."""
    return step.on_error is OnFailure.FAIL


def _key_place(node: Node, key: str) -> Place:
    entries = node.value if isinstance(node.value, dict) else {}
    child = entries.get(key)
    return (child.key or child.place) if child else node.place
