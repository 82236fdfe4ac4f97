"""The quality gate and what the engine receives (plugin protocol, sections 4, 6 and 10)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from mirastack_sdk.describe import describe
from mirastack_sdk.plugin import (
    Action,
    ConfigParam,
    DevOpsStage,
    ExecuteRequest,
    ExecuteResponse,
    IntentPattern,
    ParamSchema,
    Permission,
    Plugin,
    PluginInfo,
    PluginSchema,
    PromptTemplate,
    RoutingSemantics,
)
from mirastack_sdk.prompts import load_prompt_templates
from mirastack_sdk.validate import routing_warnings, validate_plugin


class Declared(Plugin):
    """A plugin that says what it is told to say."""

    def __init__(self, info: PluginInfo, schema: PluginSchema | None = None) -> None:
        self._info = info
        self._schema = schema or PluginSchema()

    def info(self) -> PluginInfo:
        return self._info

    def schema(self) -> PluginSchema:
        return self._schema

    async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
        return ExecuteResponse()


def good_action(action_id: str = "get") -> Action:
    return Action(action_id, "Gets a thing", Permission.READ, [DevOpsStage.OBSERVE])


def info_with(*actions: Action, **fields: Any) -> PluginInfo:
    return PluginInfo("thing", "1.0.0", "Knows things", actions=actions, **fields)


def test_the_guides_example_reports_all_three_violations_in_its_words() -> None:
    violations = validate_plugin(PluginInfo("a", "1.0.0", "  ", permission="READ"))

    assert violations == [
        "description must not be empty (whitespace-only is not allowed)",
        "at least one action must be declared",
        "at least one DevOps stage must be declared",
    ]


def test_everything_wrong_is_reported_at_once() -> None:
    info = PluginInfo(
        actions=[Action(), Action("a"), good_action("twice"), good_action("twice")],
        config_params=[ConfigParam(""), ConfigParam("url")],
    )

    assert validate_plugin(info) == [
        "name must not be empty",
        "version must not be empty",
        "description must not be empty (whitespace-only is not allowed)",
        "actions[0]: id must not be empty",
        'action "a": description must not be empty (whitespace-only is not allowed)',
        'action "a": permission must be READ, MODIFY or ADMIN',
        'action "a": at least one DevOps stage must be declared',
        'action "twice" is declared 2 times; ids must be unique',
        "config_params[0]: key must not be empty",
        'config param "url": description must not be empty (whitespace-only is not allowed)',
    ]


def test_gaps_are_filled_before_anything_is_judged() -> None:
    inherits = Action("a", "Does a thing")
    plugin_has_all = info_with(inherits, permission="ADMIN", devops_stages=["deploy"])
    plugin_has_no_stages = info_with(good_action("b"), Action("c", "d", "READ", ["plan"]))

    described = describe(Declared(plugin_has_all))

    assert described.violations == ()
    assert described.actions[0].permission is Permission.ADMIN
    assert described.actions[0].stages == [DevOpsStage.DEPLOY]
    assert inherits.permission is None
    assert describe(Declared(plugin_has_no_stages)).info["devops_stages"] == [8, 1]


def test_a_permission_that_nobody_states_is_never_guessed() -> None:
    described = describe(Declared(info_with(Action("a", "d", stages=["plan"]))))

    assert described.violations == ('action "a": permission must be READ, MODIFY or ADMIN',)
    assert described.info["actions"][0]["permission"] == 0


@pytest.mark.parametrize("kind", ["provider", "connector"])
def test_providers_and_connectors_need_no_stages_and_no_actions(kind: str) -> None:
    described = describe(Declared(info_with(good_action(), type=kind, intents=["x"])))

    assert described.violations == ()
    assert described.warnings == (
        f"a {kind} brings no actions, intents or prompt templates; they are ignored",
    )
    assert described.info["actions"] == []
    assert described.info["default_intents"] == []


def test_info_is_the_canonical_message() -> None:
    action = Action(
        "get",
        "Gets a thing",
        "MODIFY",
        ["observe", "operate"],
        ["get *"],
        [{"name": "id", "required": True}, ParamSchema("n", "integer", default=0, enum=[0, 1])],
        [{"name": "status"}],
        idempotent=True,
        timeout=1.5,
    )
    info = info_with(
        action,
        permissions=[Permission.READ, Permission.MODIFY],
        intents=[
            IntentPattern("things", "About things", 7),
            IntentPattern("fetch *", action="get", priority=1),
        ],
        prompt_templates=[PromptTemplate("p", "d", "c")],
        config_params=[ConfigParam("url", description="Where", is_secret=True)],
        metadata={"k": "v"},
    )

    message = describe(Declared(info)).info

    (sent,) = message.pop("actions")
    assert message == {
        "name": "thing",
        "version": "1.0.0",
        "description": "Knows things",
        "type": 1,
        "permission": 1,
        "devops_stages": [8, 7],
        "default_intents": [
            {"pattern": "things", "confidence": 0.7, "description": "About things", "priority": 7}
        ],
        "prompt_templates": [{"name": "p", "description": "d", "content": "c"}],
        "config_schema": [
            {
                "key": "url",
                "type": "string",
                "required": False,
                "default": "",
                "description": "Where",
                "is_secret": True,
            }
        ],
        "metadata": {"k": "v"},
    }
    assert json.loads(base64.b64decode(sent.pop("input_params"))) == [
        {"name": "id", "type": "string", "required": True, "description": ""},
        {"name": "n", "type": "integer", "required": False, "description": "", "default": 0, "enum": [0, 1]},
    ]
    assert json.loads(base64.b64decode(sent.pop("output_params"))) == [
        {"name": "status", "type": "string", "required": False, "description": ""}
    ]
    assert sent == {
        "id": "get",
        "description": "Gets a thing",
        "permission": 2,
        "stages": [8, 7],
        "intents": [
            {"pattern": "get *", "confidence": 0.5, "description": "", "priority": 5},
            {"pattern": "fetch *", "confidence": 0.1, "description": "", "priority": 1},
        ],
        "idempotent": True,
        "timeout_ms": 1500,
    }


def test_actions_come_from_info_or_schema_and_the_schema_wins() -> None:
    info = info_with(
        Action("both", "From info", "ADMIN", ["plan"], input_params=[{"name": "old"}]),
        good_action("only_info"),
    )
    schema = PluginSchema(
        [{"name": "flat"}], actions=[Action("both", input_params={"new": {}}), good_action("only_schema")]
    )

    described = describe(Declared(info, schema))

    assert [action.id for action in described.actions] == ["both", "only_schema", "only_info"]
    assert described.actions[0].description == "From info"
    assert described.actions[0].permission is Permission.ADMIN
    assert [param.name for param in described.actions[0].input_params] == ["new"]
    assert described.violations == ()
    assert described.schema["actions"] == described.info["actions"]
    assert json.loads(base64.b64decode(described.schema["params_json_schema"]))[0]["name"] == "flat"
    assert described.schema["result_json_schema"] is None


def test_describing_twice_gives_the_same_answer() -> None:
    plugin = Declared(info_with(good_action(), intents=[IntentPattern("x", action="get")]))

    assert describe(plugin) == describe(plugin)


def test_an_intent_for_an_action_that_does_not_exist_stays_with_the_plugin_and_is_warned_about() -> None:
    described = describe(Declared(info_with(good_action(), intents=[IntentPattern("x", action="gone")])))

    assert [intent["pattern"] for intent in described.info["default_intents"]] == ["x"]
    assert described.warnings == ('intent "x" names the action "gone", which does not exist',)


GOOD_ROUTING = RoutingSemantics(
    accepted_intent_domains=[" Core.Observe.Metrics ", "core.observe", ""],
    capability_domain="core.observe.query",
    positive_use_cases=["show the error rate", " "],
)


def test_routing_semantics_travel_trimmed_in_lower_case_and_sorted() -> None:
    action = good_action()
    action.routing_semantics = GOOD_ROUTING

    described = describe(Declared(info_with(action)))

    assert described.warnings == ()
    assert described.info["actions"][0]["routing_semantics"] == {
        "schema_version": "mirastack.routing_semantics/v1",
        "accepted_intent_domains": ["core.observe", "core.observe.metrics"],
        "capability_domain": "core.observe.query",
        "positive_use_cases": ["show the error rate"],
        "negative_use_cases": [],
        "signal_domains": [],
        "backend_domains": [],
        "entity_types": [],
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": "v2"}, "schema_version must be"),
        ({"accepted_intent_domains": [" "]}, "at least one accepted intent domain"),
        ({"capability_domain": ""}, "capability_domain must not be empty"),
        ({"positive_use_cases": []}, "at least one positive use case"),
        ({"capability_domain": "plain"}, "capability_domain: 'plain' is not a dotted lower-case name"),
        ({"signal_domains": ["a.b", "A.B"]}, "signal_domains: 'a.b' is given twice"),
        ({"backend_domains": ["a." + "b" * 127]}, "backend_domains: 'a.bb"),
        ({"negative_use_cases": ["x" * 257]}, "has 257 characters; at most 256"),
        ({"positive_use_cases": [str(n) for n in range(65)]}, "65 entries; at most 64"),
    ],
)
def test_a_routing_problem_is_a_warning_and_never_stops_a_plugin(
    change: dict[str, Any], problem: str
) -> None:
    action = good_action()
    action.routing_semantics = RoutingSemantics(**(vars(GOOD_ROUTING) | change))

    (warning,) = routing_warnings([action])

    assert problem in warning
    assert describe(Declared(info_with(action))).violations == ()


def test_templates_come_from_a_folder_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b_guide.tmpl").write_text("Bé {{.Name}}", encoding="utf-8")
    (tmp_path / "a_guide.tmpl").write_text("A", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a template", encoding="utf-8")

    templates = load_prompt_templates(tmp_path, {"a_guide": "About A"})

    assert templates == [
        PromptTemplate("a_guide", "About A", "A"),
        PromptTemplate("b_guide", "b_guide", "Bé {{.Name}}"),
    ]
    assert load_prompt_templates(tmp_path / "nowhere") == []


def test_a_template_above_two_kilobytes_is_warned_about() -> None:
    info = info_with(good_action(), prompt_templates=[PromptTemplate("big", content="é" * 1025)])

    assert describe(Declared(info)).warnings == ('prompt template "big" is 2050 bytes; keep it under 2048',)
