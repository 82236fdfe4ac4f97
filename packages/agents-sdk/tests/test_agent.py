"""Typed actions: schema from hints, conversion of parameters, checks of results, hooks."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from headway_wire.errors import Broken, Invalid, NotFound, Unavailable
from mirastack_sdk import agent as typed
from mirastack_sdk.agent import Agent, action
from mirastack_sdk.context import EngineContext
from mirastack_sdk.describe import describe, param_dicts
from mirastack_sdk.plugin import (
    ConfigParam,
    DevOpsStage,
    ExecuteRequest,
    ExecuteResponse,
    IntentPattern,
    Permission,
    Plugin,
    TimeRange,
)


@dataclass
class Usage:
    path: str
    used_bytes: int
    ratio: float = 0.0


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Window(TypedDict):
    size: int


def new_agent(**options: Any) -> Agent:
    return Agent("thing", version="1.0.0", description="Knows things", **options)


def run(agent: Agent, action_id: str, /, **values: object) -> object:
    """The output over the stream link, where values keep their types."""
    return asyncio.run(agent.execute(ExecuteRequest(action_id, values=values))).output


def run_text(agent: Agent, action_id: str, /, **params: str) -> object:
    """The output over the callback link, where everything is text."""
    return asyncio.run(agent.execute(ExecuteRequest(action_id, params))).output


def problems_of(agent: Agent, action_id: str, /, **values: object) -> list[str]:
    with pytest.raises(Invalid) as caught:
        run(agent, action_id, **values)
    assert caught.value.code == "invalid_params"
    return [str(problem) for problem in caught.value.problems]


def test_a_function_with_hints_and_a_docstring_becomes_an_action() -> None:
    agent = new_agent()

    @agent.action(permission="READ", timeout=timedelta(seconds=5), idempotent=True, intents=["disk *"])
    async def disk_usage(path: str = "/") -> Usage:
        """How full a file system is.
        Use this when a disk alert fires.

        More than callers need to know.

        Args:
            path: Where the file system is mounted;
                an absolute path.
        """
        return Usage(path, 5, 0.5)

    description = describe(agent)

    assert isinstance(agent, Plugin)
    assert description.violations == ()
    (declared,) = description.actions
    assert declared.id == "disk_usage"
    assert declared.description == "How full a file system is. Use this when a disk alert fires."
    assert declared.permission is Permission.READ
    assert declared.stages == [DevOpsStage.OBSERVE]
    assert declared.intents == [IntentPattern("disk *")]
    assert declared.idempotent
    assert declared.timeout_ms == 5000
    assert param_dicts(declared.input_params) == [
        {
            "name": "path",
            "type": "string",
            "required": False,
            "description": "Where the file system is mounted; an absolute path.",
            "default": "/",
        }
    ]
    assert [(param.name, param.type, param.required) for param in declared.output_params] == [
        ("path", "string", True),
        ("used_bytes", "integer", True),
        ("ratio", "number", False),
    ]
    assert run(agent, "disk_usage", path="/var") == {"path": "/var", "used_bytes": 5, "ratio": 0.5}
    assert asyncio.run(disk_usage("/still-callable")).path == "/still-callable"


def test_every_supported_hint_has_a_parameter_type() -> None:
    agent = new_agent()

    @agent.action(permission="READ")
    def takes(
        text: str,
        whole: int,
        real: float,
        flag: bool,
        items: list[int],
        table: dict[str, float],
        usage: Usage,
        window: Window,
        anything: Any,
        level: Literal["low", "high"],
        grade: Literal[1, 2],
        color: Color,
        either: int | float,
        mixed: int | list[str],
        wait: timedelta,
        noted: Annotated[str, "A note"],
        bounded: Annotated[int, msgspec.Meta(ge=1, description="At least one")],
        maybe: int | None = None,
        shade: Color = Color.RED,
    ) -> None:
        """Takes everything.

        :param text: Some text,
            on two lines.
        :param int whole: A number.
        """

    params = {param.name: param for param in describe(agent).actions[0].input_params}

    assert {name: param.type for name, param in params.items()} == {
        "text": "string",
        "whole": "integer",
        "real": "number",
        "flag": "boolean",
        "items": "array",
        "table": "object",
        "usage": "object",
        "window": "object",
        "anything": "json",
        "level": "string",
        "grade": "integer",
        "color": "string",
        "either": "number",
        "mixed": "json",
        "wait": "string",
        "noted": "string",
        "bounded": "integer",
        "maybe": "integer",
        "shade": "string",
    }
    assert [name for name, param in params.items() if not param.required] == ["maybe", "shade"]
    assert params["level"].enum == ["high", "low"]
    assert params["grade"].enum == [1, 2]
    assert params["color"].enum == ["red", "blue"]
    assert params["shade"].default == "red"
    assert params["text"].description == "Some text, on two lines."
    assert params["whole"].description == "A number."
    assert params["noted"].description == "A note"
    assert params["bounded"].description == "At least one"


def echo_agent() -> Agent:
    agent = new_agent()

    @agent.action(permission="READ")
    def echo(
        text: str | None = None,
        whole: int | None = None,
        real: float = 0.0,
        flag: bool = False,
        items: list[int] | None = None,
        usage: Usage | None = None,
        anything: Any = None,
        level: Literal["low", "high"] = "low",
        grade: Literal[1, 2] = 1,
        wait: timedelta = timedelta(0),
    ) -> dict[str, Any]:
        """Gives back what arrived."""
        names = ("text", "whole", "real", "flag", "items", "usage", "anything", "level", "grade", "wait")
        given = locals()
        return {name: [type(given[name]).__name__, given[name]] for name in names}

    return agent


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("text", "5", ["str", "5"]),
        ("text", "null", ["NoneType", None]),
        ("whole", "5", ["int", 5]),
        ("whole", "null", ["NoneType", None]),
        ("real", "2.5", ["float", 2.5]),
        ("flag", "true", ["bool", True]),
        ("flag", "false", ["bool", False]),
        ("items", "[1,2]", ["list", [1, 2]]),
        ("usage", '{"path":"/","used_bytes":1}', ["Usage", {"path": "/", "used_bytes": 1, "ratio": 0.0}]),
        ("anything", '{"a":[1]}', ["dict", {"a": [1]}]),
        ("anything", "plain words", ["str", "plain words"]),
        ("level", "high", ["str", "high"]),
        ("grade", "2", ["int", 2]),
    ],
)
def test_text_from_the_callback_link_becomes_the_parameters_type(
    name: str, text: str, expected: object
) -> None:
    output = run_text(echo_agent(), "echo", **{name: text})

    assert output[name] == expected  # type: ignore[index]  # the action returns a dict


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("text", "null", ["str", "null"]),
        ("text", None, ["NoneType", None]),
        ("whole", 5, ["int", 5]),
        ("whole", 5.0, ["int", 5]),
        ("whole", "5", ["int", 5]),
        ("real", 2, ["float", 2.0]),
        ("flag", True, ["bool", True]),
        ("items", [1, 2], ["list", [1, 2]]),
        ("items", "[1,2]", ["list", [1, 2]]),
        ("usage", {"path": "/", "used_bytes": 1}, ["Usage", {"path": "/", "used_bytes": 1, "ratio": 0.0}]),
        ("anything", "[1]", ["str", "[1]"]),
        ("anything", [1], ["list", [1]]),
    ],
)
def test_values_from_the_stream_link_keep_their_type(name: str, value: object, expected: object) -> None:
    output = run(echo_agent(), "echo", **{name: value})

    assert output[name] == expected  # type: ignore[index]  # the action returns a dict


def test_every_wrong_parameter_is_reported_at_once() -> None:
    agent = new_agent()

    @agent.action(permission="READ")
    def query(service: str, limit: int, level: Literal["low", "high"] = "low", window: int = 5) -> None:
        """Queries.

        Args:
            limit: How many rows.
        """

    assert problems_of(agent, "query", servce="api", limit="many", level="mid", window=[1]) == [
        "servce: not a parameter of this action (did you mean service?)",
        "service: missing (string)",
        "limit: Expected `int`, got `str` (integer: How many rows.)",
        "level: Invalid enum value 'mid' (one of high, low)",
        "window: Expected `int`, got `array` (integer)",
    ]


def test_the_injected_action_key_is_no_parameter() -> None:
    assert isinstance(run_text(echo_agent(), "echo", action="echo", text="x"), dict)


def test_an_unknown_action_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NotFound, match=r"thing has no action 'ecko'; did you mean echo\?") as caught:
        run(echo_agent(), "ecko")
    assert caught.value.code == "unknown_action"


def test_a_result_that_is_not_what_the_function_promises_is_our_fault_not_the_callers() -> None:
    agent = new_agent()

    @agent.action(permission="READ")
    def broken() -> Usage:
        """Breaks its promise."""
        return Usage("/", "lots")  # type: ignore[arg-type]  # the mistake under test

    @agent.action(permission="READ")
    def unwritable():  # type: ignore[no-untyped-def]  # no promise, so only JSON is checked
        """Returns what JSON cannot hold."""
        return object()

    with pytest.raises(Broken, match=r"broken returned something else than it promises") as caught:
        run(agent, "broken")
    assert caught.value.code == "invalid_result"
    assert "used_bytes" in str(caught.value)
    with pytest.raises(Broken, match="unwritable returned"):
        run(agent, "unwritable")


def test_results_of_any_json_shape_are_taken() -> None:
    agent = new_agent()

    @agent.action(permission="READ")
    def many() -> list[Usage]:
        """Lists."""
        return [Usage("/", 1)]

    @agent.action(permission="READ")
    def nothing() -> None:
        """Returns nothing."""

    @agent.action(permission="READ")
    def own() -> ExecuteResponse:
        """Answers in the protocol's own words."""
        return ExecuteResponse(output={"a": 1}, logs=["done"])

    assert run(agent, "many") == [{"path": "/", "used_bytes": 1, "ratio": 0.0}]
    assert run(agent, "nothing") is None
    response = asyncio.run(agent.execute(ExecuteRequest("own")))
    assert (response.output, response.logs) == ({"a": 1}, ["done"])


def test_a_sync_function_does_not_hold_up_the_event_loop() -> None:
    agent = new_agent()

    @agent.action(permission="READ")
    def where() -> bool:
        """Whether this runs beside the main thread."""
        return threading.current_thread() is not threading.main_thread()

    assert run(agent, "where") is True


def test_the_sdk_fills_engine_request_and_time_range_and_keeps_them_out_of_the_schema() -> None:
    agent = new_agent()

    @agent.action(permission="READ")
    async def query(
        service: str, window: TimeRange, req: ExecuteRequest, ctx: EngineContext | None = None
    ) -> list[Any]:
        """Queries."""
        return [service, window.start_epoch_ms, req.step_id, ctx is None]

    @agent.action(permission="READ")
    async def needs_engine(ctx: EngineContext) -> None:
        """Needs the engine."""

    declared = {one.id: one for one in describe(agent).actions}
    assert [param.name for param in declared["query"].input_params] == ["service"]
    request = ExecuteRequest(
        "query",
        values={"service": "api", "start": "-1h", "end": "now"},
        time_range=TimeRange(7, 9),
        step_id="s",
    )
    assert asyncio.run(agent.execute(request)).output == ["api", 7, "s", True]
    assert problems_of(agent, "query", service="api") == [
        'window: this action needs a time range; give one, for example "last 30 minutes"'
    ]
    with pytest.raises(Unavailable, match="MIRASTACK_ENGINE_ADDR"):
        run(agent, "needs_engine")
    with pytest.raises(Unavailable, match="thing serves without an engine"):
        _ = agent.engine


def test_everything_that_keeps_functions_from_being_actions_is_reported_at_once() -> None:
    agent = new_agent()

    @agent.action(permission="READ")
    def first(a, *rest: int, action: str) -> None:  # type: ignore[no-untyped-def]  # the mistake under test
        """First."""

    @agent.action(permission="READ")
    def second(a: Path, /, b: Agent) -> Agent:
        """Second."""
        return b

    with pytest.raises(Invalid) as caught:
        describe(agent)

    assert [problem.where for problem in caught.value.problems] == [
        "first(a)",
        "first(rest)",
        "first(action)",
        "second(a)",
        "second(b)",
        "second(return)",
    ]
    assert "has no type hint" in str(caught.value)
    assert "Agent cannot travel as JSON" in str(caught.value)


def test_an_action_without_a_docstring_does_not_pass_the_gate() -> None:
    agent = new_agent()

    @agent.action(permission="MODIFY")
    def silent() -> None: ...

    assert describe(agent).violations == (
        'action "silent": description must not be empty (whitespace-only is not allowed)',
    )


def test_a_permission_must_be_stated_and_exist() -> None:
    agent = new_agent()

    with pytest.raises(TypeError, match="permission"):
        agent.action()  # type: ignore[call-arg]  # the mistake under test
    with pytest.raises(ValueError, match="'LOOK' is not a permission; write one of READ, MODIFY, ADMIN"):
        agent.action(permission="LOOK")
    with pytest.raises(ValueError, match="timeout must be above zero"):
        agent.action(permission="READ", timeout=0)


def test_the_plugins_permission_is_the_strictest_of_its_actions() -> None:
    agent = new_agent()
    for permission in ("READ", "ADMIN", "MODIFY"):

        @agent.action(permission=permission, id=permission.lower())
        def act() -> None:
            """Acts."""

    assert agent.info().permission is Permission.ADMIN
    assert [one.stages for one in describe(agent).actions] == [
        [DevOpsStage.OBSERVE],
        [DevOpsStage.OPERATE],
        [DevOpsStage.OPERATE],
    ]


class Host(Agent):
    """Reads a machine.

    Not part of the description.
    """

    def __init__(self, root: str) -> None:
        super().__init__("host", version="1.0.0", stages=["plan"])
        self.root = root

    @action(permission="READ")
    async def usage(self, path: str = "/") -> str:
        """How full it is."""
        return self.root + path

    @typed.action(permission="ADMIN", id="wipe-it")
    def wipe(self) -> str:
        """Empties it."""
        return self.root


class SafeHost(Host):
    @action(permission="READ")
    def wipe(self) -> str:
        """Pretends to empty it."""
        return "no"


def test_methods_of_a_class_are_actions_too() -> None:
    one, other = Host("/one"), Host("/other")

    assert one.description == "Reads a machine."
    assert [(a.id, a.permission, a.stages) for a in describe(one).actions] == [
        ("usage", Permission.READ, [DevOpsStage.PLAN]),
        ("wipe-it", Permission.ADMIN, [DevOpsStage.PLAN]),
    ]
    assert [run(one, "usage", path="/x"), run(other, "wipe-it")] == ["/one/x", "/other"]


def test_an_overridden_method_is_the_action_its_override_declares() -> None:
    assert [(a.id, a.permission) for a in describe(SafeHost("/")).actions] == [
        ("usage", Permission.READ),
        ("wipe", Permission.READ),
    ]
    assert run(SafeHost("/"), "wipe") == "no"


def test_marked_functions_and_bound_methods_can_be_added() -> None:
    @action(permission="READ")
    def shared() -> int:
        """Shared by several agents."""
        return 1

    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def up(self, by: int) -> int:
            """Counts up."""
            self.count += by
            return self.count

    agent = new_agent(actions=[shared])
    agent.action(permission="MODIFY")(Counter().up)

    assert [run(agent, "shared"), run(agent, "up", by=2), run(agent, "up", by=3)] == [1, 2, 5]
    with pytest.raises(TypeError, match=r"is no action; decorate it with @action"):
        new_agent(actions=[lambda: 1])


def test_settings_start_at_their_defaults_and_follow_the_engine() -> None:
    agent = new_agent(
        config_params=[
            ConfigParam("url", description="Where", default="http://a"),
            ConfigParam("token", description="T"),
        ]
    )
    seen: list[dict[str, str]] = []

    @agent.on_config
    def remember(config: dict[str, str]) -> None:
        seen.append(dict(agent.config))

    assert agent.config == {"url": "http://a"}
    asyncio.run(agent.config_updated({"token": "t"}))
    asyncio.run(agent.config_updated({"url": "http://b"}))

    assert seen == [{"url": "http://a", "token": "t"}, {"url": "http://b"}]
    assert [param.key for param in agent.info().config_params] == ["url", "token"]


def test_a_health_check_is_a_function_that_raises() -> None:
    agent = new_agent()
    asyncio.run(agent.health_check())

    @agent.on_health_check
    def backend_answers() -> None:
        raise ConnectionError("backend does not answer")

    with pytest.raises(ConnectionError, match="backend does not answer"):
        asyncio.run(agent.health_check())


def test_prompt_templates_come_from_the_agents_folder(tmp_path: Path) -> None:
    (tmp_path / "guide.tmpl").write_text("Be brief.", encoding="utf-8")

    agent = new_agent(templates_folder=tmp_path, template_descriptions={"guide": "How to answer"})

    (template,) = agent.info().prompt_templates
    assert (template.name, template.description, template.content) == ("guide", "How to answer", "Be brief.")
