"""Keys, sessions and what revoking them does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from headway.service.bootstrap import bootstrap, reset_key
from headway.service.identity import Identity
from headway.stores.memory import MemoryStore
from headway_wire.errors import Conflict, NotFound, Throttled, Unauthenticated

from packages.engine.tests.rest.boxes import Box, MovableClock


def login(box: Box, key: tuple[str, str]) -> Any:
    body = {"api_key_id": key[0], "api_secret": key[1]}
    return box.call("POST", "/auth/login", body, who="")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_first_key_opens_a_session_of_the_admin(box: Box) -> None:
    answer = login(box, box.admin_key)

    assert answer.status == 200
    assert (answer.json["user"]["username"], answer.json["user"]["role"]) == ("admin", "admin")
    assert answer.json["user"]["tenant"]["slug"] == "default"
    assert answer.json["user"]["tenant"]["id"] == "b81b7c16-bfb1-5486-87b5-dd509512be63"
    me = box.call("GET", "/auth/me", who="", headers=bearer(answer.json["access_token"]))
    assert me.json == answer.json["user"]


def test_an_unknown_key_and_a_wrong_secret_cannot_be_told_apart(box: Box) -> None:
    unknown = login(box, ("key-nope", "msk_x"))
    wrong = login(box, (box.admin_key[0], "msk_x"))

    assert (unknown.status, unknown.code) == (wrong.status, wrong.code) == (401, "login_failed")
    assert unknown.text == wrong.text


def test_many_wrong_secrets_make_a_key_wait_but_not_other_keys(box: Box) -> None:
    for _ in range(5):
        assert login(box, (box.admin_key[0], "msk_x")).status == 401

    refused = login(box, box.admin_key)
    other = login(box, box.keys["engineer"])
    box.clock.ahead_ms += 61_000
    later = login(box, box.admin_key)

    assert (refused.status, refused.json["error"]["kind"]) == (429, "throttled")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (other.status, later.status) == (200, 200)


def test_an_access_token_ends_and_is_refreshed_once(box: Box) -> None:
    first = login(box, box.admin_key).json
    box.clock.ahead_ms += 15 * 60_000 + 1

    late = box.call("GET", "/auth/me", who="", headers=bearer(first["access_token"]))
    second = box.call("POST", "/auth/refresh", {"refresh_token": first["refresh_token"]}, who="")
    fresh = box.call("GET", "/auth/me", who="", headers=bearer(second.json["access_token"]))

    assert (late.status, late.code, second.status, fresh.status) == (401, "token_invalid", 200, 200)


def test_a_refresh_token_that_comes_twice_ends_the_session(box: Box) -> None:
    first = login(box, box.admin_key).json
    body = {"refresh_token": first["refresh_token"]}
    second = box.call("POST", "/auth/refresh", body, who="").json

    stolen = box.call("POST", "/auth/refresh", body, who="")
    owner = box.call("GET", "/auth/me", who="", headers=bearer(second["access_token"]))

    assert (stolen.status, owner.status) == (401, 401)


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(box: Box) -> None:
    session = login(box, box.admin_key).json

    swapped = box.call("GET", "/auth/me", who="", headers=bearer(session["refresh_token"]))
    refresh = box.call("POST", "/auth/refresh", {"refresh_token": session["access_token"]}, who="")

    assert (swapped.status, refresh.status) == (401, 401)


def test_logout_ends_the_whole_session(box: Box) -> None:
    session = login(box, box.admin_key).json

    assert box.call("POST", "/auth/logout", who="", headers=bearer(session["access_token"])).status == 204

    again = box.call("GET", "/auth/me", who="", headers=bearer(session["access_token"]))
    refresh = box.call("POST", "/auth/refresh", {"refresh_token": session["refresh_token"]}, who="")
    assert (again.status, refresh.status) == (401, 401)


def test_revoking_a_key_ends_its_sessions_at_once(box: Box) -> None:
    made = box.call("POST", "/apikeys", {"description": "laptop"}, who="operator").json
    session = login(box, (made["id"], made["api_secret"])).json

    assert box.call("DELETE", f"/apikeys/{made['id']}", who="operator").status == 204

    again = box.call("GET", "/auth/me", who="", headers=bearer(session["access_token"]))
    refresh = box.call("POST", "/auth/refresh", {"refresh_token": session["refresh_token"]}, who="")
    anew = login(box, (made["id"], made["api_secret"]))
    assert (again.status, refresh.status, anew.status) == (401, 401, 401)
    shown = {key["id"]: key["status"] for key in box.get("/apikeys", who="operator")["items"]}
    assert shown[made["id"]] == "revoked"


def test_people_see_their_own_keys_and_admins_those_of_the_tenant(box: Box) -> None:
    own = box.get("/apikeys", who="operator")["items"]
    all_of_tenant = box.get("/apikeys", who="admin")["items"]
    foreign = box.call("DELETE", f"/apikeys/{box.keys['stranger'][0]}", who="admin")
    higher = box.call("DELETE", f"/apikeys/{box.keys['admin'][0]}", who="operator")

    assert {key["username"] for key in own} == {"the-operator"}
    assert {key["username"] for key in all_of_tenant} == {
        "admin",
        "the-operator",
        "the-engineer",
        "the-admin",
    }
    assert (foreign.status, higher.status) == (404, 404)
    assert all("secret" not in key and "hash" not in key for key in all_of_tenant)


def test_nothing_that_opens_a_door_is_stored_in_clear(box: Box) -> None:
    session = login(box, box.admin_key).json
    made = box.call("POST", "/apikeys", {}).json
    secrets = [
        box.admin_key[1],
        made["api_secret"],
        session["access_token"].partition(".")[2],
        session["refresh_token"].partition(".")[2],
    ]

    records = box.asks(box.services.store.list("/mirastack/"))

    text = b"\n".join(record.value for record in records).decode()
    assert "the-operator" in text
    assert not [secret for secret in secrets if secret in text]


def test_tokens_that_are_none_are_refused(box: Box) -> None:
    headers = [
        {},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer x"},
        {"Authorization": "Bearer hat_../../x.y"},
        {"Authorization": "Bearer hat_abc.def"},
        {"Authorization": f"Bearer {box.token('admin')}x"},
        {"Authorization": f"Bearer {box.token('admin').partition('.')[0]}."},
    ]

    for given in headers:
        answer = box.call("GET", "/auth/me", who="", headers=given)
        assert answer.status == 401, given
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_tenant_is_chosen_by_slug_or_id_among_ones_own(box: Box) -> None:
    def status(tenant: str) -> int:
        return box.call("GET", "/auth/me", headers={"X-Tenant": tenant}).status

    assert (status("default"), status("DEFAULT"), status("b81b7c16-bfb1-5486-87b5-dd509512be63")) == (
        200,
        200,
        200,
    )
    foreign = box.call("GET", "/auth/me", headers={"X-Tenant": "other"})
    unknown = box.call("GET", "/auth/me", headers={"X-Tenant": "nobody"})
    assert (foreign.status, unknown.status) == (403, 403)
    assert foreign.text.replace(b"other", b"nobody") == unknown.text


# Without HTTP -------------------------------------------------------------------------------------


def test_a_store_is_bootstrapped_once() -> None:
    async def check() -> None:
        store, clock = MemoryStore(), MovableClock()
        first = await bootstrap(store, clock)
        second = await bootstrap(store, clock)

        assert first is not None
        assert second is None
        assert first.api_key_id.startswith("key-")
        assert first.api_secret.startswith("msk_")
        for word in (f"user_id={first.user_id}", "username=admin", "role=admin", first.api_secret):
            assert word in first.block()

    asyncio.run(check())


def test_a_reset_key_replaces_all_others_of_that_admin() -> None:
    async def check() -> None:
        store, clock = MemoryStore(), MovableClock()
        first = await bootstrap(store, clock)
        assert first is not None
        identity = Identity(store, clock)

        second = await reset_key(store, clock)

        with pytest.raises(Unauthenticated):
            await identity.login(first.api_key_id, first.api_secret)
        assert (await identity.login(second.api_key_id, second.api_secret)).user.username == "admin"
        with pytest.raises(NotFound):
            await reset_key(store, clock, username="nobody")

    asyncio.run(check())


def test_sessions_of_a_key_are_bounded_and_old_ones_removed() -> None:
    async def check() -> None:
        store, clock = MemoryStore(), MovableClock()
        first = await bootstrap(store, clock)
        assert first is not None
        identity = Identity(store, clock)
        for _ in range(60):
            tokens = await identity.login(first.api_key_id, first.api_secret)
        assert len(await store.list("/mirastack/sessions/")) == 50
        await identity.authenticate(tokens.access)

        clock.ahead_ms += 13 * 3_600_000
        await identity.login(first.api_key_id, first.api_secret)

        assert len(await store.list("/mirastack/sessions/")) == 1

    asyncio.run(check())


def test_a_refresh_in_two_places_at_once_gives_one_pair() -> None:
    async def check() -> None:
        store, clock = MemoryStore(), MovableClock()
        first = await bootstrap(store, clock)
        assert first is not None
        identity = Identity(store, clock)
        tokens = await identity.login(first.api_key_id, first.api_secret)

        results = await asyncio.gather(
            *(identity.refresh(tokens.refresh) for _ in range(5)), return_exceptions=True
        )

        assert sum(not isinstance(result, BaseException) for result in results) <= 1
        assert all(isinstance(r, Unauthenticated | Conflict) or not isinstance(r, Exception) for r in results)

    asyncio.run(check())


def test_failed_logins_are_forgotten_after_a_minute_and_counted_per_origin() -> None:
    async def check() -> None:
        store, clock = MemoryStore(), MovableClock()
        first = await bootstrap(store, clock)
        assert first is not None
        identity = Identity(store, clock)
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                await identity.login(first.api_key_id, "msk_wrong", origin="10.0.0.1")
        with pytest.raises(Throttled):
            await identity.login(first.api_key_id, first.api_secret, origin="10.0.0.1")

        await identity.login(first.api_key_id, first.api_secret, origin="10.0.0.2")

    asyncio.run(check())
