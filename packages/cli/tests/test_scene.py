"""The fold of what was streamed: what a watcher knows."""

from __future__ import annotations

from packages.cli.tests.scenes import BEGIN_MS, completed, dispatched, finished, gated, item, scene, told


def test_a_step_is_timed_from_its_first_attempt_to_its_end() -> None:
    found = told(scene("a"), dispatched("a"), at_ms=100)
    told(
        found,
        item("retry_scheduled", "a", "retry_wait", attempt=1, error={"code": "x", "message": "away"}),
        at_ms=200,
    )

    assert (found.state("a").status, found.state("a").note) == ("retry_wait", "away")

    told(found, dispatched("a", attempt=2), at_ms=300)
    told(found, completed("a"), at_ms=400)
    state = found.state("a")
    assert (state.started_ms - BEGIN_MS, state.finished_ms - BEGIN_MS) == (100, 400)


def test_it_waits_for_approval_only_when_nothing_else_goes_on() -> None:
    found = told(scene("a, b"), dispatched("a"), gated("b"), at_ms=0)
    assert (found.status, found.rests) == ("running", False)

    told(found, completed("a"), at_ms=1)
    assert (found.status, found.rests) == ("waiting_approval", True)

    told(found, item("decided", "b", "queued", approval="apr-1"), at_ms=2)
    assert (found.status, found.open_gates) == ("running", {})


def test_a_question_keeps_its_step_running_and_its_gate_open() -> None:
    found = told(scene("a"), dispatched("a"), at_ms=0)
    told(found, item("asked", "a", approval="apr-9"), at_ms=1)

    assert found.open_gates == {"apr-9": "a"}
    assert found.state("a").status == "running"

    told(found, item("decided", "a", approval="apr-9"), at_ms=2)
    assert not found.open_gates


def test_instances_are_counted_below_their_step() -> None:
    found = told(scene("each"), item("scattered", "each", "running"), at_ms=0)
    found.count([{"id": "each"}, *({"id": f"each[{n}]"} for n in range(4))])
    told(found, completed("each[0]"), dispatched("each[1]"), gated("each[2]"), at_ms=1)

    share = found.share("each")
    assert share is not None
    assert (share.done, share.total) == (1, 4)
    assert found.standing("each") == "gated"
    assert found.done == 0


def test_a_step_whose_instances_wait_for_people_rests_itself() -> None:
    found = told(scene("each"), item("scattered", "each", "running"), gated("each[0]"), at_ms=0)
    found.count([{"id": "each[0]"}])

    assert found.rests


def test_the_end_overtakes_what_is_open() -> None:
    found = told(scene("a, b after a"), dispatched("a"), at_ms=0)
    told(found, finished("cancelled"), at_ms=500)

    assert found.ended and not found.open_gates
    assert [found.state(step).status for step in ("a", "b")] == ["cancelled", "cancelled"]


def test_signs_of_life_are_not_news() -> None:
    found = told(scene("a"), dispatched("a"), item("beaten", "a"), at_ms=0)

    assert [text for _, text in found.recent] == ["a: dispatched"]
