"""Runbooks: what a file may say, what is refused, and the plan that it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from headway.core.plan import (
    WORKFLOW,
    Act,
    Ask,
    Compute,
    Edge,
    Mode,
    OnFailure,
    Permission,
    Plan,
    Retry,
    Rule,
    Trigger,
)
from headway.runbooks import Finding, bind_inputs, check, compile, parse
from headway.runbooks.document import FILE_BYTES_MAX
from headway.runbooks.runbook import STEPS_MAX
from headway.service.codec import plan_digest
from headway_wire.errors import Invalid
from hypothesis import example, given, settings
from hypothesis import strategies as st

PUBLISHED = """
name: investigate-latency            # required, [a-z0-9][a-z0-9_-]*
description: Find out why a service is slow
version: 1
mode: guided                         # manual | guided | autonomous; optional
timeout: 10m
intents:                             # optional; phrase, glob or regex
  - pattern: "why is * slow"
    priority: 8
inputs:
  service:   {type: string, required: true, description: Service name}
  timerange: {type: timerange, default: 30m}
steps:
  - id: error-rate                   # id or name, unique
    type: plugin                     # default when "plugin" is present
    plugin: query_vmetrics
    params:
      action: range_query            # or the key "action" beside "plugin"
      query: 'rate(http_requests_total{service="{{ inputs.service }}"}[5m])'
      start: "-{{ inputs.timerange }}"
      end: now
  - id: slow-traces
    plugin: query_vtraces
    action: search
    params: {service: "{{ inputs.service }}", min_duration: 500ms}
  - id: restart
    plugin: kube_ops
    action: restart_service
    when: "steps.error-rate.output.value > 0.1 && size(steps.slow-traces.output) > 0"
    params: {service: "{{ inputs.service }}"}
    retry: {attempts: 2, delay: 5s}
    on_error: continue               # fail (default) | continue
outputs:
  summary: "{{ steps.restart.status }}"
"""


def plan_of(text: str) -> Plan:
    plan = compile(parse(text))
    assert plan.problems == []
    return plan


def steps_of(text: str) -> Plan:
    return plan_of("name: w\nsteps:\n" + text)


def findings_of(text: str | bytes) -> list[tuple[int, str]]:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert all(isinstance(problem, Finding) for problem in caught.value.problems)
    return [(problem.line, str(problem)) for problem in caught.value.problems]


def finding_in(steps: str) -> tuple[int, str]:
    """The one finding in a runbook with these steps, with its line counted from the first step."""
    ((line, text),) = findings_of("name: w\nsteps:\n" + steps)
    return line - 2, text


# What a runbook becomes ---------------------------------------------------------------------------


def test_the_published_fragments_are_a_plan_as_they_stand() -> None:
    plan = plan_of(PUBLISHED)

    assert (plan.name, plan.version, plan.mode, plan.timeout_ms) == (
        "investigate-latency",
        1,
        Mode.GUIDED,
        600_000,
    )
    first = plan.by_id["error-rate"].work
    assert isinstance(first, Act)
    assert (first.plugin, first.action, first.templated) == ("query_vmetrics", "range_query", True)
    assert first.params["start"] == "-{{ inputs.timerange }}"
    assert "action" not in first.params
    assert plan.edges == (Edge("error-rate", "restart"), Edge("slow-traces", "restart"))
    restart = plan.by_id["restart"]
    assert restart.when == "{{ steps.error-rate.output.value > 0.1 && size(steps.slow-traces.output) > 0 }}"
    assert restart.retry == Retry(attempts=2, delay_ms=5_000)
    assert restart.on_failure is OnFailure.PARTIAL
    assert plan.inputs["timerange"] == {"type": "timerange", "required": False, "default": "30m"}


def test_equal_files_give_equal_plans() -> None:
    assert plan_digest(plan_of(PUBLISHED)) == plan_digest(plan_of(PUBLISHED))


def test_every_type_of_step_becomes_its_work() -> None:
    plan = steps_of("""
  - {id: call, plugin: host, action: cpu}
  - {id: child, workflow: other, inputs: {a: "{{ steps.call.output }}"}}
  - {id: ask, type: approval, text: "Sure about {{ steps.child.status }}?", permission: ADMIN}
  - {id: sum, value: {total: "{{ steps.call.output.x + 1 }}"}}
""")

    assert plan.by_id["call"].work == Act("host", "cpu", {}, templated=False)
    assert plan.by_id["child"].work == Act(
        WORKFLOW, "other", {"a": "{{ steps.call.output }}"}, templated=True
    )
    assert plan.by_id["ask"].work == Ask("Sure about {{ steps.child.status }}?", Permission.ADMIN)
    assert plan.by_id["sum"].work == Compute({"total": "{{ steps.call.output.x + 1 }}"})
    assert plan.parents == {"call": (), "child": ("call",), "ask": ("child",), "sum": ("call",)}


def test_an_action_beside_the_plugin_leaves_a_parameter_of_that_name_alone() -> None:
    plan = steps_of("  - {id: a, plugin: p, action: go, params: {action: north}}")

    assert plan.by_id["a"].work == Act("p", "go", {"action": "north"})


def test_a_step_waits_for_what_it_mentions_or_for_what_it_says() -> None:
    plan = steps_of("""
  - {id: a, value: 1}
  - {id: b, value: 2}
  - {id: mentions, value: 3, when: "steps.a.output == 1"}
  - {id: says, value: 3, depends_on: b}
  - {id: each, value: "{{ item }}", for_each: "{{ steps.b.output }}"}
""")

    assert plan.parents == {"a": (), "b": (), "mentions": ("a",), "says": ("b",), "each": ("b",)}


def test_triggers_and_failure_policies_reach_the_plan() -> None:
    plan = steps_of("""
  - {id: a, plugin: p, action: x, on_error: fallback, timeout: 2m}
  - {id: b, plugin: p, action: x, on_error: skip}
  - {id: notify, value: late, depends_on: [a], trigger: one_failed}
  - {id: most, value: 1, depends_on: [a, b], trigger: {quorum: 1}}
""")

    assert plan.by_id["a"].on_failure is OnFailure.FALLBACK
    assert plan.by_id["a"].timeout_ms == 120_000
    assert plan.by_id["b"].on_failure is OnFailure.SKIP
    assert plan.by_id["notify"].trigger == Trigger(Rule.ONE_FAILED)
    assert plan.by_id["most"].trigger == Trigger(Rule.QUORUM, 1)


def test_a_list_can_be_gone_over_as_it_stands() -> None:
    plan = steps_of("""
  - {id: a, plugin: p, action: x, for_each: [1, "{{ inputs.b }}"], params: {n: "{{ item }}"}}
inputs: {b: {}}
""")

    assert plan.by_id["a"].each == [1, "{{ inputs.b }}"]


def test_one_yaml_anchor_may_serve_several_steps() -> None:
    plan = steps_of("""
  - {id: a, plugin: p, action: x, retry: &patient {attempts: 5, delay: 500ms, max_delay: 10s}}
  - {id: b, plugin: p, action: y, retry: *patient}
""")

    assert plan.by_id["b"].retry == Retry(5, 500, 2.0, 10_000)
    assert plan.by_id["a"].retry == plan.by_id["b"].retry


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "line", "told"),
    [
        ("  - {id: a, type: llm, prompt: hi}", 1, "type 'llm', which is not available in this version"),
        ("  - {id: a, type: plugn, plugin: p}", 1, "did you mean 'plugin'?"),
        ("  - {id: a}", 1, "step 'a' does nothing"),
        ("  - {id: a, plugin: p}", 1, "does not say which action to call"),
        ("  - {id: a, action: x}", 1, "does not say which plugin to use"),
        ("  - {id: a, plugin: p, acton: x}", 1, "a plugin step has no key 'acton' (did you mean 'action'?)"),
        ("  - {id: a, plugin: p, action: '{{ inputs }}'}", 1, "'action' cannot be a template"),
        ("  - {id: a, plugin: '@workflow', action: x}", 1, "is no plugin"),
        ("  - {value: 1}", 1, "a step needs an id"),
        ("  - {id: a b, value: 1}", 1, "write 'a-b'"),
        ("  - {id: 7, value: 1}", 1, "a step's id is a text, not the number 7 (put it in quotes)"),
        ("  - {id: a, value: 1, retry: {attempts: 2}}", 1, "a value step has no key 'retry'"),
        ("  - {id: a, type: approval}", 1, "does not say what is to be approved"),
        (
            "  - {id: a, type: approval, text: x, permission: READ}",
            1,
            "'permission' is MODIFY, ADMIN or WRITE",
        ),
        ("  - just text", 1, "a step is a mapping, not 'just text'"),
        ("  -", 1, "a step is a mapping, not nothing"),
        (
            "  - {id: a, plugin: p, action: x, retry: {attempts: 99}}",
            1,
            "'attempts' is a whole number from 1 to 20",
        ),
        ("  - {id: a, plugin: p, action: x, retry: {delay: soon}}", 1, "'delay' is a duration such as"),
        ("  - {id: a, plugin: p, action: x, timeout: 5}", 1, "a number needs its unit: 5s or 5ms"),
        (
            "  - {id: a, plugin: p, action: x, on_error: ignore}",
            1,
            "'on_error' is fail, continue, skip or fallback",
        ),
        ("  - {id: a, value: 1, for_each: steps.b}", 1, "'for_each' is a list, or one template for a list"),
        (
            "  - {id: a, value: 1, for_each: 'x {{ now }}'}",
            1,
            "'for_each' is a list, or one template for a list",
        ),
        ("  - {id: a, value: 1, when: 'x {{ now }}'}", 1, "'when' is one expression"),
        (
            "  - {id: a, value: '{{ item }}'}",
            1,
            "'item' exists in the parameters of a step with 'for_each' only",
        ),
        ("  - {id: a, value: 1, for_each: [1], when: 'item > 0'}", 1, "'item' exists in the parameters"),
        ("  - {id: a, value: '{{ steps.a.output }}'}", 1, "step 'a' reads its own result"),
        ("  - {id: a, value: '{{ steps }}'}", 1, "'steps' must be followed by the id of a step"),
        ("  - {id: a, value: '{{ execution.ident }}'}", 1, "'execution' has no 'ident'"),
        ("  - {id: a, value: '{{ 1 + }}'}", 1, "expected a value, the expression ends (in {{ 1 + }})"),
        ("  - {id: a, value: '{{ 1 '}", 1, "never closed"),
        ("  - {id: a, value: '{{ sise([]) }}'}", 1, "did you mean 'size'?"),
        ("  - {id: a, value: '{{ [].jion() }}'}", 1, "did you mean 'join'?"),
        ("  - {id: a, value: '{{ math.round() }}'}", 1, "is written math.round(number)"),
        ("  - id: a\n    value: |\n      one\n      {{ input.x }}", 4, "did you mean 'inputs'?"),
        ("  - {id: a, value: 1, depends_on: [a]}", 1, "step 'a' waits for itself"),
        ("  - {id: a, value: 1, depends_on: [1]}", 1, "'depends_on' names steps"),
        (
            "  - {id: a, value: 1}\n  - {id: b, value: 1, depends_on: [c]}",
            2,
            "there is no step 'c' (there is a)",
        ),
        (
            "  - {id: a, value: 1}\n  - {id: b, value: 1}\n"
            "  - {id: c, value: '{{ steps.a.output }}', depends_on: b}",
            3,
            "step 'c' reads the result of 'a' but does not wait for it (add 'a' to 'depends_on')",
        ),
        ("  - {id: a, value: 1, trigger: all_sucess}", 1, "did you mean 'all_success'?"),
        (
            "  - {id: a, value: 1}\n  - {id: b, value: 1, depends_on: a, trigger: {quorum: 2}}",
            2,
            "quorum of 2",
        ),
        (
            "  - {id: a, value: 1}\n  - {id: b, value: 1, depends_on: a, trigger: one_failed}",
            2,
            "end the run first",
        ),
        ("  - {id: a, plugin: p, action: x, on_error: fallback}", 1, "no step goes on when 'a' has failed"),
        ("  - {id: a, value: {{ now }}}", 1, "put a text with {{ ... }} in quotes"),
        ("  - {id: a, value: 1, id: b}", 1, "'id' stands twice here"),
        ("  - {id: a, plugin: p, action: x, params: [1]}", 1, "'params' is a mapping, not a list"),
        ("  - {id: a, value: !!python/name:os.system x}", 1, "is not supported"),
        ("  - {id: a, <<: {value: 1}}", 1, "merge keys are not supported"),
    ],
)
def test_a_mistake_in_a_step_is_one_finding_at_its_line(steps: str, line: int, told: str) -> None:
    if "<<" in steps:
        assert (line, True) in [
            (at - 2, told in text) for at, text in findings_of("name: w\nsteps:\n" + steps)
        ]
        return

    found_line, text = finding_in(steps)

    assert told in text
    assert found_line == line


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "the file is empty"),
        ("- a", 1, "a runbook is a mapping, not a list"),
        ("name: w", 1, "a runbook needs 'steps'"),
        ("name: w\nsteps: []", 2, "a runbook needs at least one step"),
        ("name: w\nsteps: {a: b}", 2, "'steps' is a list, not a mapping"),
        ("name: w\nsteps:\n\t- id: a", 3, "indent with spaces"),
        ("name: 'w\nsteps: []", 2, "this is not YAML"),
        ("name: a: b\n", 1, "put a text that contains ': ' in quotes"),
        (b"name: w\nsteps: \xff", 2, "the file is not UTF-8"),
        ("name: w\x01", 1, "control character"),
        ("name: w\nsteps: [{id: a, value: 1}]\n---\nname: v", 3, "a file holds one document"),
        ("x" * (FILE_BYTES_MAX + 1), 0, "at most 262144 bytes"),
        ("name: w\nsteps: [{id: a, value: *b}]", 2, "there is no anchor 'b'"),
        ("name: w\nsteps: [{id: a, value: &b [*b]}]", 2, "there is no anchor 'b'"),
        ("name: w\nversion: two\nsteps: [{id: a, value: 1}]", 2, "'version' is a whole number"),
        ("name: w\nintents: [{priority: 3}]\nsteps: [{id: a, value: 1}]", 2, "an intent needs a pattern"),
        ("name: w\nsteps: [{id: a, value: 1}]\noutputs: {x: '{{ steps.b }}'}", 3, "there is no step 'b'"),
        ("name: w\ninputs: {a-b: {}}\nsteps: [{id: a, value: 1}]", 2, "write 'a_b'"),
        ("name: w\ninputs: {a: {type: strin}}\nsteps: [{id: a, value: 1}]", 2, "did you mean 'string'?"),
        (
            "name: w\ninputs: {a: {enum: [x], default: y}}\nsteps: [{id: a, value: 1}]",
            2,
            'expected "x", found "y"',
        ),
        (
            "name: w\ninputs: {a: {default: '{{ now }}'}}\nsteps: [{id: a, value: 1}]",
            2,
            "cannot hold a template",
        ),
        ("name: w\ninputs: {a: {description: b, or c}}\nsteps: [{id: a, value: 1}]", 2, "', ' in quotes"),
        ("name: w\ninputs: {a: {default: 1}}\nsteps: [{id: a, value: 1}]", 2, "put it in quotes"),
    ],
)
def test_a_mistake_in_a_file_is_one_finding_at_its_line(text: str | bytes, line: int, told: str) -> None:
    ((found_line, found),) = findings_of(text)

    assert told in found
    assert found_line == line


def test_size_has_bounds() -> None:
    many = "".join(f"  - {{id: s{n}, value: 1}}\n" for n in range(STEPS_MAX + 1))
    assert "at most 100 steps, this one has 101" in finding_in(many)[1]

    bomb = "name: w\na: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n"
        for old, new in zip("abcdef", "bcdefg", strict=True)
    )
    assert "more than 20000 values" in findings_of(bomb)[0][1]
    assert "nested more than 50 deep" in findings_of("name: " + "[" * 200)[0][1]
    chain = "name: w\na0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))
    assert "nested more than 50 deep, aliases included" in findings_of(chain)[0][1]


def test_each_ring_of_steps_is_named() -> None:
    found = findings_of("""name: w
steps:
  - {id: a, value: 1, depends_on: [c]}
  - {id: b, value: 1, depends_on: [a]}
  - {id: c, value: 1, depends_on: [b]}
  - {id: x, value: "{{ steps.y.output }}"}
  - {id: y, value: "{{ steps.x.output }}"}
  - {id: after, value: "{{ steps.x.output }}"}
""")

    assert [line for line, _ in found] == [3, 6]
    assert "wait for each other: a -> c -> b -> a" in found[0][1]
    assert "wait for each other: x -> y -> x" in found[1][1]


LINES = """name: w
steps:
  - id: a
    value: 1
    plugin: p
    action: x
    params: {a: 1}
- x
    when: '{{ now'
inputs: {a: {type: list}}
    for_each: [1]
\t
  - &a *a
? [x]
: y
}
outputs: {{ x }}
    retry: {attempts: x}
    depends_on: [a, b]
    trigger: one_failed
--- !!set
mode: 1
timeout: 1h
    type: approval
    text: |
      {{ steps.a.output
%YAML 1.1
steps: &b"""
FILES = st.lists(st.sampled_from(LINES.split("\n")), max_size=14).map("\n".join)


@settings(max_examples=500)
@given(st.binary(max_size=60) | st.text(max_size=60) | FILES)
@example(b"\xef\xbb\xbfname: w")
@example("a: \ud800")
@example("? {a: b}\n: {c: d}\n")
@example("*a : b")
@example("name: w\nsteps: [{id: a, value: 1, for_each: [.nan]}]")
def test_any_file_is_a_runbook_or_invalid(source: bytes | str) -> None:
    try:
        runbook = parse(source)
    except Invalid as error:
        assert error.problems
        assert error.code == "bad_runbook"
        return
    assert compile(runbook).problems == []


# Beside what is registered ------------------------------------------------------------------------

ACTIONS: dict[str, Any] = {
    "host-tools": {
        "clean_directory": (
            2,
            [
                {"name": "path", "type": "string", "required": True, "description": "Where"},
                {"name": "older_than_days", "type": "integer", "required": False},
                {
                    "name": "how",
                    "type": "string",
                    "required": True,
                    "default": "trash",
                    "enum": ["trash", "delete"],
                },
            ],
        ),
        "undeclared": (1, None),
    }
}


def checked(steps: str) -> tuple[list[str], list[str]]:
    result = check(parse("name: w\nsteps:\n" + steps, filename="w.yaml"), ACTIONS)
    return [str(error) for error in result.errors], [str(warning) for warning in result.warnings]


def test_a_call_that_fits_has_no_findings() -> None:
    assert checked("""
  - id: a
    plugin: host_tools
    action: clean-directory
    params: {path: /tmp, how: "{{ 'x' }}", start: -1h}
  - {id: b, plugin: host-tools, action: undeclared, params: {anything: 1}}
""") == ([], [])


def test_calls_that_do_not_fit_are_errors_and_absent_plugins_warnings() -> None:
    errors, warnings = checked("""
  - id: a
    plugin: host-tools
    action: clean_directory
    params:
      pth: /tmp
      how: burn
  - {id: b, plugin: host-tools, action: cleen_directory}
  - {id: c, plugin: host-tool, action: x}
""")

    assert errors == [
        "w.yaml:7:5: action 'clean_directory' needs the parameter 'path' (Where)",
        "w.yaml:8:7: action 'clean_directory' has no parameter 'pth' (did you mean 'path'?)",
        "w.yaml:9:7: parameter 'how' is 'trash' or 'delete', not 'burn' (there is trash, delete)",
        "w.yaml:10:33: plugin 'host-tools' has no action 'cleen_directory' (did you mean 'clean_directory'?)",
    ]
    assert warnings == [
        "w.yaml:11:13: plugin 'host-tool' is not registered; step 'c' will wait for it "
        "(did you mean 'host-tools'?)"
    ]


# Inputs -------------------------------------------------------------------------------------------

INPUTS = """name: w
steps: [{id: a, value: 1}]
inputs:
  text: {required: true, description: Any text}
  count: {type: integer, default: 3}
  ratio: {type: number}
  dry: {type: boolean, default: false}
  window: {type: timerange, default: 30m}
  paths: {type: list}
  labels: {type: object}
  level: {enum: [low, high], default: low}
"""


def test_texts_become_what_is_declared_and_defaults_fill_the_rest() -> None:
    given = {
        "text": "7",
        "count": "12",
        "ratio": "1.5",
        "dry": "true",
        "window": "today",
        "paths": "/a, /b",
    }

    assert bind_inputs(plan_of(INPUTS), given) == {
        "text": "7",
        "count": 12,
        "ratio": 1.5,
        "dry": True,
        "window": "today",
        "paths": ["/a", "/b"],
        "labels": None,
        "level": "low",
    }


def test_json_values_are_taken_as_they_are() -> None:
    given = {"text": "x", "count": 1, "ratio": 2, "dry": False, "paths": ["/a"], "labels": {"a": 1}}

    bound = bind_inputs(plan_of(INPUTS), given)

    assert {name: bound[name] for name in given} == given
    assert bind_inputs(plan_of(INPUTS), {"text": "", "paths": '["a,b"]', "labels": '{"k": []}'})["paths"] == [
        "a,b"
    ]


def test_all_wrong_inputs_are_told_at_once() -> None:
    given = {
        "cuont": "1",
        "count": "many",
        "ratio": "nan",
        "dry": "maybe",
        "window": "soon",
        "labels": "[1]",
        "level": "mid",
    }

    with pytest.raises(Invalid) as caught:
        bind_inputs(plan_of(INPUTS), given)

    assert [(problem.where, problem.message) for problem in caught.value.problems] == [
        ("cuont", "the workflow has no such input"),
        ("text", "a value is required"),
        ("count", 'expected a whole number, found "many"'),
        ("ratio", 'expected a number, found "nan"'),
        ("dry", 'expected true or false, found "maybe"'),
        (
            "window",
            'expected a time such as 30m, last 2 hours, today or 2026-03-01..2026-03-02, found "soon"',
        ),
        ("labels", 'expected an object: {"key": "value"}, found "[1]"'),
        ("level", 'expected "low" or "high", found "mid"'),
    ]
    assert caught.value.problems[0].hint == "did you mean 'count'?"


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["text", "count", "ratio", "dry", "window", "paths", "labels"]),
        st.text() | st.integers() | st.none() | st.lists(st.integers()),
    )
)
def test_any_inputs_are_bound_or_invalid(given: dict[str, object]) -> None:
    try:
        bind_inputs(plan_of(INPUTS), given)
    except Invalid as error:
        assert error.code == "bad_inputs"
