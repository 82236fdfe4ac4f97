"""Being known to the engine: registering, heartbeats, registering again, leaving.

Nothing here gives up.  An engine that is away, still starting, or waiting for an operator is asked again
after 2, 4, 8, 16, 30, 30 ... seconds, while the plugin already serves.

Source: plugin protocol, section 7.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from headway_wire import codec, messages
from headway_wire.errors import Conflict, Forbidden, HeadwayError, Invalid, Refused, Throttled, Unavailable
from headway_wire.objects import License

from mirastack_sdk.context import EngineLink

log = logging.getLogger("mirastack_sdk")

RETRY_S = (2.0, 4.0, 8.0, 16.0, 30.0)  # the last one repeats
REGISTER_TIMEOUT_S = 10.0
HEARTBEAT_TIMEOUT_S = 10.0
DEREGISTER_TIMEOUT_S = 5.0


def label(error: HeadwayError) -> tuple[str, int]:
    """What a refused registration means to an operator, and how loudly to log it.

    Source: plugin protocol, section 7.2, "how SDKs label it".
    """
    text = str(error).lower()
    match error:
        case Forbidden() if "tenant" in text and ("not active" in text or "not found" in text):
            return "waiting for the tenant", logging.INFO
        case Throttled():
            return "needs operator: the quota is used up", logging.ERROR
        case Unavailable():
            return "engine unavailable", logging.WARNING
        case Conflict() if error.facts.get("grpc_status") == "FAILED_PRECONDITION":
            return "engine unavailable", logging.WARNING
        case Invalid() | Forbidden():
            return "needs operator", logging.ERROR
        case Refused():
            return "rejected", logging.ERROR
        case _:
            return "engine failed", logging.ERROR


class Registration:
    """One process's registration.  `run` keeps it alive until it is cancelled; `leave` ends it."""

    def __init__(
        self,
        link: EngineLink,
        request: messages.RegisterRequest,
        *,
        heartbeat_s: float,
        heartbeat_fixed: bool,
        on_license: Callable[[License | None], None],
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> None:
        self._link = link
        self._request = request
        self._heartbeat_s = heartbeat_s
        self._heartbeat_fixed = heartbeat_fixed
        self._on_license = on_license
        self._retry_s = retry_s
        self._again = asyncio.Event()
        self._offer: messages.LinkOffer | None = None
        self._offered = asyncio.Event()

    async def run(self) -> None:
        """Register, then beat; register again whenever the engine or the stream link asks for it."""
        while True:
            await self._register()
            self._again.clear()
            await self._beat()

    def renew(self) -> None:
        """Register again at once: the engine no longer knows us."""
        self._offered.clear()
        self._again.set()

    async def offer(self) -> messages.LinkOffer:
        """The stream that the present registration offers; waits for one."""
        while self._offer is None or not self._offered.is_set():
            await self._offered.wait()
            if self._offer is None:
                self._offered.clear()
        return self._offer

    async def leave(self) -> None:
        """Tell the engine that this process goes; a silent engine is not waited for longer than 5 s."""
        request = messages.DeregisterRequest(name=self._request.name, instance_id=self._request.instance_id)
        try:
            await self._link.unary(
                messages.engine_path("DeregisterPlugin"), request.encode(), timeout_s=DEREGISTER_TIMEOUT_S
            )
            log.info("deregistered from the engine")
        except HeadwayError as error:
            log.warning("could not deregister: %s", error.message)

    async def _register(self) -> None:
        tries = 0
        while True:
            try:
                answer = await self._ask()
            except HeadwayError as error:
                said, level = label(error)
                wait_s = self._retry_s[min(tries, len(self._retry_s) - 1)]
                tries += 1
                log.log(level, "not registered (%s), trying again in %g s: %s", said, wait_s, error)
                await asyncio.sleep(wait_s)
                continue
            self._on_license(answer.license)
            self._offer = answer.link
            self._offered.set()
            link = "stream" if answer.link else "callback"
            log.info("registered with the engine as %s, link %s", answer.plugin_id or "unnamed", link)
            return

    async def _ask(self) -> messages.RegisterResponse:
        """Raises: Refused with every violation when the engine says no, else what the call raises."""
        raw = await self._link.unary(
            messages.engine_path("RegisterPlugin"), self._request.encode(), timeout_s=REGISTER_TIMEOUT_S
        )
        answer = messages.RegisterResponse.from_wire(_without_odd_license(raw))
        if not answer.success:
            raise Refused(answer.error or "the engine gives no reason", code="registration_rejected")
        return answer

    async def _beat(self) -> None:
        """Beat until the engine, or whoever calls `renew`, wants a new registration."""
        missed = 0
        while not await self._asked_again(within_s=self._heartbeat_s):
            request = messages.HeartbeatRequest(
                name=self._request.name, instance_id=self._request.instance_id
            )
            try:
                raw = await self._link.unary(
                    messages.engine_path("Heartbeat"), request.encode(), timeout_s=HEARTBEAT_TIMEOUT_S
                )
                answer = messages.HeartbeatResponse.from_wire(_without_odd_license(raw))
            except HeadwayError as error:
                missed += 1
                log.warning("heartbeat %d in a row was not taken: %s", missed, error.message)
                continue
            missed = 0
            if answer.license is not None:
                self._on_license(answer.license)
            if answer.heartbeat_interval_seconds > 0 and not self._heartbeat_fixed:
                self._heartbeat_s = float(answer.heartbeat_interval_seconds)
            if answer.re_register_required:
                log.info("the engine asks for a new registration")
                return

    async def _asked_again(self, *, within_s: float) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self._again.wait()
        except TimeoutError:
            return False
        return True


def _without_odd_license(raw: bytes) -> dict[str, Any]:
    """An answer without its licence when that is no object: no reason to be without an engine."""
    answer = codec.loads(raw, what="answer")
    if not isinstance(answer.get("license"), dict | None):
        log.warning("the engine sent a licence that is %s; ignored", codec.json_type(answer.pop("license")))
    return answer
