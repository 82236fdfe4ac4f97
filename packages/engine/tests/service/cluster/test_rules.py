"""Input rules: what must hold before a job starts, and what a hostile rule can do, which is nothing."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from headway.service.cluster.patterns import MATCH_MS_MAX, Match, matches
from headway.service.cluster.rules import RULES_MAX, broken_rules, subject_of
from headway.service.cluster.scripts import RunScript, no_scripts, words

from packages.engine.tests.service.cluster.houses import bundle
from packages.engine.tests.service.cluster.scripts import ScriptsIn

CONFIG = {"limit": 5, "symbols": [{"name": "ACME"}], "api_token": "hush"}
EXECUTOR = {
    "agent_type": "executor",
    "config": {"command": ["true"], "environment": {"MN_BLUEPRINT_CONFIG_JSON": json.dumps(CONFIG)}},
}


def broken(*rules: dict[str, Any], run_script: RunScript = no_scripts, **manifest: Any) -> list[str]:
    whole = bundle(nodes=[EXECUTOR], input_validation={"rules": list(rules)}, **manifest)
    found = asyncio.run(broken_rules(whole.input_rules, subject_of(whole), job_id="j", run_script=run_script))
    return [finding.message for finding in found]


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "pattern", "path": "symbols.0.name", "pattern": "^[A-Z]+$"},
        {"pattern": "^acme$", "path": "symbols.0.name", "ignore_case": True},
        {"type": "pattern", "input": "limit", "pattern": "^[0-9]$"},
        {"type": "pattern", "path": "missing", "pattern": "x", "required": False},
        {"type": "pattern", "source": "manifest", "path": "graph_id", "pattern": "^g$"},
        {"type": "pattern", "source": "input", "path": "query", "pattern": "tea|coffee"},
        {"type": "condition", "condition": {"path": "config.limit", "op": "<", "value": 10}},
        {"condition": {"all": [{"path": "input.query", "op": "exists"}, {"expr": "${config.limit} >= 5"}]}},
    ],
)
def test_a_rule_that_holds_says_nothing(rule: dict[str, Any]) -> None:
    assert broken(rule, initial_inputs={"n0": [{"query": "tea"}, {"query": "coffee"}]}) == []


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"name": "symbols", "path": "symbols.0.name", "pattern": "^[a-z]+$"},
            "symbols: symbols.0.name does not match ^[a-z]+$",
        ),
        ({"path": "zip", "pattern": "x"}, "input_validation.rules[0]: zip is missing in the config"),
        ({"path": "limit", "pattern": "x", "message": "Set a limit."}, "Set a limit."),
        (
            {"source": "input", "path": "query", "pattern": "^tea$", "name": "q"},
            "q: query does not match ^tea$",
        ),
        (
            {"condition": {"path": "config.limit", "op": ">", "value": 5}, "name": "limit"},
            'limit: {"path": "config.limit", "op": ">", "value": 5} does not hold',
        ),
    ],
)
def test_a_rule_that_does_not_hold_says_so(rule: dict[str, Any], message: str) -> None:
    assert broken(rule, initial_inputs={"n0": [{"query": "tea"}, {"query": "coffee"}]}) == [message]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"type": "regex"}, "input_validation.rules[0] type 'regex' is none of pattern, condition, command"),
        ({"pattern": "x"}, "input_validation.rules[0].path needs a path, such as 'symbols.0.name'"),
        ({"path": "limit", "pattern": ""}, "input_validation.rules[0].pattern needs a pattern"),
        (
            {"path": "limit", "pattern": "x", "source": "env"},
            "source 'env' is none of config, manifest, input",
        ),
        ({"type": "condition"}, "input_validation.rules[0].condition needs a condition"),
        ({"command": "python3 x.py; rm -rf /"}, "holds characters that only a shell understands"),
        ({"command": []}, "command must be a list of words"),
    ],
)
def test_what_is_no_rule_is_named(rule: dict[str, Any], message: str) -> None:
    [found] = broken(rule)

    assert message in found


def test_all_broken_rules_are_told_at_once() -> None:
    rules = [{"path": "a", "pattern": "x"}, {"path": "b", "pattern": "x"}, {"path": "limit", "pattern": "x"}]

    assert len(broken(*rules)) == 3


def test_more_rules_than_are_taken_are_refused_as_a_whole() -> None:
    [found] = broken(*[{"path": "limit", "pattern": "5"}] * (RULES_MAX + 1))

    assert f"at most {RULES_MAX}" in found


def test_what_was_found_is_never_shown() -> None:
    assert "hush" not in str(broken({"path": "api_token", "pattern": "^[0-9]+$"}))


def test_a_pattern_that_never_ends_is_stopped_and_named() -> None:
    begun = time.monotonic()

    answers = asyncio.run(matches([Match("a", "a"), Match("(x+x+)+y", "x" * 60), Match("b", "b")]))

    assert time.monotonic() - begun < MATCH_MS_MAX / 1_000 + 5
    assert answers[0] is True
    assert "takes longer" in str(answers[1])
    assert "was not tried" in str(answers[2])


def test_a_pattern_that_is_none_is_named_and_hinders_no_other() -> None:
    found = broken({"path": "limit", "pattern": "("}, {"path": "limit", "pattern": "5"})

    assert len(found) == 1
    assert "unterminated subpattern" in found[0]


def test_a_command_decides_by_its_exit_code_and_gets_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "check.py").write_text(
        "import json, os, sys\n"
        "config = json.loads(os.environ['MN_BLUEPRINT_CONFIG_JSON'])\n"
        "sys.exit(0 if config['limit'] < int(sys.argv[1]) else 'the limit is too high')\n"
    )
    scripts = ScriptsIn(tmp_path)

    assert broken({"command": ["python3", "check.py", "6"]}, run_script=scripts) == []
    [found] = broken({"command": "python3 check.py 5", "name": "limits"}, run_script=scripts)
    assert found == "limits ended with exit code 1: the limit is too high"
    assert scripts.asked[0][0] == "j"


def test_a_command_may_tell_its_findings_as_json(tmp_path: Path) -> None:
    said = json.dumps({"ok": False, "issues": [{"message": "no such city"}, "and no such street"]})
    rule = {"type": "command", "command": ["echo", said], "name": "address"}

    found = broken(rule, run_script=ScriptsIn(tmp_path))

    assert found == ["address: no such city", "address: and no such street"]


def test_a_command_that_takes_too_long_is_a_broken_rule(tmp_path: Path) -> None:
    rule = {"command": ["sleep", "30"], "timeout_seconds": 0.2, "name": "slow"}

    assert broken(rule, run_script=ScriptsIn(tmp_path)) == ["slow took longer than 200 ms"]


def test_without_scripts_a_command_rule_cannot_be_kept() -> None:
    assert broken({"command": ["true"], "name": "c"}) == ["c: this engine runs no scripts"]


@pytest.mark.parametrize("command", ["a | b", "a $HOME", "a `b`", "a > b", 'a "b"', "a\nb"])
def test_no_text_that_a_shell_would_understand_is_a_command(command: str) -> None:
    assert isinstance(words(command), str)


def test_a_plain_text_is_split_at_its_spaces() -> None:
    assert words(" python3  check.py -v ") == ["python3", "check.py", "-v"]
