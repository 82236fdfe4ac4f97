"""Registrations, facts, the cache and prompt templates, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from headway.core.events import Failure
from headway.core.world import Facts
from headway.service.cache import ENTRY_OVERHEAD_BYTES, PluginCache
from headway.service.prompt_intake import problem, take_in
from headway.service.registration import Declared, DeclaredAction, judge
from headway.service.registry import Registry
from headway.service.vault import Vault, new_key
from headway.stores.memory import MemoryStore
from headway.testing import VirtualClock
from headway_wire.codec import Dialect
from headway_wire.errors import Broken, Forbidden, Invalid, NotFound, Throttled, Unauthenticated
from headway_wire.messages import InfoResponse, RegisterRequest, SchemaResponse
from headway_wire.seal import schema_digest

from packages.engine.tests.plugins.boxes import ACME, GLOBEX
from packages.engine.tests.plugins.peers import go_info


def declared(name: str = "shop", **changes: Any) -> Declared:
    actions = (
        DeclaredAction(id="list_orders", permission="READ", schema="s1"),
        DeclaredAction(id="cancel", permission="MODIFY", schema="s2", idempotent=True, timeout_ms=5_000),
    )
    fields: dict[str, Any] = {"name": name, "version": "1.0", "actions": actions} | changes
    return Declared(**fields)


async def entered(registry: Registry, what: Declared, instance: str = "i-1", **changes: Any) -> str:
    options: dict[str, Any] = {"address": "h:1", "dialect": Dialect.CANONICAL, "streams": False}
    options |= {"reachable": True} | changes
    return (await registry.register(ACME, what, instance, **options))[1]


def registry_of(*plugins: Declared) -> Registry:
    registry = Registry(MemoryStore(), VirtualClock())
    for number, plugin in enumerate(plugins):
        asyncio.run(entered(registry, plugin, f"i-{number}"))
    return registry


# Facts --------------------------------------------------------------------------------------------


def test_facts_say_permission_version_schema_and_the_process_that_would_take_the_call() -> None:
    facts = registry_of(declared()).facts(ACME, "shop", "cancel")

    assert facts == Facts(2, "1.0", "s2", True, 5_000, "", "i-0", "shop", "cancel", reserved=("action",))


def test_facts_tell_what_a_process_of_another_version_offers() -> None:
    registry = registry_of(declared())
    asyncio.run(entered(registry, declared(version="2.0"), "i-2"))

    for _ in range(3):
        facts = registry.facts(ACME, "shop", "cancel")
        assert isinstance(facts, Facts)
        (other,) = facts.also
        assert {(facts.version, facts.instance), (other.version, other.instance)} == {
            ("1.0", "i-0"),
            ("2.0", "i-2"),
        }


def test_a_plugin_that_is_not_registered_is_waited_for_and_one_of_another_tenant_does_not_exist() -> None:
    registry = registry_of(declared())

    for tenant, plugin in ((ACME, "unheard"), (GLOBEX, "shop")):
        facts = registry.facts(tenant, plugin, "cancel")
        assert isinstance(facts, Facts) and "is not registered" in facts.unavailable


def test_an_action_that_does_not_exist_is_a_failure_that_no_retry_helps() -> None:
    found = registry_of(declared()).facts(ACME, "shop", "list_order")

    assert isinstance(found, Failure) and not found.retryable and "list_orders" in found.message


def test_other_dashes_are_the_same_name_unless_the_exact_one_exists() -> None:
    registry = registry_of(declared("my_shop"), declared("my-shop", version="2.0"))

    exact = registry.facts(ACME, "my-shop", "list-orders")
    other = registry_of(declared("my_shop")).facts(ACME, "my-shop", "list-orders")

    assert isinstance(exact, Facts) and (exact.plugin, exact.version) == ("my-shop", "2.0")
    assert isinstance(other, Facts) and (other.plugin, other.action) == ("my_shop", "list_orders")


def test_each_process_stands_for_what_it_declared_itself() -> None:
    async def scenario() -> None:
        registry = Registry(MemoryStore(), VirtualClock())
        await entered(registry, declared(), "old")
        await entered(registry, declared(version="2.0"), "new")

        found = [registry.facts(ACME, "shop", "cancel") for _ in range(4)]

        pairs = {(facts.instance, facts.version) for facts in found if isinstance(facts, Facts)}
        assert pairs == {("old", "1.0"), ("new", "2.0")}

    asyncio.run(scenario())


def test_a_process_with_many_more_calls_in_flight_is_passed_over() -> None:
    async def scenario() -> None:
        registry = Registry(MemoryStore(), VirtualClock())
        for instance in ("busy", "idle"):
            await entered(registry, declared(), instance)
        registry.require(ACME, "shop").instances["busy"].in_flight = 50

        found = [registry.facts(ACME, "shop", "cancel") for _ in range(6)]

        assert {facts.instance for facts in found if isinstance(facts, Facts)} == {"idle"}

    asyncio.run(scenario())


def test_an_unhealthy_provider_gets_no_requests_and_an_unhealthy_agent_still_does() -> None:
    registry = registry_of(declared(), declared("llm", type="provider", actions=()))
    for name in ("shop", "llm"):
        (instance,) = registry.require(ACME, name).instances.values()
        registry.reached(instance, healthy=False, message="no quota left")

    agent, provider = registry.facts(ACME, "shop", "cancel"), registry.facts(ACME, "llm", "chat")

    assert isinstance(agent, Facts) and not agent.unavailable
    assert isinstance(provider, Facts) and "no quota left" in provider.unavailable
    assert registry.require(ACME, "shop").status() == "unhealthy"


def test_who_waits_is_told_when_calls_can_be_taken_in_both_spellings() -> None:
    async def scenario() -> None:
        told: list[tuple[str, str]] = []
        registry = Registry(MemoryStore(), VirtualClock())
        registry.on_ready = lambda tenant, plugin: told.append((tenant, plugin))

        await entered(registry, declared("my_shop"))

        assert set(told) == {(ACME, "my_shop"), (ACME, "my-shop")}

    asyncio.run(scenario())


# Keeping ------------------------------------------------------------------------------------------


def test_a_token_survives_a_restart_and_a_new_registration_replaces_it() -> None:
    async def scenario() -> None:
        store, clock = MemoryStore(), VirtualClock()
        first = Registry(store, clock)
        old = await entered(first, declared(), streams=True, reachable=False)
        token = await entered(first, declared(), streams=True, reachable=False)

        second = Registry(store, clock)
        assert await second.load([ACME, GLOBEX]) == 1

        assert second.admit(ACME, "shop", "i-1", token).id == "i-1"
        for wrong in (old, "", "x"):
            with pytest.raises(Unauthenticated):
                second.admit(ACME, "shop", "i-1", wrong)
        assert token.encode() not in b"".join(r.value for r in await store.list("/"))

    asyncio.run(scenario())


def test_too_many_plugins_are_refused_as_a_used_up_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_of(declared())
    monkeypatch.setattr("headway.service.registry.PLUGINS_PER_TENANT_MAX", 1)

    with pytest.raises(Throttled) as refused:
        registry.check_place(ACME, "another", "i-9", "agent")

    assert refused.value.grpc_status == "RESOURCE_EXHAUSTED"


def test_a_name_that_nobody_has_is_not_found_and_the_nearest_are_named() -> None:
    with pytest.raises(NotFound) as missing:
        registry_of(declared()).require(ACME, "shpo")

    assert missing.value.facts == {"nearest": ["shop"]}


# Declarations -------------------------------------------------------------------------------------


def request(**changes: Any) -> RegisterRequest:
    fields: dict[str, Any] = {"name": "go_agent", "plugin_type": 1, "instance_id": "i", "tenant_id": ACME}
    return RegisterRequest(**(fields | changes))


def test_unknown_permissions_and_write_count_as_modify() -> None:
    info = go_info("go_agent")
    info["actions"] = [
        {"id": f"a{number}", "description": "x", "permission": number, "stages": [1]}
        for number in (1, 2, 3, 4, 77)
    ]

    found, violations, _ = judge(request(), InfoResponse.from_wire(info), None)

    assert violations == []
    assert [action.permission for action in found.actions] == ["READ", "MODIFY", "ADMIN", "MODIFY", "MODIFY"]


def test_the_schema_wins_and_info_fills_its_gaps() -> None:
    info = InfoResponse.from_wire(go_info("go_agent"))
    schema = SchemaResponse.from_wire({"actions": [{"id": "query", "permission": 3, "stages": None}]})

    found, violations, _ = judge(request(), info, schema)

    query = next(action for action in found.actions if action.id == "query")
    assert violations == [] and {action.id for action in found.actions} == {"query", "delete"}
    assert (query.permission, query.description, query.stages) == ("ADMIN", "looks", ("observe",))


def test_capital_keys_of_go_give_the_same_digest_as_small_ones() -> None:
    found, _, _ = judge(request(), InfoResponse.from_wire(go_info("go_agent")), None)

    query = next(action for action in found.actions if action.id == "query")
    small = {"name": "query", "type": "string", "required": True, "description": "what to look for"}
    assert query.schema == schema_digest([small]) and query.input_params[0]["name"] == "query"


@pytest.mark.parametrize("name", ["", "  ", "a/b", "@workflow", "a.b", "x" * 201, "-a"])
def test_a_name_that_could_be_mistaken_for_something_else_is_refused(name: str) -> None:
    info = InfoResponse.from_wire(go_info(name))

    _, violations, _ = judge(request(name=name), info, None)

    assert any(violation.startswith("name must") for violation in violations)


# Cache --------------------------------------------------------------------------------------------


def test_the_least_recently_used_values_make_room_in_their_own_tenant_only() -> None:
    size = ENTRY_OVERHEAD_BYTES + 1 + 100
    cache = PluginCache(VirtualClock(), bytes_max=size * 3)
    cache.set("other", "a", b"x" * 100, ttl_s=0)
    for key in "abc":
        cache.set("mine", key, b"x" * 100, ttl_s=0)
    cache.get("mine", "a")

    cache.set("mine", "d", b"x" * 100, ttl_s=0)

    assert [cache.get("mine", key) is not None for key in "abcd"] == [True, False, True, True]
    assert cache.get("other", "a") is not None


def test_entries_are_bounded_too_and_what_expired_is_swept() -> None:
    clock = VirtualClock()
    cache = PluginCache(clock, entries_max=10)
    for number in range(50):
        cache.set("t", str(number), b"", ttl_s=60)
    assert cache.facts()["entries"] == 10

    clock.advance(60_000)

    assert cache.sweep() == 10 and cache.facts() == {"entries": 0, "bytes": 0}


@pytest.mark.parametrize(
    ("key", "value", "ttl_s", "kind"),
    [
        ("", b"", 0, Invalid),
        ("k" * 2_000, b"", 0, Invalid),
        ("k", b"", -1, Invalid),
        ("k", b"x" * 2_000, 0, Throttled),
        ("health:other:i", b"", 0, Forbidden),
    ],
)
def test_what_the_cache_does_not_take(key: str, value: bytes, ttl_s: int, kind: type[Exception]) -> None:
    cache = PluginCache(VirtualClock(), bytes_max=1_000)

    with pytest.raises(kind):
        cache.set("t", key, value, ttl_s=ttl_s, plugin="mine")


# Prompts and secrets ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "plain",
        "{{.Name}}",
        "{{- if .A }}x{{ else if .B }}y{{ else }}z{{ end -}}",
        '{{/* "a comment */}}{{ range $i, $x := .List }}{{ $x | printf "%q {{" }}{{ end }}',
        "{{ with (index .M 0) }}{{ . }}{{ end }}",
        "{{ define `t` }}x{{ end }}",
    ],
)
def test_templates_that_parse_are_taken(content: str) -> None:
    assert problem(content) == ("", "")


@pytest.mark.parametrize(
    "content",
    ["{{.A", "{{ }}", "{{ if .A }}", "{{ end }}", "{{ else }}", '{{ "a }}', "{{ (.A }}", "{{ .A) }}"],
)
def test_templates_that_do_not_parse_are_skipped_with_a_reason(content: str) -> None:
    assert problem(content)[0].startswith("it is skipped")


def test_a_bare_word_is_taken_with_advice() -> None:
    assert problem("hello {{ data }}") == ("", "'{{ data }}' is no Go syntax; write '{{.data}}'")


def test_prompts_are_stored_once_and_never_replace_another_ones() -> None:
    async def scenario() -> None:
        store, clock = MemoryStore(), VirtualClock()
        mine = {"name": "look", "description": "d", "content": "first"}
        await take_in(store, clock, "default", "shop", [mine, {"name": "chat_system", "content": "mine now"}])

        warnings = await take_in(
            store, clock, "default", "thief", [mine | {"content": "second"}, {"name": "../x", "content": "y"}]
        )

        record = await store.get("/mirastack/prompts/default/look/v1")
        assert record is not None and b"first" in record.value and b"agent:shop" in record.value
        assert await store.get("/mirastack/prompts/default/chat_system/v1") is None
        assert len(warnings) == 1 and "no name" in warnings[0]

    asyncio.run(scenario())


def test_a_sealed_secret_opens_at_its_own_place_with_its_own_key_only() -> None:
    vault = Vault(new_key())
    sealed = vault.seal("hush", place="/a")

    assert vault.open(sealed, place="/a") == "hush" and sealed != vault.seal("hush", place="/a")
    for other, place in ((vault, "/b"), (Vault(new_key()), "/a")):
        with pytest.raises(Broken):
            other.open(sealed, place=place)
    with pytest.raises(Broken):
        vault.open("v1:!!!", place="/a")
