"""Traces and metrics, under the names that dashboards for agents know.

Everything here does nothing unless the process uses OpenTelemetry: through `MIRASTACK_OTEL_ENABLED=true`, or
because the author set it up.  Importing this module does not import it.

Source: plugin protocol, sections 9 and 21.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
import time
from collections.abc import Mapping
from functools import cache
from types import TracebackType
from typing import Any, Self

from mirastack_sdk.enums import Permission, PermissionLike, as_permission

__all__ = ["ActionSpan", "start_action"]

log = logging.getLogger("mirastack_sdk")

INSTRUMENT = "mirastack_sdk"
EXPORT_INTERVAL_MS = 60_000
COMPONENT_KIND = "agent"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, None: 1}


class _Span:
    """A span of OpenTelemetry, or nothing when that is not installed.  For `with`."""

    def __init__(self, name: str, attributes: Mapping[str, Any]) -> None:
        api = _api("opentelemetry.trace")
        self._manager = None if api is None else api.get_tracer(INSTRUMENT).start_as_current_span(name)
        self._span: Any = None
        self._attributes = attributes

    def __enter__(self) -> Self:
        if self._manager is not None:
            self._span = self._manager.__enter__()
            self.set(self._attributes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._manager is not None:
            self._manager.__exit__(kind, error, trace)

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Note attributes."""
        if self._span is not None:
            self._span.set_attributes(dict(attributes))


class ExecuteSpan(_Span):
    """The SDK's own span around one call of an action."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.set({"plugin.success": False})
        super().__exit__(kind, error, trace)

    def succeeded(self) -> None:
        """The call gave a result."""
        self.set({"plugin.success": True})


def execute_span(action: str, execution_id: str) -> ExecuteSpan:
    """The span `plugin.execute`."""
    return ExecuteSpan("plugin.execute", {"plugin.action": action, "plugin.execution_id": execution_id})


class ActionSpan(_Span):
    """An author's span around the work of an action, with its counts.

        with obs.start_action("metrics", "query", Permission.READ) as span:
            span.input_bytes = len(query)
            ...

    An exception makes the outcome `error`; so does setting `outcome`.  Works with `async with` too.
    """

    def __init__(self, plugin: str, action: str, permission: PermissionLike, tenant_id: str) -> None:
        super().__init__(
            "agent.action",
            {
                "agent.plugin": plugin,
                "agent.action": action,
                "agent.permission": as_permission(permission).name,
            },
        )
        self.outcome = "ok"
        self.input_bytes = 0
        self.output_bytes = 0
        self._labels = {"plugin": plugin, "action": action, "tenant_id": tenant_id}
        self._started_s = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.outcome = "error"
        latency_s = time.perf_counter() - self._started_s
        self.set(
            {
                "agent.outcome": self.outcome,
                "agent.input_bytes": self.input_bytes,
                "agent.output_bytes": self.output_bytes,
                "agent.latency_ms": latency_s * 1000,
            }
        )
        super().__exit__(kind, error, trace)
        instruments = _instruments()
        if instruments is not None:
            labels = self._labels | {"outcome": self.outcome, "mirastack.component_kind": COMPONENT_KIND}
            counter, histogram = instruments
            counter.add(1, labels)
            histogram.record(latency_s, labels)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def start_action(
    plugin: str, action: str, permission: PermissionLike = Permission.READ, *, tenant_id: str = ""
) -> ActionSpan:
    """A span `agent.action` and its metrics, for `with` or `async with`."""
    return ActionSpan(plugin, action, permission, tenant_id)


def switch_on(environ: Mapping[str, str], *, plugin_name: str) -> None:
    """Send traces, metrics and logs to the collector that the usual OTEL_* variables name.

    Without the libraries this warns and does nothing else.
    """
    try:
        _export(environ, plugin_name)
    except ImportError as error:
        log.warning(
            "MIRASTACK_OTEL_ENABLED is true but %s is missing; install opentelemetry-sdk and "
            "opentelemetry-exporter-otlp to send telemetry",
            error.name,
        )


def interval_ms(text: str) -> int:
    """A duration such as 500ms, 30s, 2m, 1h or plain milliseconds; 60 s for what is none of these."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return EXPORT_INTERVAL_MS
    return max(1, round(float(match[1]) * _UNIT_MS[match[2]])) if float(match[1]) else EXPORT_INTERVAL_MS


def _export(environ: Mapping[str, str], plugin_name: str) -> None:
    """Raises: ImportError when a library is missing."""
    load = importlib.import_module
    otlp = "opentelemetry.exporter.otlp.proto.grpc."
    span_exporter = load(otlp + "trace_exporter").OTLPSpanExporter()
    metric_exporter = load(otlp + "metric_exporter").OTLPMetricExporter()
    log_exporter = load(otlp + "_log_exporter").OTLPLogExporter()
    sdk_trace, sdk_metrics, sdk_logs = (
        load(f"opentelemetry.sdk.{name}") for name in ("trace", "metrics", "_logs")
    )
    resource = load("opentelemetry.sdk.resources").Resource.create(
        {
            "service.name": environ.get("OTEL_SERVICE_NAME") or plugin_name,
            "service.version": environ.get("OTEL_SERVICE_VERSION") or "dev",
        }
    )
    sampling = load("opentelemetry.sdk.trace.sampling")
    sampler = sampling.ParentBased(
        sampling.TraceIdRatioBased(_share(environ.get("OTEL_TRACES_SAMPLER_ARG", "")))
    )
    traces = sdk_trace.TracerProvider(resource=resource, sampler=sampler)
    traces.add_span_processor(load("opentelemetry.sdk.trace.export").BatchSpanProcessor(span_exporter))
    reader = load("opentelemetry.sdk.metrics.export").PeriodicExportingMetricReader(
        metric_exporter,
        export_interval_millis=interval_ms(environ.get("MIRASTACK_OTEL_METRIC_EXPORT_INTERVAL", "")),
    )
    logs = sdk_logs.LoggerProvider(resource=resource)
    logs.add_log_record_processor(
        load("opentelemetry.sdk._logs.export").BatchLogRecordProcessor(log_exporter)
    )
    load("opentelemetry.trace").set_tracer_provider(traces)
    load("opentelemetry.metrics").set_meter_provider(
        sdk_metrics.MeterProvider(resource=resource, metric_readers=[reader])
    )
    load("opentelemetry._logs").set_logger_provider(logs)
    logging.getLogger().addHandler(sdk_logs.LoggingHandler(logger_provider=logs))


def _share(text: str) -> float:
    """The share of traces to keep, from 0 to 1; all when `text` does not say."""
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


def _api(name: str) -> Any:
    """A module of OpenTelemetry, or None when nothing in this process has imported it.

    Whoever wants telemetry has imported it, so an agent without pays no import.
    """
    return sys.modules.get(name)


def _instruments() -> tuple[Any, Any] | None:
    api = _api("opentelemetry.metrics")
    return None if api is None else _made_instruments(api)


@cache
def _made_instruments(api: Any) -> tuple[Any, Any]:
    meter = api.get_meter(INSTRUMENT)
    return (
        meter.create_counter("mirastack_agent_actions_total"),
        meter.create_histogram("mirastack_agent_action_latency_seconds", unit="s"),
    )
