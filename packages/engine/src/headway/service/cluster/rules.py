"""Input rules of a bundle: what must hold before its job may start.

Source: bundle contract, section 2.1 (`input_validation`); what a rule may say: docs/reference/input-rules.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec
from headway_wire.errors import HeadwayError
from headway_wire.manifest import Executor, Manifest
from headway_wire.manifest.findings import Finding

from headway.core.conditions import at, holds
from headway.core.plan import Json
from headway.core.value import value
from headway.service.cluster.patterns import PATTERN_CHARS_MAX, Match, matches
from headway.service.cluster.scripts import RunScript, words
from headway.service.cluster.templates import CONFIG_VARIABLE, config_of

RULES_MAX = 100
COMMAND_MS = 10_000
COMMAND_MS_MAX = 60_000
INPUT_VARIABLE = "MN_BLUEPRINT_INPUT_JSON"


@value
class Subject:
    """What rules are about: the blueprint's configuration, the manifest, and each body that is seeded."""

    config: Json
    manifest: Json
    inputs: tuple[Json, ...]
    environment: Mapping[str, str]

    def of(self, source: str) -> tuple[Json, ...] | None:
        """The documents that `source` names, or None."""
        match source:
            case "config":
                return (self.config,)
            case "manifest":
                return (self.manifest,)
            case "input" | "inputs":
                return self.inputs
            case _:
                return None


def subject_of(manifest: Manifest, config: Mapping[str, Json] | None = None) -> Subject:
    """What the rules of this manifest are about.  config: that of a definition, which goes first."""
    environment: dict[str, str] = {}
    for node in manifest.nodes:
        if isinstance(node.work, Executor) and node.work.environment:
            environment = dict(node.work.environment)
            break
    if manifest.dataflow is not None:
        inputs: tuple[Json, ...] = (manifest.dataflow.inputs,)
    else:
        inputs = tuple(body for bodies in manifest.seeds.values() for body in bodies)
    return Subject(config or config_of(manifest), manifest.raw, inputs, environment)


async def broken_rules(
    rules: Sequence[Mapping[str, Json]], subject: Subject, *, job_id: str, run_script: RunScript
) -> list[Finding]:
    """Every rule that does not hold, or is none."""
    if len(rules) > RULES_MAX:
        return [
            _malformed("input_validation.rules", f"has {len(rules)} rules; at most {RULES_MAX} are taken")
        ]
    issues: list[Finding] = []
    asked: list[tuple[Match, Finding]] = []
    for index, rule in enumerate(rules):
        path = f"input_validation.rules[{index}]"
        match _kind(rule):
            case "pattern":
                issues += _pattern(rule, path, subject, asked)
            case "condition":
                issues += _condition(rule, path, subject)
            case "command":
                issues += await _command(rule, path, subject, job_id, run_script)
            case other:
                issues.append(_malformed(path, f"type {other!r} is none of pattern, condition, command"))
    for (_, told), answer in zip(asked, await matches([match for match, _ in asked]), strict=True):
        if answer is False:
            issues.append(told)
        elif answer is not True:
            issues.append(msgspec.structs.replace(told, message=f"{told.message}: {answer}"))
    return issues


def _kind(rule: Mapping[str, Json]) -> Json:
    if rule.get("type"):
        return rule["type"]
    return next((kind for kind in ("pattern", "condition", "command") if kind in rule), None)


def _pattern(
    rule: Mapping[str, Json], path: str, subject: Subject, asked: list[tuple[Match, Finding]]
) -> list[Finding]:
    """What can be said at once; what must be matched is added to `asked`, with what a mismatch means."""
    source, pattern = str(rule.get("source") or "config").lower(), rule.get("pattern")
    where = rule.get("path") or rule.get("input")
    documents = subject.of(source)
    if documents is None:
        return [_malformed(f"{path}.source", f"source {source!r} is none of config, manifest, input")]
    if not isinstance(where, str) or not where:
        return [_malformed(f"{path}.path", "needs a path, such as 'symbols.0.name'")]
    if not isinstance(pattern, str) or not 0 < len(pattern) <= PATTERN_CHARS_MAX:
        return [_malformed(f"{path}.pattern", f"needs a pattern of at most {PATTERN_CHARS_MAX} characters")]
    issues: list[Finding] = []
    for document in documents or ({},):
        found = at(where, document)
        if found is None:
            if rule.get("required") is not False:
                text = f"{_name(rule, path)}: {where} is missing in the {source}"
                issues.append(_finding(rule, "input.required", text, source, where, expected="a value"))
            continue
        text = found if isinstance(found, str) else json.dumps(found)
        told = f"{_name(rule, path)}: {where} does not match {pattern}"
        wrong = _finding(rule, "input.pattern_mismatch", told, source, where, expected=pattern)
        asked.append((Match(pattern, text, rule.get("ignore_case") is True), wrong))
    return issues


def _condition(rule: Mapping[str, Json], path: str, subject: Subject) -> list[Finding]:
    condition = rule.get("condition")
    if not isinstance(condition, Mapping) or not condition:
        return [
            _malformed(
                f"{path}.condition", "needs a condition, such as {path: config.limit, op: <, value: 10}"
            )
        ]
    for body in subject.inputs or ({},):
        if not holds(condition, {"config": subject.config, "manifest": subject.manifest, "input": body}):
            text = f"{_name(rule, path)}: {json.dumps(condition)} does not hold"
            where = str(condition.get("path") or "")
            return [
                _finding(rule, "input.condition_failed", text, "input", where, expected=json.dumps(condition))
            ]
    return []


async def _command(
    rule: Mapping[str, Json], path: str, subject: Subject, job_id: str, run_script: RunScript
) -> list[Finding]:
    command = words(rule.get("command"))
    if isinstance(command, str):
        return [_malformed(f"{path}.command", command)]
    seconds = rule.get("timeout_seconds")
    wanted_ms = seconds * 1_000 if isinstance(seconds, int | float) and seconds > 0 else COMMAND_MS
    timeout_ms = int(min(wanted_ms, COMMAND_MS_MAX))
    extra = rule.get("env")
    env = {
        **subject.environment,
        CONFIG_VARIABLE: json.dumps(subject.config),
        INPUT_VARIABLE: json.dumps(list(subject.inputs)),
        **({str(k): str(v) for k, v in extra.items()} if isinstance(extra, Mapping) else {}),
    }
    name, where = _name(rule, path), str(rule.get("path") or rule.get("input") or "")
    try:
        outcome = await run_script(command, job_id=job_id, env=env, timeout_ms=timeout_ms)
    except HeadwayError as error:
        return [_finding(rule, "input.command_unavailable", f"{name}: {error.message}", "validator", where)]
    told, ok = _told(outcome.output)
    if outcome.exit_code == 0 and ok is not False:
        return []
    if told:
        return [
            _finding(rule, "input.command_failed", f"{name}: {text}", "validator", where) for text in told
        ]
    if outcome.exit_code is None:
        ended = f"took longer than {timeout_ms} ms"
    else:
        said = (outcome.errors or outcome.output).strip()
        ended = f"ended with exit code {outcome.exit_code}" + (f": {said[:300]}" if said else "")
    return [
        _finding(rule, "input.command_failed", f"{name} {ended}", "validator", where, expected="exit code 0")
    ]


def _told(output: str) -> tuple[list[str], Json]:
    """What a command said in the JSON object that it may print: its messages, and `ok`."""
    try:
        said = json.loads(output)
    except ValueError:
        return [], None
    if not isinstance(said, dict):
        return [], None
    listed = said.get("issues") or said.get("errors") or ([said] if said.get("message") else [])
    items = listed if isinstance(listed, list) else [listed]
    return [
        str(item.get("message") or item.get("detail") or item) if isinstance(item, dict) else str(item)
        for item in items
    ], said.get("ok")


def _name(rule: Mapping[str, Json], path: str) -> str:
    return str(rule.get("name") or rule.get("id") or path)


def _finding(
    rule: Mapping[str, Json], kind: str, text: str, source: str, path: str, *, expected: str = ""
) -> Finding:
    """A problem in the rule's own words, where it has some.  What was found may be secret."""
    hint = str(rule.get("help") or rule.get("fix") or "")
    pointer = "/" + "/".join([source, *path.split(".")] if path else [source])
    return Finding(kind, str(rule.get("message") or text), pointer, expected, help=hint)


def _malformed(path: str, what: str) -> Finding:
    pointer = "/" + path.replace("[", "/").replace("]", "").replace(".", "/")
    return Finding("input.bad_rule", f"{path} {what}", pointer)
