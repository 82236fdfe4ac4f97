"""Run a plugin: the life cycle from the quality gate to leaving the engine.

Source: plugin protocol, section 7.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Coroutine, Mapping
from typing import Any

from headway_wire import link, messages
from headway_wire.channel import Channel
from headway_wire.codec import PLUGIN_NAME_KEY, PLUGIN_TOKEN_KEY, PLUGIN_WIRE_KEY
from headway_wire.errors import HeadwayError
from headway_wire.host import STOP_GRACE_S, Host
from headway_wire.objects import License

from mirastack_sdk import obs
from mirastack_sdk.context import EngineContext
from mirastack_sdk.describe import Description, servable
from mirastack_sdk.license import LicenseContext, LicenseQuotas
from mirastack_sdk.plugin import Plugin
from mirastack_sdk.runtime.attempts import Attempts
from mirastack_sdk.runtime.grants import Grants
from mirastack_sdk.runtime.registration import Registration
from mirastack_sdk.runtime.service import PluginService
from mirastack_sdk.runtime.settings import Settings, read_settings
from mirastack_sdk.runtime.stream import StreamLink
from mirastack_sdk.runtime.threads import WORKERS_MAX, Threads, call_author, use

__all__ = ["serve", "serve_async"]

log = logging.getLogger("mirastack_sdk")

KEEPALIVE_S = 30.0
EXIT_REFUSED = 1
EXIT_INTERRUPTED = 130


def serve(plugin: Plugin, *, max_workers: int = WORKERS_MAX) -> None:
    """Serve `plugin` until SIGTERM or SIGINT, then return; `max_workers` sync methods run at a time.

    A plugin that may not serve (quality gate, tenant, address) is logged with everything that is wrong, and
    the process exits with code 1.
    """
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_serve_until_signal(plugin, max_workers))
    except HeadwayError as error:
        log.critical("cannot serve: %s", error)
        sys.exit(EXIT_REFUSED)
    except KeyboardInterrupt:
        log.warning("interrupted a second time, not waiting any longer")
        sys.exit(EXIT_INTERRUPTED)


async def serve_async(
    plugin: Plugin, *, max_workers: int = WORKERS_MAX, stop: asyncio.Event | None = None
) -> None:
    """Serve `plugin` in the running loop until `stop` is set or the caller is cancelled.

    Raises: Invalid when the plugin breaks the quality gate or no tenant is set, Conflict when the address is
    taken.
    """
    description = servable(plugin)
    settings = read_settings(os.environ)
    for warning in (*description.warnings, *settings.warnings):
        log.warning("%s", warning)
    if settings.unsealed_allowed:
        log.warning(
            "MIRASTACK_PLUGIN_UNSEALED=allow: changes run WITHOUT an approval when the engine seals none"
        )
    if settings.telemetry:
        obs.switch_on(os.environ, plugin_name=description.plugin.name)
    process = _Process(plugin, description, settings, max_workers=max_workers)
    try:
        await process.start()
        await (stop or asyncio.Event()).wait()
    finally:
        await process.stop()


async def _serve_until_signal(plugin: Plugin, max_workers: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        log.info("%s received, leaving", number.name)
        loop.remove_signal_handler(number)  # a second one ends the process at once
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    await serve_async(plugin, max_workers=max_workers, stop=stop)


class _Process:
    """Everything that lives as long as the plugin serves."""

    def __init__(
        self, plugin: Plugin, description: Description, settings: Settings, *, max_workers: int
    ) -> None:
        self._plugin = plugin
        self._description = description
        self._settings = settings
        self._instance_id = str(uuid.uuid4())
        self._registering: asyncio.Task[None] | None = None
        self._streaming: asyncio.Task[None] | None = None
        use(Threads(max_workers))
        name = description.plugin.name
        self._channel = self._engine = None
        if settings.engine:
            self._channel = Channel(
                settings.engine,
                metadata=_metadata(name, settings.token),
                keepalive_s=KEEPALIVE_S,
                message_bytes_max=settings.message_bytes_max,
            )
            self._engine = EngineContext(
                self._channel,
                plugin_name=name,
                tenant_id=settings.tenant_id,
                config_ttl_s=settings.config_ttl_s,
            )
        self._attempts = Attempts(
            plugin,
            description,
            grants=Grants(
                description, tenant_id=settings.tenant_id, unsealed_allowed=settings.unsealed_allowed
            ),
            engine=self._engine,
            tenant_id=settings.tenant_id,
            now_ms=lambda: time.time_ns() // 1_000_000,
        )
        self._service = PluginService(
            plugin,
            description,
            self._attempts,
            tenant_id=settings.tenant_id,
            instance_id=self._instance_id,
            config_changed=self._engine.drop_config if self._engine else lambda: None,
        )
        self._host = Host(self._service.methods(), message_bytes_max=settings.message_bytes_max)
        self._registration: Registration | None = None
        self._stream: StreamLink | None = None

    async def start(self) -> None:
        """Listen, then make the engine known to the author, then register in the background.

        Raises: Conflict when the address is taken.
        """
        port = await self._host.start(self._settings.listen)
        sys.stdout.write(f"MIRASTACK_PLUGIN_PORT={port}\n")
        sys.stdout.flush()
        info = self._description.plugin
        log.info(
            "%s %s serves on port %d for tenant %s", info.name, info.version, port, self._settings.tenant_id
        )
        if self._channel is None or self._engine is None:
            log.info("MIRASTACK_ENGINE_ADDR is not set: serving stand-alone, without registration")
            return
        self._plugin._engine_context = self._engine
        await call_author(self._plugin.set_engine_context, self._engine)
        self._registration = Registration(
            self._channel,
            self._request(port),
            heartbeat_s=self._settings.heartbeat_s,
            heartbeat_fixed=self._settings.heartbeat_fixed,
            on_license=self._take_license,
        )
        self._stream = StreamLink(
            self._channel,
            self._registration,
            self._attempts,
            name=info.name,
            instance_id=self._instance_id,
            tenant_id=self._settings.tenant_id,
            on_config=self._service.config_updated,
        )
        self._registering = _background(self._registration.run())
        self._streaming = _background(self._stream.run())

    async def stop(self) -> None:
        """Leave the engine, give what runs a moment, and close.  Takes some 11 s at most, usually none."""
        if self._registration is not None:
            await _cancelled(self._registering)
            await self._registration.leave()
        grace = asyncio.create_task(self._host.stop(STOP_GRACE_S))
        await self._attempts.finish(STOP_GRACE_S)
        if self._stream is not None:
            await self._stream.drained(1.0)
        await _cancelled(self._streaming)
        await grace
        if self._channel is not None:
            await self._channel.close()
        log.info("stopped")

    def _request(self, port: int) -> messages.RegisterRequest:
        info = self._description.info
        return messages.RegisterRequest(
            name=info["name"],
            version=info["version"],
            grpc_addr=self._settings.advertised(port),
            plugin_type=info["type"],
            instance_id=self._instance_id,
            tenant_id=self._settings.tenant_id,
            info=info,
            schema=self._description.schema,
            links=[link.LINK_NAME],
        )

    def _take_license(self, license: License | None) -> None:
        """Keep the licence for the author; a bad one is worth a warning, never a refusal."""
        if license is None:
            return
        quotas = license.quotas
        known = LicenseContext(
            active=license.active,
            effective_tier=license.effective_tier,
            issued_tier=license.issued_tier,
            grace_mode=license.grace_mode,
            expires_at=license.expires_at,
            org_id=license.org_id,
            site_id=license.site_id,
            region=license.region,
            region_kind=license.region_kind,
            quotas=LicenseQuotas(
                quotas.max_tenants, quotas.max_integration_types, quotas.max_agentic_sessions_per_day
            ),
        )
        if known == self._plugin._engine_license_context:
            return
        self._plugin._engine_license_context = known
        level = logging.INFO if known.active and not known.grace_mode else logging.WARNING
        log.log(
            level,
            "engine licence: tier %s, active %s, grace %s",
            known.effective_tier,
            known.active,
            known.grace_mode,
        )


def _metadata(name: str, token: str) -> Mapping[str, str]:
    """What every call to the engine carries; a name that HTTP cannot carry is left out."""
    wire = {PLUGIN_WIRE_KEY: "canonical", **({PLUGIN_TOKEN_KEY: token} if token else {})}
    return {PLUGIN_NAME_KEY: name, **wire} if name.isascii() and name.isprintable() else wire


def _background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that must never end by itself; if it does, that is a defect and the process says so."""
    task = asyncio.create_task(work)

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            log.critical("a background task failed", exc_info=error)

    task.add_done_callback(ended)
    return task


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it has ended."""
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
