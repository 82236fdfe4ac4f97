"""One set of classes takes all three spellings (plugin protocol, section 18)."""

from __future__ import annotations

import mirastack_sdk.plugin as plugin_module
import pytest
from mirastack_sdk.plugin import (
    Action,
    ConfigParam,
    DevOpsStage,
    ExecuteRequest,
    ExecuteResponse,
    ExecutionMode,
    IntentPattern,
    MirastackPlugin,
    ParamSchema,
    Permission,
    Plugin,
    PluginInfo,
    PluginSchema,
    PluginType,
)


def test_the_guides_base_class_is_the_same_class() -> None:
    assert MirastackPlugin is Plugin


def test_enums_count_from_zero_as_in_every_published_sdk() -> None:
    assert [Permission.READ, Permission.MODIFY, Permission.ADMIN, Permission.WRITE] == [0, 1, 2, 3]
    assert [stage.name for stage in sorted(DevOpsStage)] == [
        "PLAN",
        "CODE",
        "BUILD",
        "TEST",
        "RELEASE",
        "DEPLOY",
        "OPERATE",
        "OBSERVE",
    ]
    assert [ExecutionMode.MANUAL, ExecutionMode.GUIDED, ExecutionMode.AUTONOMOUS] == [0, 1, 2]


def test_a_permission_is_spelled_as_a_list_or_alone() -> None:
    published = PluginInfo("a", "1", "d", permissions=[Permission.MODIFY, Permission.READ])
    guide = PluginInfo("a", "1", "d", permission="modify")

    assert published.permission is Permission.MODIFY
    assert guide.permissions == [Permission.MODIFY]
    assert PluginInfo("a", "1", "d").permission is None


@pytest.mark.parametrize("stages", [[DevOpsStage.OBSERVE], ["observe"], ["OBSERVE "], [7], "observe"])
def test_a_stage_is_spelled_as_member_number_or_name(stages: object) -> None:
    assert PluginInfo("a", devops_stages=stages).devops_stages == [DevOpsStage.OBSERVE]  # type: ignore[arg-type]
    assert Action("x", stages=stages).stages == [DevOpsStage.OBSERVE]  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["watch", 8, -1, True])
def test_a_stage_that_does_not_exist_is_refused_with_the_names_that_do(wrong: object) -> None:
    with pytest.raises(ValueError, match="write one of PLAN, CODE, BUILD"):
        Action("x", stages=[wrong])  # type: ignore[list-item]


def test_an_action_is_called_by_id_or_name() -> None:
    assert Action(name="get").id == "get"
    assert Action(id="get").name == "get"


def test_params_in_a_list_are_optional_unless_they_say_otherwise() -> None:
    action = Action("x", input_params=[ParamSchema(name="a"), {"name": "b", "required": True}, {"name": "c"}])

    assert [(param.name, param.type, param.required) for param in action.input_params] == [
        ("a", "string", False),
        ("b", "string", True),
        ("c", "string", False),
    ]


def test_params_in_a_dict_are_required_unless_they_say_otherwise() -> None:
    action = Action(
        "x",
        input_params={
            "id": ParamSchema(type="integer"),
            "kind": ParamSchema(required=False, default="all", enum=["all", "some"]),
        },
    )
    raw = Action("y", input_params={"raw": {"type": "json", "description": "anything"}})

    assert [(param.name, param.type, param.required) for param in action.input_params + raw.input_params] == [
        ("id", "integer", True),
        ("kind", "string", False),
        ("raw", "json", True),
    ]
    assert action.input_params[1].default == "all"
    assert action.input_params[1].enum == ["all", "some"]


def test_one_schema_object_may_serve_two_parameters() -> None:
    shared = ParamSchema(type="number")
    action = Action("x", input_params={"low": shared, "high": shared})

    assert [param.name for param in action.input_params] == ["low", "high"]
    assert shared.name == ""


def test_an_enum_that_is_one_string_is_refused() -> None:
    with pytest.raises(TypeError, match="enum of parameter 'a' must be a list"):
        Action("x", input_params=[{"name": "a", "enum": "abc"}])


def test_intents_are_patterns_or_strings_under_either_name() -> None:
    info = PluginInfo(
        "a", intents=[IntentPattern(r"show.*")], intent_patterns=[IntentPattern("get *", action="get")]
    )

    assert [intent.pattern for intent in info.intents] == ["show.*", "get *"]
    assert Action("x", intents=["restart *"]).intents == [IntentPattern("restart *")]


def test_params_always_name_the_action_but_an_authors_own_parameter_keeps_its_value() -> None:
    assert ExecuteRequest("get", {"id": "1"}).params == {"id": "1", "action": "get"}
    assert ExecuteRequest("get", {"action": "mine"}).params["action"] == "mine"
    assert ExecuteRequest(params={"action": "get"}).action_id == "get"


def test_json_values_are_text_in_params_and_themselves_in_values() -> None:
    req = ExecuteRequest("get", values={"n": 5, "on": True, "none": None, "list": [1, "é"], "s": "as is"})

    assert req.params == {
        "n": "5",
        "on": "true",
        "none": "null",
        "list": '[1,"é"]',
        "s": "as is",
        "action": "get",
    }
    assert req.values == {"n": 5, "on": True, "none": None, "list": [1, "é"], "s": "as is"}
    assert ExecuteRequest("get", {"n": "5"}).values is None


def test_a_plugin_needs_info_and_execute_only() -> None:
    class Small(Plugin):
        def info(self) -> PluginInfo:
            return PluginInfo("small", "1", "d", actions=[Action("x")])

        async def execute(self, req: ExecuteRequest) -> ExecuteResponse:
            return ExecuteResponse()

    assert [action.id for action in Small().schema().actions] == ["x"]


def test_plugin_types_and_flat_schemas_are_spelled_freely() -> None:
    assert PluginInfo("a", type="provider").type is PluginType.PROVIDER
    assert PluginSchema(input_params=[{"name": "prompt"}]).input_params == [ParamSchema("prompt")]
    assert ConfigParam("endpoint").type == "string"


def test_what_the_module_exports_is_what_it_lists() -> None:
    public = {name for name in vars(plugin_module) if not name.startswith("_")}

    assert set(plugin_module.__all__) <= public
    assert public - set(plugin_module.__all__) <= {"ABC", "abstractmethod", "annotations", "TYPE_CHECKING"}
