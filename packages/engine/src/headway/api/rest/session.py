"""Sessions and API keys."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from headway.api.rest.exchange import Exchange, Nothing, Reply, whole
from headway.service.access import Actor
from headway.service.identity import ApiKey, Tenant, Tokens, User


class Login(msgspec.Struct, frozen=True):
    api_key_id: str
    api_secret: str


class Refresh(msgspec.Struct, frozen=True):
    refresh_token: str


class NewKey(msgspec.Struct, frozen=True):
    description: str = ""


@dataclass(frozen=True, slots=True)
class TenantView:
    id: str
    slug: str


@dataclass(frozen=True, slots=True)
class UserView:
    """A user, acting in `tenant`."""

    id: str
    username: str
    role: str
    tenant: TenantView | None
    tenants: list[TenantView]


@dataclass(frozen=True, slots=True)
class SessionView:
    access_token: str
    access_expires_ms: int
    refresh_token: str
    refresh_expires_ms: int
    user: UserView


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key without its secret."""

    id: str
    user: str
    username: str
    description: str
    status: str
    created_ms: int
    used_ms: int


@dataclass(frozen=True, slots=True)
class NewKeyView(KeyView):
    """A key with its secret, shown this once."""

    api_secret: str


async def login(x: Exchange[Login]) -> Reply:
    """Open a session with an API key."""
    origin = x.request.client.host if x.request.client else ""
    tokens = await x.services.identity.login(x.body.api_key_id, x.body.api_secret, origin=origin)
    return Reply(await _session(x, tokens))


async def refresh(x: Exchange[Refresh]) -> Reply:
    """Exchange a refresh token for new tokens."""
    return Reply(await _session(x, await x.services.identity.refresh(x.body.refresh_token)))


async def logout(x: Exchange[Nothing]) -> Reply:
    """End the session."""
    await x.services.identity.logout(x.actor)
    return Reply(status=204)


async def me(x: Exchange[Nothing]) -> Reply:
    """Who is asking."""
    user, tenants = await x.services.identity.me(x.actor)
    return Reply(_user(user, tenants, x.actor.tenant))


async def keys(x: Exchange[Nothing]) -> Reply:
    """API keys: one's own, or those of the tenant for admins."""
    return whole([_key(key, user) for key, user in await x.services.identity.keys(x.actor)])


async def create_key(x: Exchange[NewKey]) -> Reply:
    """A new API key of one's own."""
    key, secret = await x.services.identity.create_key(x.actor, description=x.body.description)
    return Reply(_new_key(key, x.actor, secret), 201)


async def revoke_key(x: Exchange[Nothing]) -> Reply:
    """End an API key and its sessions."""
    await x.services.identity.revoke_key(x.actor, x.path("id"))
    return Reply(status=204)


async def _session(x: Exchange[Login] | Exchange[Refresh], tokens: Tokens) -> SessionView:
    tenants = [await x.services.identity.tenant(id) for id in tokens.user.tenants]
    return SessionView(
        tokens.access,
        tokens.access_expires_ms,
        tokens.refresh,
        tokens.refresh_expires_ms,
        _user(tokens.user, tenants, ""),
    )


def _user(user: User, tenants: list[Tenant], current: str) -> UserView:
    views = [TenantView(tenant.id, tenant.slug) for tenant in tenants]
    chosen = next((view for view in views if view.id == current), views[0] if views else None)
    return UserView(user.id, user.username, user.role, chosen, views)


def _key(key: ApiKey, user: User) -> KeyView:
    return KeyView(
        key.id,
        user.id,
        user.username,
        key.description,
        "active" if key.active else "revoked",
        key.created_ms,
        key.used_ms,
    )


def _new_key(key: ApiKey, actor: Actor, secret: str) -> NewKeyView:
    return NewKeyView(
        key.id,
        actor.user_id,
        actor.user,
        key.description,
        "active",
        key.created_ms,
        key.used_ms,
        secret,
    )
