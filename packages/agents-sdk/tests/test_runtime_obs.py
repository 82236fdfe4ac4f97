"""Telemetry has the names that dashboards know, and is nothing where OpenTelemetry is not."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from mirastack_sdk import obs
from mirastack_sdk.enums import Permission


class Tracer:
    """As much of OpenTelemetry's trace and metrics modules as is used."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, Any]]] = []
        self.points: list[tuple[str, float, dict[str, Any]]] = []

    def get_tracer(self, name: str) -> Tracer:
        return self

    def start_as_current_span(self, name: str) -> Tracer:
        self.spans.append((name, {}))
        return self

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *exc: object) -> None:
        return

    def set_attributes(self, attributes: dict[str, Any]) -> None:
        self.spans[-1][1].update(attributes)

    def get_meter(self, name: str) -> Tracer:
        return self

    def create_counter(self, name: str) -> Any:
        return SimpleNamespace(add=lambda value, labels: self.points.append((name, value, labels)))

    def create_histogram(self, name: str, unit: str) -> Any:
        return SimpleNamespace(record=lambda value, labels: self.points.append((name, value, labels)))


def _break() -> None:
    raise KeyError("missing")


@pytest.fixture
def tracer(monkeypatch: pytest.MonkeyPatch) -> Tracer:
    fake = Tracer()
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", fake)
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", fake)
    return fake


def test_an_authors_span_has_its_attributes_and_metrics(tracer: Tracer) -> None:
    with obs.start_action("metrics", "query", Permission.READ, tenant_id="t") as span:
        span.input_bytes = 5

    (name, attributes), (counter, histogram) = tracer.spans[0], tracer.points
    assert name == "agent.action"
    assert attributes.pop("agent.latency_ms") >= 0
    assert attributes == {
        "agent.plugin": "metrics",
        "agent.action": "query",
        "agent.permission": "READ",
        "agent.outcome": "ok",
        "agent.input_bytes": 5,
        "agent.output_bytes": 0,
    }
    labels: dict[str, Any] = {
        "plugin": "metrics",
        "action": "query",
        "outcome": "ok",
        "tenant_id": "t",
        "mirastack.component_kind": "agent",
    }
    assert [counter[0], counter[2]] == ["mirastack_agent_actions_total", labels]
    assert [histogram[0], histogram[2]] == ["mirastack_agent_action_latency_seconds", labels]


def test_an_exception_makes_the_outcome_an_error(tracer: Tracer) -> None:
    with pytest.raises(KeyError), obs.start_action("metrics", "query"):
        _break()

    assert tracer.spans[0][1]["agent.outcome"] == "error"


def test_the_sdks_own_span_says_whether_the_call_succeeded(tracer: Tracer) -> None:
    with obs.execute_span("query", "run-1") as span:
        span.succeeded()
    with pytest.raises(KeyError), obs.execute_span("query", "run-2"):
        _break()

    assert tracer.spans == [
        (
            "plugin.execute",
            {"plugin.action": "query", "plugin.execution_id": "run-1", "plugin.success": True},
        ),
        (
            "plugin.execute",
            {"plugin.action": "query", "plugin.execution_id": "run-2", "plugin.success": False},
        ),
    ]


def test_nothing_imports_opentelemetry_and_spans_work_without_it() -> None:
    program = (
        "import sys, mirastack_sdk.serve\n"
        "from mirastack_sdk import obs\n"
        "with obs.start_action('p', 'a'): pass\n"
        "sys.exit('opentelemetry' in sys.modules)\n"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_missing_libraries_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)

    with caplog.at_level(logging.WARNING):
        obs.switch_on({}, plugin_name="sample")

    assert "opentelemetry-exporter-otlp" in caplog.text


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("500ms", 500),
        ("30s", 30_000),
        ("2m", 120_000),
        ("1h", 3_600_000),
        ("250", 250),
        ("", 60_000),
        ("soon", 60_000),
        ("0", 60_000),
    ],
)
def test_intervals_take_units(text: str, milliseconds: int) -> None:
    assert obs.interval_ms(text) == milliseconds
