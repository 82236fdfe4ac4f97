"""Messages read whatever peers send, and write what peers read."""

from __future__ import annotations

import base64
import inspect
import json

import msgspec
import pytest
from headway_wire import messages, objects
from headway_wire.codec import Dialect
from headway_wire.enums import DevOpsStage, ExecutionMode, Permission, PluginType
from headway_wire.errors import Invalid
from headway_wire.objects import Message, param_schemas
from hypothesis import given
from hypothesis import strategies as st

ALL = sorted(
    {
        cls
        for module in (messages, objects)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Message) and cls is not Message
    },
    key=lambda cls: cls.__name__,
)


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_absent_null_and_unknown_fields_are_all_alike(cls: type[Message]) -> None:
    nulls = dict.fromkeys(cls.__struct_fields__) | {"something_new": {"x": [1]}}

    assert cls.from_wire(nulls) == cls.from_wire({}) == cls()


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_what_is_written_is_read_back(cls: type[Message], dialect: Dialect) -> None:
    given_message = cls()
    for field in msgspec.structs.fields(cls):
        if field.name in cls.json_fields:
            setattr(given_message, field.name, {"a": [1, None, "é"]})
        elif field.name in cls.bytes_fields:
            setattr(given_message, field.name, "é".encode())
        elif field.type is str:
            setattr(given_message, field.name, "text")

    assert cls.decode(given_message.encode(dialect=dialect), dialect=dialect) == given_message


def test_a_go_plugin_can_describe_itself() -> None:
    params = base64.b64encode(
        b'[{"Name":"service","Type":"string","Required":true,"Description":"which"},{"Name":"n","Type":"odd"}]'
    ).decode()
    body = json.dumps(
        {
            "name": "go_agent",
            "devops_stages": None,
            "metadata": None,
            "actions": [{"id": "q", "permission": 2, "input_params": params, "intents": None}],
            "config_schema": [{"key": "limit", "default": 5}],
        }
    ).encode()

    info = messages.InfoResponse.decode(body)

    first, second = param_schemas(info.actions[0].input_params)
    assert (first.name, first.required, first.description) == ("service", True, "which")
    assert second.type == "string"
    assert info.actions[0].permission == 2
    assert info.config_schema[0].default == "5"
    assert info.metadata == {}


def test_byte_fields_are_base64_for_go_and_text_for_wheels() -> None:
    request = messages.ExecuteRequest(params_json={"a": "1"})

    assert json.loads(request.encode())["params_json"] == base64.b64encode(b'{"a":"1"}').decode()
    assert json.loads(request.encode(dialect=Dialect.LEGACY))["params_json"] == '{"a":"1"}'


def test_a_key_figure_has_exactly_the_fourteen_keys_that_wheels_know() -> None:
    assert len(objects.Kpi().to_wire()) == 14


def test_the_community_licence_is_the_documented_one() -> None:
    assert json.loads(objects.COMMUNITY_LICENSE.encode()) == {
        "active": True,
        "effective_tier": "community",
        "issued_tier": "community",
        "grace_mode": False,
        "expires_at": 0,
        "quotas": {"max_tenants": -1, "max_integration_types": -1, "max_agentic_sessions_per_day": -1},
    }


def test_an_event_of_any_type_is_taken() -> None:
    event = messages.LogEventRequest.decode(b'{"event_type":{"action":"query"},"severity":"done"}')

    assert event.event_type == {"action": "query"}


def test_a_missing_acknowledgement_of_configuration_counts_as_yes() -> None:
    assert messages.ConfigUpdatedResponse.decode(b"{}").acknowledged is True


def test_a_wrong_type_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match=r"GetConfigResponse.*\$\.version"):
        messages.GetConfigResponse.decode(b'{"version":[]}')


@given(
    st.dictionaries(
        st.sampled_from(messages.RegisterRequest.__struct_fields__),
        st.none()
        | st.integers()
        | st.text()
        | st.lists(st.integers())
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_no_field_value_breaks_the_reader(fields: dict[str, object]) -> None:
    try:
        messages.RegisterRequest.decode(json.dumps(fields).encode())
    except Invalid:
        return


@pytest.mark.parametrize("kind", [DevOpsStage, ExecutionMode, PluginType, Permission])
def test_wire_numbers_are_sdk_numbers_plus_one(kind: type[Permission]) -> None:
    for member in kind:
        assert kind.of(member.value) is member
        assert kind.of(member.name.lower()) is member
        if member:
            assert member.value == member.sdk + 1


@pytest.mark.parametrize(
    ("value", "permission"),
    [
        (1, Permission.READ),
        ("read", Permission.READ),
        (" Admin ", Permission.ADMIN),
        (99, Permission.MODIFY),
        ("root", Permission.MODIFY),
        (0, Permission.UNSPECIFIED),
        (None, Permission.UNSPECIFIED),
        ("", Permission.UNSPECIFIED),
    ],
)
def test_a_permission_that_is_not_recognised_still_meets_a_person(
    value: object, permission: Permission
) -> None:
    assert Permission.of(value) is permission


def test_write_is_governed_as_modify() -> None:
    assert Permission.WRITE.governed is Permission.MODIFY
    assert Permission.UNSPECIFIED.governed is Permission.MODIFY
    assert Permission.READ.governed is Permission.READ
