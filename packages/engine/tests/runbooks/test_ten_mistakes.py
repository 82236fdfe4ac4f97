"""One runbook with ten different mistakes: ten findings, each at its line, each with a cure."""

from __future__ import annotations

import pytest
from headway.runbooks import Finding, parse
from headway_wire.errors import Invalid

TEN_MISTAKES = """\
name: Clean Up
mode: guidd
timeout: 10
inputs:
  path: {type: string, required: true}
  days: {type: integer, default: many}
steps:
  - id: look
    plugin: host
    action: disks
    retry: {attempts: 3, dely: 5s}
  - id: judge
    value: "{{ steps.looks.output }}"
  - id: clean
    plugin: host
    action: clean_directory
    when: steps.judge.output = true
    params:
      path: "{{ inputs.pth }}"
  - id: first
    depends_on: [second]
    value: 1
  - id: second
    depends_on: [first]
    value: 2
  - id: look
    value: 3
"""


def test_each_mistake_is_found_once_at_its_line_with_a_cure() -> None:
    with pytest.raises(Invalid) as caught:
        parse(TEN_MISTAKES, filename="clean.yaml")

    found = [problem for problem in caught.value.problems if isinstance(problem, Finding)]
    assert [(at.line, at.column, at.message, at.hint) for at in found] == [
        (
            1,
            7,
            "'Clean Up' is no name: lower-case letters, digits, '-' and '_', at most 64",
            "write 'clean-up'",
        ),
        (2, 7, "'mode' is manual, guided or autonomous, not 'guidd'", "did you mean 'guided'?"),
        (
            3,
            10,
            "'timeout' is a duration such as 500ms, 5s, 10m, 1h, 2d or 1h30m, not the number 10",
            "a number needs its unit: 10s or 10ms",
        ),
        (6, 34, "'default': expected a whole number, found \"many\"", ""),
        (11, 26, "'retry' has no key 'dely'", "did you mean 'delay'?"),
        (13, 12, "there is no step 'looks'", "did you mean 'look'?"),
        (
            17,
            11,
            "unexpected '=' at character 20; to compare, write ==",
            "in {{ steps.judge.output = true }}",
        ),
        (19, 13, "there is no input 'pth'", "did you mean 'path'?"),
        (20, 5, "these steps wait for each other: first -> second -> first", ""),
        (26, 9, "step id 'look' is used twice", "first in line 8"),
    ]
