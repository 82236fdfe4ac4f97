"""The link to the workers of bundles: each attempt is a process, or a turn of a warm one.

Source: bundle contract, section 11; the core decides on deadlines, retries and pools.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headway_wire.errors import HeadwayError

from headway.core.plan import BUNDLE
from headway.ports import Clock, Delivery, Reports, Result
from headway.workers import answer
from headway.workers.answer import Place
from headway.workers.beacons import KIND, MISSED_KIND, Beacons
from headway.workers.command import command_line
from headway.workers.environment import environment, facts, inherited, own_rows, passed
from headway.workers.errand import Errand
from headway.workers.keeper import GRACE_MS, Ended, Keeper, Order, Ward
from headway.workers.staging import CannotStage, workdir
from headway.workers.stations import FOLDER, KNOWN_WORKERS, WORKER, Station, stations_of
from headway.workers.warm import WarmWorkers
from headway.workers.warm_process import Kind, Turn, turn_frame

log = logging.getLogger("headway.workers")

BUNDLES_KEPT_MAX = 256
OUTPUT_BYTES_MAX = 64 * 1024 * 1024
"""No node gets more of its output kept, whatever its `max_output_bytes`."""
CLOSE_S = GRACE_MS / 1000 + 1.0

STOPPED = "it was stopped"
LOST = "what watched over its process was killed"
EARLIER = "it ran beside an engine that has ended, and ended with it"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the engine's operator decides about workers.

    temp_dir: where staging folders are made (`MN_TEMP_DIR`).  max_command_length: characters
    (`MN_MAX_COMMAND_LENGTH`).  max_output_bytes: of stdout, and of stderr (`MN_MAX_ARTIFACT_BYTES`).
    python: the interpreter that runs for ``python`` (`MN_WORKER_PYTHON`).  environ: the server's environment.
    node_name: this machine, as records name it.  warm_processes_max: 0 means that everything runs cold.
    known_workers: the workers that may run warm, see `stations`.
    """

    temp_dir: Path
    max_command_length: int = 32_768
    max_output_bytes: int = 1_048_576
    python: str = sys.executable
    environ: Mapping[str, str] = field(default_factory=dict)
    node_name: str = "local"
    warm_processes_max: int = 16
    known_workers: frozenset[str] = KNOWN_WORKERS


@dataclass(slots=True)
class _Attempt:
    """One delivery, from the moment it came to its result.

    ward: its own process, when it runs cold.  warm: whether a warm process has it, or will.
    """

    delivery: Delivery
    ward: Ward | None = None
    warm: bool = False
    stopped: bool = False
    silent: bool = False
    beacons: Beacons | None = None
    timer: asyncio.TimerHandle | None = None


class WorkerLink:
    """A `ports.Link` for calls whose plugin begins with ``@bundle:``.  `attach` comes before anything else.

    bundle: the folder of a bundle by its digest, with manifest.json and payloads/.
    """

    def __init__(self, bundle: Callable[[str], Path], clock: Clock, settings: WorkerSettings) -> None:
        self._bundle, self._clock, self._settings = bundle, clock, settings
        self._row_1 = inherited(settings.environ)
        self._keeper = Keeper(settings.temp_dir)
        self._empty = asyncio.Event()
        self._warm = WarmWorkers(
            self._keeper, processes_max=settings.warm_processes_max, on_gone=self._empty.set
        )
        self._stations: dict[str, dict[str, Station]] = {}
        self._loading: dict[str, list[_Attempt]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._attempts: dict[str, _Attempt] = {}
        self._results: list[Result] = []
        self._closed = False

    def attach(self, reports: Reports) -> None:
        """Say who hears of results; called on the engine's event loop."""
        self._reports = reports
        self._loop = asyncio.get_running_loop()

    @property
    def keeper_pid(self) -> int:
        """The process that keeps workers, or 0 when none does."""
        return self._keeper.pid

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Start workers."""
        for delivery in deliveries:
            if delivery.id in self._attempts:
                continue
            attempt = self._attempts[delivery.id] = _Attempt(delivery)
            digest = delivery.call.plugin.removeprefix(BUNDLE)
            stations = self._stations.get(digest)
            if stations is not None:
                self._place(attempt, stations)
            elif digest in self._loading:
                self._loading[digest].append(attempt)
            else:
                self._loading[digest] = [attempt]
                task = self._loop.create_task(self._load(digest))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def stop(self, attempts: Sequence[str]) -> None:
        """End these workers: SIGTERM to all of their group, then SIGKILL to everything they started."""
        for id in attempts:
            attempt = self._attempts.get(id)
            if attempt is None or attempt.stopped:
                continue
            attempt.stopped = True
            if attempt.ward is not None:
                attempt.ward.stop()
            elif attempt.warm:
                self._warm.stop(id)
            elif attempt.timer is not None:
                self._lose(attempt, STOPPED)

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """What this process does not run died with an earlier one.  What is being stopped is lost soon."""
        for delivery in deliveries:
            attempt = self._attempts.get(delivery.id)
            if attempt is None:
                self._reports.lose([delivery.id], EARLIER)
            elif not attempt.stopped:
                self._reports.probed(delivery.id, "running")

    async def close(self) -> None:
        """End all workers and remove their folders; nothing more is reported.  A second call does nothing."""
        self._closed = True
        for attempt in list(self._attempts.values()):
            self._cancel_timer(attempt)
            if attempt.ward is not None:
                attempt.ward.stop()
            elif not attempt.warm:
                self._forget(attempt)
        self._warm.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._attempts or self._warm.count:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            log.warning("workers do not end; they are killed")
        for attempt in self._attempts.values():
            if attempt.ward is not None:
                attempt.ward.hang_up()
        await self._keeper.close()
        for task in self._tasks:
            task.cancel()

    # Beginning ------------------------------------------------------------------------------------

    async def _load(self, digest: str) -> None:
        """Read a bundle, on a thread, and begin what waits for it."""
        try:
            stations = await asyncio.to_thread(
                lambda: stations_of(self._bundle(digest), self._settings.known_workers)
            )
        except (HeadwayError, OSError) as error:
            for attempt in self._loading.pop(digest):
                self._fail(attempt, f"bundle {digest[:12]} cannot be run: {error}")
            return
        while len(self._stations) >= BUNDLES_KEPT_MAX:
            del self._stations[next(iter(self._stations))]
        self._stations[digest] = stations
        for attempt in self._loading.pop(digest):
            self._place(attempt, stations)

    def _place(self, attempt: _Attempt, stations: Mapping[str, Station]) -> None:
        if self._closed or attempt.stopped:
            self._lose(attempt, STOPPED)
            return
        delivery = attempt.delivery
        station = stations.get(delivery.call.action)
        if station is None:
            self._fail(attempt, f"the bundle has no executor '{delivery.call.action}'")
            return
        delay_ms = station.executor.startup_delay_ms
        if delay_ms and delivery.turn <= 1 and delivery.attempt <= 1:
            attempt.timer = self._loop.call_later(delay_ms / 1000, self._begin, attempt, station)
        else:
            self._begin(attempt, station)

    def _begin(self, attempt: _Attempt, station: Station) -> None:
        attempt.timer = None
        errand = Errand(attempt.delivery, station.node, station.executor, self._clock.now_ms())
        try:
            _ = errand.files
        except (TypeError, ValueError) as error:
            self._fail(attempt, f"the message cannot be written for a worker: {error}")
            return
        if station.warm:
            self._begin_warm(attempt, station, errand)
        else:
            self._begin_cold(attempt, station, errand)

    # Cold -----------------------------------------------------------------------------------------

    def _begin_cold(self, attempt: _Attempt, station: Station, errand: Errand) -> None:
        """Give the attempt a process of its own."""
        place = Place("", {})

        def make(base: Path) -> Order:
            nonlocal place
            order, place = self._order(station, errand, base)
            return order

        attempt.warm = False
        if station.executor.beacon.enabled:
            attempt.beacons = Beacons(errand, began_ms=errand.now_ms)
        try:
            attempt.ward = self._keeper.start(
                make,
                on_ended=lambda ended: self._ended(attempt, errand, ended, place),
                on_beacon=lambda line: self._heard(attempt, line),
            )
        except CannotStage as error:
            self._fail(attempt, str(error))
        except OSError as error:
            self._fail(attempt, f"no process can be started: {error}", retryable=True)
        else:
            if attempt.beacons is not None:
                self._note(attempt, "started")
                self._watch(attempt, attempt.beacons)

    def _order(self, station: Station, errand: Errand, base: Path) -> tuple[Order, Place]:
        executor, settings = station.executor, self._settings
        root = station.node.config.get("sandbox_upload_path")
        folder = workdir(executor.workdir, str(base), root=root if isinstance(root, str) else "")
        given = facts(errand, base=str(base), workdir=folder)
        env = environment(errand, given, server=settings.environ, row_1=self._row_1)
        argv = command_line(
            executor.command, given, python=settings.python, chars_max=settings.max_command_length
        )
        order = Order(
            argv,
            env,
            folder,
            str(station.payloads),
            station.uploads,
            errand.files,
            self._output_bytes_max(station),
            executor.timeout_ms,
            prefix=executor.beacon.prefix,
        )
        return order, Place(str(base), env, settings.node_name, station.known)

    def _output_bytes_max(self, station: Station) -> int:
        return min(station.executor.max_output_bytes or self._settings.max_output_bytes, OUTPUT_BYTES_MAX)

    # Warm -----------------------------------------------------------------------------------------

    def _begin_warm(self, attempt: _Attempt, station: Station, errand: Errand) -> None:
        """Give the attempt a turn of a warm process."""
        kind = station.kinds.get(attempt.delivery.tenant)
        if kind is None:
            kind = station.kinds[attempt.delivery.tenant] = self._kind(attempt.delivery, station)
        place = Place("", {})

        def make(base: str) -> bytes:
            nonlocal place
            given = facts(errand, base=base, workdir=f"{base}/{FOLDER}")
            own = own_rows(errand, given, server=self._settings.environ)
            place = Place(base, ChainMap(own, kind.env), self._settings.node_name, station.known)
            return turn_frame(own, errand.files, self._output_bytes_max(station))

        attempt.warm = True
        self._warm.take(
            kind,
            Turn(
                errand.id,
                make,
                station.executor.timeout_ms,
                lambda ended: self._ended(attempt, errand, ended, place),
                lambda: self._begin_cold(attempt, station, errand),
            ),
        )

    def _kind(self, delivery: Delivery, station: Station) -> Kind:
        own, asked = station.own_environment, station.executor.pass_env
        uploads = tuple(station.uploads)
        key = (delivery.tenant, station.code, tuple(sorted(own.items())), asked, uploads)
        return Kind(
            key,
            self._settings.python,
            WORKER,
            str(station.payloads),
            uploads,
            self._row_1 | own | passed(asked, self._settings.environ),
            FOLDER,
            self._settings.max_output_bytes,
        )

    # Beacons --------------------------------------------------------------------------------------

    def _watch(self, attempt: _Attempt, beacons: Beacons) -> None:
        """Look again when the runtime speaks next, or when the worker will have been silent too long."""
        now_ms = self._clock.now_ms()
        missed_ms = 0 if attempt.silent else beacons.missed_at_ms()
        wait_ms = beacons.interval_ms
        if missed_ms and missed_ms - now_ms < wait_ms:
            attempt.timer = self._loop.call_later(max(missed_ms - now_ms, 1) / 1000, self._missed, attempt)
        else:
            attempt.timer = self._loop.call_later(wait_ms / 1000, self._beat, attempt)

    def _beat(self, attempt: _Attempt) -> None:
        assert attempt.beacons is not None
        self._note(attempt, "working")
        self._watch(attempt, attempt.beacons)

    def _heard(self, attempt: _Attempt, line: bytes) -> None:
        if attempt.beacons is not None and not self._closed:
            self._reports.note(
                attempt.delivery.id, KIND, attempt.beacons.agent(line, now_ms=self._clock.now_ms())
            )

    def _missed(self, attempt: _Attempt) -> None:
        """It may be time to give the worker up."""
        assert attempt.beacons is not None
        now_ms = self._clock.now_ms()
        if now_ms >= attempt.beacons.missed_at_ms() and attempt.ward is not None:
            attempt.silent = True
            payload = attempt.beacons.runtime("missed", now_ms=now_ms)
            self._reports.note(attempt.delivery.id, MISSED_KIND, payload)
            if attempt.beacons.fails_attempt:
                attempt.ward.stop()
                return
        self._watch(attempt, attempt.beacons)

    def _note(self, attempt: _Attempt, status: str) -> None:
        assert attempt.beacons is not None
        payload = attempt.beacons.runtime(status, now_ms=self._clock.now_ms())
        self._reports.note(attempt.delivery.id, KIND, payload)

    # Ending ---------------------------------------------------------------------------------------

    def _ended(self, attempt: _Attempt, errand: Errand, ended: Ended | None, place: Place) -> None:
        """A worker has ended, and with it everything that it started."""
        self._cancel_timer(attempt)
        if self._closed:
            self._forget(attempt)
        elif attempt.stopped:
            self._lose(attempt, STOPPED)
        elif ended is None:
            self._lose(attempt, LOST)
        elif attempt.silent and ended.stopped:
            error = answer.NO_BEACON_TEXT
            self._report(attempt, answer.failed_as(errand, ended, place, code="worker_timeout", error=error))
        else:
            if attempt.beacons is not None:
                self._note(attempt, "completed")
            self._report(attempt, answer.result_of(errand, ended, place))

    def _fail(self, attempt: _Attempt, text: str, *, retryable: bool = False) -> None:
        """It could not even begin."""
        if self._closed:
            self._forget(attempt)
            return
        again = retryable or answer.is_transient(text)
        shown = text[: answer.LINE_CHARS_MAX]
        self._report(attempt, Result(attempt.delivery.id, None, ("worker_start_failed", shown, again)))

    def _report(self, attempt: _Attempt, result: Result) -> None:
        """Results that come together are reported together."""
        self._forget(attempt)
        self._results.append(result)
        if len(self._results) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        results, self._results = self._results, []
        if not self._closed:
            self._reports.report(results)

    def _lose(self, attempt: _Attempt, reason: str) -> None:
        self._cancel_timer(attempt)
        self._forget(attempt)
        if not self._closed:
            self._reports.lose([attempt.delivery.id], reason)

    def _forget(self, attempt: _Attempt) -> None:
        self._attempts.pop(attempt.delivery.id, None)
        if self._closed:
            self._empty.set()

    def _cancel_timer(self, attempt: _Attempt) -> None:
        if attempt.timer is not None:
            attempt.timer.cancel()
            attempt.timer = None
