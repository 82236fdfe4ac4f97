"""Events as lines: whom they concern, how much they matter, and what they say."""

from __future__ import annotations

import click
import pytest
from headway_cli.mn import story

from packages.cli.tests.jobs import BEGIN_MS, Object, event


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (event("message_queued"), "debug"),
        (event("job_running"), "info"),
        (event("workflow_step_completed"), "info"),
        (event("workflow_step_attempt_retry_scheduled"), "warning"),
        (event("agent_restart_deferred"), "warning"),
        (event("backpressure_state"), "warning"),
        (event("workflow_step_failed"), "error"),
        (event("workflow_step_failed", handled=True), "warning"),
        (event("workflow_step_failed", payload={"handled": True}), "warning"),
        (event("job_failed"), "error"),
        (event("dead_letter"), "error"),
        (event("page_done", payload={"level": "WARNING"}), "warning"),
        (event("page_done", payload={"level": "loud"}), "info"),
        (event("page_done", payload="text"), "info"),
    ],
)
def test_an_event_has_a_level(told: Object, level: str) -> None:
    assert story.level(told) == level


def test_a_line_tells_when_who_what_and_why() -> None:
    told = event("workflow_step_failed", 1_500, step_id="write", attempt=2, reason="no disk", status="failed")

    assert click.unstyle(story.line(told, BEGIN_MS)) == (
        "   1.5s  write       workflow_step_failed  no disk  attempt=2"
    )


def test_what_a_worker_tells_is_shown_without_what_the_engine_added() -> None:
    told = event(
        "page_done",
        agent="fetch",
        payload={"url": "http://x", "words": 5, "workflow_run_id": "r", "attempt_id": "a", "step_id": "get"},
    )

    assert story.line(told, BEGIN_MS) == "    0ms  get         page_done  url=http://x  words=5"


def test_an_event_of_the_job_itself_says_so() -> None:
    assert "  job         job_running" in story.line(event("job_running"), BEGIN_MS)


def test_what_a_worker_tells_cannot_steer_the_terminal() -> None:
    told = event("x\x1b[2J", agent="a\x1b]0;y", payload={"k\x1b": "v\x07", "message": "m\nn"})

    text = story.line(told, BEGIN_MS)

    assert "\x1b" not in text and "\x07" not in text and "\n" not in text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("no disk", "no disk"),
        ({"code": "x", "message": "no disk"}, "no disk"),
        ({"code": "x", "desc": "short", "details": {"message": "the whole text"}}, "the whole text"),
        ({"exit_code": 3, "error": "no disk"}, "no disk"),
        ({"exit_code": 3}, '{"exit_code":3}'),
        ({}, ""),
        (None, ""),
        ("", ""),
    ],
)
def test_a_failure_says_why_whatever_its_shape(error: object, text: str) -> None:
    assert story.error_text(error) == text
