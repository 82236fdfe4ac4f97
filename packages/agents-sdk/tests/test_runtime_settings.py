"""The environment of a plugin, read once, with a warning for what is ignored."""

from __future__ import annotations

import socket

import pytest
from headway_wire.errors import Invalid
from mirastack_sdk.runtime.settings import read_settings

TENANT = {"MIRASTACK_PLUGIN_TENANT_SLUG": "acme"}


def test_the_defaults_are_the_documented_ones() -> None:
    settings = read_settings(TENANT)

    assert settings.tenant_id == "824a1531-d24a-549c-8003-23b0f2d206cd"
    assert (settings.engine, settings.listen) == ("", "[::]:0")
    assert (settings.heartbeat_s, settings.heartbeat_fixed) == (30.0, False)
    assert settings.config_ttl_s == 15.0
    assert settings.message_bytes_max == 67_108_864
    assert settings.warnings == ()
    assert settings.advertised(7000) == f"{socket.gethostname()}:7000"


def test_a_tenant_id_wins_over_a_slug_and_is_used_as_it_is() -> None:
    assert read_settings({**TENANT, "MIRASTACK_PLUGIN_TENANT_ID": " T-1 "}).tenant_id == "T-1"


def test_without_a_tenant_nothing_starts() -> None:
    with pytest.raises(Invalid, match="MIRASTACK_PLUGIN_TENANT_SLUG") as refusal:
        read_settings({"MIRASTACK_PLUGIN_TENANT_SLUG": "  "})

    assert refusal.value.code == "tenant_missing"


@pytest.mark.parametrize(
    ("environ", "listen"),
    [
        ({"MIRASTACK_PLUGIN_ADDR": ":7000"}, "0.0.0.0:7000"),
        ({"MIRASTACK_PLUGIN_ADDR": "127.0.0.1:7000"}, "127.0.0.1:7000"),
        ({"MIRASTACK_PLUGIN_PORT": "7000"}, "[::]:7000"),
        ({"MIRASTACK_PLUGIN_ADDR": ":7000", "MIRASTACK_PLUGIN_PORT": "1"}, "0.0.0.0:7000"),
        ({"MIRASTACK_PLUGIN_PORT": "many"}, "[::]:0"),
    ],
)
def test_where_a_plugin_listens(environ: dict[str, str], listen: str) -> None:
    assert read_settings(TENANT | environ).listen == listen


@pytest.mark.parametrize(
    ("given", "seconds", "fixed"),
    [("5", 5, True), ("0.2", 1, True), ("soon", 30, True), ("nan", 30, True), ("", 30, False)],
)
def test_any_interval_in_the_environment_keeps_the_engine_from_changing_it(
    given: str, seconds: float, fixed: bool
) -> None:
    settings = read_settings({**TENANT, "MIRASTACK_PLUGIN_HEARTBEAT_INTERVAL": given})

    assert (settings.heartbeat_s, settings.heartbeat_fixed) == (seconds, fixed)


@pytest.mark.parametrize(
    ("given", "size"), [(" 1024 ", 1024), ("0", 67_108_864), ("-1", 67_108_864), ("big", 67_108_864)]
)
def test_the_message_limit_is_a_whole_number_above_zero(given: str, size: int) -> None:
    assert read_settings({**TENANT, "MIRASTACK_PLUGIN_MAX_MESSAGE_BYTES": given}).message_bytes_max == size


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIRASTACK_PLUGIN_HEARTBEAT_INTERVAL", "soon"),
        ("MIRASTACK_SDK_CONFIG_CACHE_TTL", "-1"),
        ("MIRASTACK_PLUGIN_MAX_MESSAGE_BYTES", "big"),
        ("MIRASTACK_PLUGIN_PORT", "70000"),
        ("MIRASTACK_PLUGIN_UNSEALED", "yes"),
    ],
)
def test_what_is_ignored_is_warned_about_by_name(name: str, value: str) -> None:
    settings = read_settings({**TENANT, name: value})

    assert [name in warning and value in warning for warning in settings.warnings] == [True]
    assert settings.unsealed_allowed is False


def test_only_the_word_allow_lets_changes_run_unsealed() -> None:
    assert read_settings({**TENANT, "MIRASTACK_PLUGIN_UNSEALED": "allow"}).unsealed_allowed is True
