"""The first start: a tenant, an admin, and one API key that is shown once.

Source: engine surface, section 3.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec
from headway_wire.errors import Conflict, NotFound
from headway_wire.tenantid import id_from_slug

from headway.ports import Clock, Records
from headway.service.documents import every
from headway.service.identity import KEYS, TENANTS, USERNAMES, USERS, ApiKey, Tenant, User, new_key

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key with its secret in clear, to be shown once and forgotten."""

    user_id: str
    username: str
    role: str
    api_key_id: str
    api_secret: str

    def block(self) -> str:
        """The lines to print or log."""
        return "\n".join(
            [
                "------------------------------------------------------------------------",
                "Admin credentials. They are shown this once and stored hashed only.",
                "",
                f"  user_id={self.user_id}",
                f"  username={self.username}",
                f"  role={self.role}",
                f"  api_key_id={self.api_key_id}",
                f"  api_secret={self.api_secret}",
                "",
                "Revoke this key once the real admins have their own.",
                "------------------------------------------------------------------------",
            ]
        )


async def bootstrap(records: Records, clock: Clock, *, default_slug: str = "default") -> Credentials | None:
    """Make the default tenant and, when there is no user at all, the admin and a key.

    Returns the credentials when they were made just now, else None.  The record of the name is written
    last and only once: a crash before it leaves nothing that works, and of two engines that start at
    the same moment one prints its key.
    """
    await ensure_tenant(records, clock, default_slug)
    if await records.list(USERNAMES, limit=1):
        return None
    now_ms = clock.now_ms()
    user = User(f"usr-{uuid.uuid4()}", ADMIN, "admin", [id_from_slug(default_slug)], created_ms=now_ms)
    key, secret = new_key(user.id, description="made at the first start", now_ms=now_ms)
    await records.put(KEYS + key.id, msgspec.json.encode(key), now_ms=now_ms)
    await records.put(USERS + user.id, msgspec.json.encode(user), now_ms=now_ms)
    try:
        await records.put(USERNAMES + ADMIN, msgspec.json.encode(user.id), now_ms=now_ms, expect=0)
    except Conflict:
        await records.delete(USERS + user.id)
        await records.delete(KEYS + key.id)
        return None
    return Credentials(user.id, user.username, user.role, key.id, secret)


async def ensure_tenant(records: Records, clock: Clock, slug: str) -> Tenant:
    """The tenant `slug`, made when it does not exist."""
    id = id_from_slug(slug)
    found = await records.get(TENANTS + id)
    if found is not None:
        return msgspec.json.decode(found.value, type=Tenant)
    tenant = Tenant(id, slug.strip().lower(), created_ms=clock.now_ms())
    await records.put(TENANTS + id, msgspec.json.encode(tenant), now_ms=clock.now_ms())
    return tenant


async def reset_key(records: Records, clock: Clock, *, username: str = ADMIN) -> Credentials:
    """Revoke all keys of an admin, make a new one, and activate the account: for who lost the secret.

    Only for the machine that holds the store; the caller has opened it.
    Raises NotFound when there is no such user, Conflict when the user is no admin.
    """
    index = await records.get(USERNAMES + username)
    record = await records.get(USERS + msgspec.json.decode(index.value, type=str)) if index else None
    if record is None:
        raise NotFound(f"there is no user '{username}' in this store; `headway up` makes the first admin")
    user = msgspec.json.decode(record.value, type=User)
    if user.role != "admin":
        raise Conflict(f"'{username}' is {user.role}; only an admin's key can be reset here")
    now_ms = clock.now_ms()
    async for item in every(records, KEYS):
        old = msgspec.json.decode(item.value, type=ApiKey)
        if old.user == user.id and old.active:
            ended = msgspec.structs.replace(old, active=False)
            await records.put(item.key, msgspec.json.encode(ended), now_ms=now_ms)
    key, secret = new_key(user.id, description="made by reset-key", now_ms=now_ms)
    await records.put(KEYS + key.id, msgspec.json.encode(key), now_ms=now_ms)
    active = msgspec.structs.replace(user, active=True)
    await records.put(USERS + user.id, msgspec.json.encode(active), now_ms=now_ms)
    return Credentials(user.id, user.username, user.role, key.id, secret)
