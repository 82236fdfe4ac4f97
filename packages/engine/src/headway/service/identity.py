"""Identity: API keys, sessions, users and tenants, as stored.

An API key (id and secret) opens a session; a session is a short-lived access token and a longer-lived
refresh token.  Secrets and tokens are random and stored hashed only; every use looks at the session,
the key and the user as stored now, so that revoking any of them works at once.

Source: engine surface, section 3; docs/decisions/0012-opaque-tokens.md.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import uuid
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from headway_wire.errors import Conflict, Forbidden, NotFound, Throttled, Unauthenticated

from headway.ports import Clock, Records
from headway.service.access import Ability, Actor, require
from headway.service.documents import every

log = logging.getLogger("headway.access")

ACCESS_MS = 15 * 60_000
REFRESH_MS = 12 * 3_600_000
LOGIN_FAILURES_MAX = 5
LOGIN_WINDOW_MS = 60_000
LOGIN_ORIGINS_MAX = 10_000
SESSIONS_PER_KEY_MAX = 50
KEYS_PER_USER_MAX = 50
DESCRIPTION_CHARS_MAX = 200

TENANTS = "/mirastack/tenants/"
USERS = "/mirastack/users/"
USERNAMES = "/mirastack/usernames/"
KEYS = "/mirastack/apikeys/"
SESSIONS = "/mirastack/sessions/"


class Tenant(msgspec.Struct, frozen=True):
    """The wall between customers.  `state`: active, suspended or deleted."""

    id: str
    slug: str
    state: str = "active"
    created_ms: int = 0


class User(msgspec.Struct, frozen=True):
    """A person.  `username` is unique in the engine and never given to another person."""

    id: str
    username: str
    role: str
    tenants: list[str]
    active: bool = True
    created_ms: int = 0


class ApiKey(msgspec.Struct, frozen=True):
    """A credential of a user; `hash` is that of salt and secret."""

    id: str
    user: str
    salt: str
    hash: str
    active: bool = True
    description: str = ""
    created_ms: int = 0
    used_ms: int = 0


class Session(msgspec.Struct, frozen=True):
    """What one login opened.  `spent` is the hash of the refresh token before the present one."""

    id: str
    user: str
    key: str
    access: str
    access_expires_ms: int
    refresh: str
    refresh_expires_ms: int
    spent: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client keeps of a session; the only place where the tokens are in clear."""

    access: str
    access_expires_ms: int
    refresh: str
    refresh_expires_ms: int
    user: User


def new_key(user: str, *, description: str, now_ms: int) -> tuple[ApiKey, str]:
    """A new key and its secret.

    The secret has 256 random bits, so a salted fast hash is enough: no dictionary holds it, and a slow
    one would only let strangers spend our time.
    """
    secret = "msk_" + secrets.token_urlsafe(32)
    salt = secrets.token_hex(16)
    key = ApiKey(
        f"key-{uuid.uuid4()}", user, salt, _hash(secret, salt), description=description, created_ms=now_ms
    )
    return key, secret


def _hash(secret: str, salt: str = "") -> str:
    return hashlib.blake2b(secret.encode(), key=bytes.fromhex(salt), digest_size=32).hexdigest()


class Identity:
    """Keys, sessions and users of one store."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], deque[int]] = OrderedDict()

    # Sessions -------------------------------------------------------------------------------------

    async def login(self, key_id: str, secret: str, *, origin: str = "") -> Tokens:
        """Open a session.

        origin: the client's address.  Failures are counted per key and origin, so that a stranger who
        knows a key's id cannot lock its owner out.
        Raises Unauthenticated, which does not tell an unknown key from a wrong secret, and Throttled.
        """
        now_ms = self._clock.now_ms()
        self._not_too_often(key_id, origin, now_ms)
        record = await self._records.get(KEYS + key_id)
        key = None if record is None else msgspec.json.decode(record.value, type=ApiKey)
        user = await self._user(key.user) if key is not None else None
        right = key is not None and hmac.compare_digest(key.hash, _hash(secret, key.salt))
        if record is None or key is None or user is None or not (right and key.active and user.active):
            self._failures.setdefault((key_id, origin), deque(maxlen=LOGIN_FAILURES_MAX)).append(now_ms)
            if len(self._failures) > LOGIN_ORIGINS_MAX:
                self._failures.popitem(last=False)
            log.warning("login refused for key '%s' from %s", key_id[:64], origin or "here")
            raise Unauthenticated("the API key is unknown, wrong or revoked", code="login_failed")
        await self._end_old_sessions(key.id, now_ms)
        tokens, session = _issue(secrets.token_hex(12), key.id, user, now_ms)
        await self._put(SESSIONS + session.id, session)
        with suppress(Conflict):  # The time of use is a courtesy, and must not undo a revocation.
            await self._put(
                KEYS + key.id, msgspec.structs.replace(key, used_ms=now_ms), expect=record.version
            )
        log.info("'%s' logged in with key %s", user.username, key.id)
        return tokens

    def _not_too_often(self, key_id: str, origin: str, now_ms: int) -> None:
        failures = self._failures.get((key_id, origin))
        if failures is None or len(failures) < LOGIN_FAILURES_MAX:
            return
        wait_ms = failures[0] + LOGIN_WINDOW_MS - now_ms
        if wait_ms > 0:
            raise Throttled("too many failed logins with this key; wait a little", retry_after_ms=wait_ms)
        del self._failures[(key_id, origin)]

    async def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token for a new pair.

        A token that comes twice ends its session, since one of the two who hold it stole it.
        """
        now_ms = self._clock.now_ms()
        session, secret, version = await self._session(token, "hrt_")
        if session.spent and hmac.compare_digest(session.spent, _hash(secret)):
            await self._records.delete(SESSIONS + session.id)
            log.warning("a refresh token of session %s was used twice; the session is ended", session.id)
            raise _stale()
        if not hmac.compare_digest(session.refresh, _hash(secret)) or now_ms >= session.refresh_expires_ms:
            raise _stale()
        user = await self._holder(session)
        tokens, renewed = _issue(session.id, session.key, user, now_ms)
        renewed = msgspec.structs.replace(renewed, spent=session.refresh)
        try:
            await self._put(SESSIONS + session.id, renewed, expect=version)
        except Conflict:
            raise _stale() from None
        return tokens

    async def logout(self, actor: Actor) -> None:
        """End the session of `actor`."""
        await self._records.delete(SESSIONS + actor.session)
        log.info("'%s' logged out", actor.user)

    async def authenticate(self, token: str, *, tenant: str = "") -> Actor:
        """The actor behind an access token.

        tenant: id or slug; "" is the user's first.
        Raises Unauthenticated, and Forbidden for a tenant that is not theirs or does not exist.
        """
        session, secret, _ = await self._session(token, "hat_")
        if not hmac.compare_digest(session.access, _hash(secret)):
            raise _stale()
        if self._clock.now_ms() >= session.access_expires_ms:
            raise _stale()
        user = await self._holder(session)
        chosen = await self._choose(user, tenant)
        return Actor(chosen, user.username, user.role, user.id, session.id, session.access_expires_ms)

    async def _session(self, token: str, prefix: str) -> tuple[Session, str, int]:
        id, _, secret = token.removeprefix(prefix).partition(".")
        if not token.startswith(prefix) or not secret or not (id.isascii() and id.isalnum()):
            raise _stale()
        record = await self._records.get(SESSIONS + id)
        if record is None:
            raise _stale()
        return msgspec.json.decode(record.value, type=Session), secret, record.version

    async def _holder(self, session: Session) -> User:
        key, user = await self._key(session.key), await self._user(session.user)
        if key is None or user is None or not key.active or not user.active:
            raise _stale()
        return user

    async def _choose(self, user: User, tenant: str) -> str:
        if not tenant and user.tenants:
            return user.tenants[0]
        for id in user.tenants:
            if tenant == id or tenant.lower() == (await self.tenant(id)).slug:
                return id
        raise Forbidden(f"you do not belong to a tenant '{tenant}'", code="not_your_tenant")

    async def _end_old_sessions(self, key: str, now_ms: int) -> None:
        """Remove expired sessions, and the oldest of `key` beyond its bound."""
        own: list[Session] = []
        async for record in every(self._records, SESSIONS):
            session = msgspec.json.decode(record.value, type=Session)
            if now_ms >= session.refresh_expires_ms:
                await self._records.delete(record.key)
            elif session.key == key:
                own.append(session)
        own.sort(key=lambda session: session.refresh_expires_ms, reverse=True)
        for session in own[SESSIONS_PER_KEY_MAX - 1 :]:
            await self._records.delete(SESSIONS + session.id)

    # Users, tenants and keys ----------------------------------------------------------------------

    async def me(self, actor: Actor) -> tuple[User, list[Tenant]]:
        """The user behind `actor`, and their tenants in order."""
        user = await self._user(actor.user_id)
        if user is None:
            raise NotFound("you act without a user account")
        return user, [await self.tenant(id) for id in user.tenants]

    async def tenant(self, id: str) -> Tenant:
        """A tenant by id.  Raises NotFound."""
        record = await self._records.get(TENANTS + id)
        if record is None:
            raise NotFound(f"there is no tenant '{id}'")
        return msgspec.json.decode(record.value, type=Tenant)

    async def keys(self, actor: Actor) -> list[tuple[ApiKey, User]]:
        """The keys of `actor`, or of everybody in the tenant for those who manage all keys."""
        require(actor, Ability.OWN_KEYS)
        found: list[tuple[ApiKey, User]] = []
        users: dict[str, User | None] = {}
        async for record in every(self._records, KEYS):
            key = msgspec.json.decode(record.value, type=ApiKey)
            if key.user not in users:
                users[key.user] = await self._user(key.user)
            user = users[key.user]
            if user is not None and self._sees(actor, user):
                found.append((key, user))
        return found

    async def create_key(self, actor: Actor, *, description: str = "") -> tuple[ApiKey, str]:
        """A new key of `actor` and its secret, which nobody can read again."""
        require(actor, Ability.OWN_KEYS)
        own = [key for key, user in await self.keys(actor) if user.id == actor.user_id and key.active]
        if len(own) >= KEYS_PER_USER_MAX:
            raise Conflict(f"a user has at most {KEYS_PER_USER_MAX} active keys; revoke some first")
        key, secret = new_key(
            actor.user_id, description=description[:DESCRIPTION_CHARS_MAX], now_ms=self._clock.now_ms()
        )
        await self._put(KEYS + key.id, key)
        log.info("'%s' created key %s", actor.user, key.id)
        return key, secret

    async def revoke_key(self, actor: Actor, id: str) -> None:
        """End a key and, with it, its sessions.  Raises NotFound for a key that `actor` cannot see."""
        require(actor, Ability.OWN_KEYS)
        key = await self._key(id)
        user = await self._user(key.user) if key is not None else None
        if key is None or user is None or not self._sees(actor, user):
            raise NotFound(f"there is no API key '{id}'")
        await self._put(KEYS + id, msgspec.structs.replace(key, active=False))
        log.info("'%s' revoked key %s of '%s'", actor.user, id, user.username)

    def _sees(self, actor: Actor, user: User) -> bool:
        return user.id == actor.user_id or (actor.may(Ability.ALL_KEYS) and actor.tenant in user.tenants)

    async def _key(self, id: str) -> ApiKey | None:
        record = await self._records.get(KEYS + id)
        return None if record is None else msgspec.json.decode(record.value, type=ApiKey)

    async def _user(self, id: str) -> User | None:
        record = await self._records.get(USERS + id)
        return None if record is None else msgspec.json.decode(record.value, type=User)

    async def _put(self, key: str, value: msgspec.Struct, *, expect: int | None = None) -> None:
        await self._records.put(key, msgspec.json.encode(value), now_ms=self._clock.now_ms(), expect=expect)


def _issue(id: str, key: str, user: User, now_ms: int) -> tuple[Tokens, Session]:
    access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    access_ms, refresh_ms = now_ms + ACCESS_MS, now_ms + REFRESH_MS
    tokens = Tokens(f"hat_{id}.{access}", access_ms, f"hrt_{id}.{refresh}", refresh_ms, user)
    return tokens, Session(id, user.id, key, _hash(access), access_ms, _hash(refresh), refresh_ms)


def _stale() -> Unauthenticated:
    text = "the token is unknown, expired or revoked; log in again"
    return Unauthenticated(text, code="token_invalid")
