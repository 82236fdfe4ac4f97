"""A session with an engine: requests with a token that is renewed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from headway_wire.errors import Unauthenticated

from headway_cli.miractl.client import PAGE, Client, Query, Told
from headway_cli.miractl.contexts import Context, Files, Tokens
from headway_cli.output import now_ms

RENEW_AHEAD_MS = 30_000
"""A token that ends sooner than this is renewed before it is used."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """Requests in the name of whoever logged in to a context."""

    context: Context
    client: Client
    files: Files

    @classmethod
    def open(cls, name: str = "", *, insecure: bool = False) -> Session:
        """The session of a context; of the current one without a name."""
        files = Files()
        context = files.contexts().get(name)
        return cls(context, Client(context.url, insecure=insecure or context.insecure), files)

    def call(
        self,
        method: str,
        where: str,
        body: Any = None,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of an answer.  Raises as `Client.call`, and Unauthenticated without a session."""
        return self._authorised(
            lambda token: self.client.call(method, where, body, token=token, query=query, headers=headers)
        )

    def items(self, where: str, *, query: Query | None = None, most: int = 0, page: int = 0) -> list[Any]:
        """All items of a list, or the first `most` of them, over as many pages as it takes.

        page: how many at once; 0 leaves it to the engine, and is all that lists without pages take.
        """
        found: list[Any] = []
        asked: dict[str, str | int | Sequence[str]] = {**(query or {})}
        if page or most:
            asked["limit"] = min(page or PAGE, most or PAGE)
        while True:
            answer = self.call("GET", where, query=asked)
            found += answer["items"]
            if not answer["next"] or (most and len(found) >= most):
                return found[:most] if most else found
            asked["cursor"] = answer["next"]

    def stream(self, where: str, *, after: str = "") -> Iterator[Told]:
        """Server-sent events.  Raises as `Client.stream`; a token that ended shows as an event `error`."""
        return self.client.stream(where, token=self.token(), after=after)

    def token(self) -> str:
        """An access token that will last for a while.  Raises Unauthenticated without a session."""
        tokens = self._tokens()
        if tokens.access_expires_ms - now_ms() < RENEW_AHEAD_MS:
            return self.renewed(tokens.access_token)
        return tokens.access_token

    def renewed(self, spent: str) -> str:
        """A new access token in the place of `spent`.

        A refresh token works once; when another command has used it meanwhile, its new token is taken.
        """
        with self.files.locked():
            tokens = self._tokens()
            if tokens.access_token != spent:
                return tokens.access_token
            try:
                answer = self.client.call("POST", "/auth/refresh", {"refresh_token": tokens.refresh_token})
            except Unauthenticated as error:
                self.files.keep_tokens(self.context.name, None)
                raise self._ended() from error
            new = tokens_from(answer, key=tokens.key)
            self.files.keep_tokens(self.context.name, new)
            return new.access_token

    def _authorised(self, request: Callable[[str], T]) -> T:
        token = self.token()
        try:
            return request(token)
        except Unauthenticated as error:
            if error.code != "token_invalid":
                raise
        return request(self.renewed(token))

    def _tokens(self) -> Tokens:
        tokens = self.files.tokens_of(self.context.name)
        if tokens is None:
            raise Unauthenticated(f"you are not logged in to '{self.context.name}'", code="no_session")
        return tokens

    def _ended(self) -> Unauthenticated:
        return Unauthenticated(f"your session with '{self.context.name}' has ended", code="no_session")


def tokens_from(answer: Mapping[str, Any], *, key: str) -> Tokens:
    """The tokens in an answer of the engine.  key: the id of the API key that opened the session."""
    return Tokens(
        answer["access_token"],
        answer["access_expires_ms"],
        answer["refresh_token"],
        answer["refresh_expires_ms"],
        answer["user"]["username"],
        answer["user"]["role"],
        key,
    )
