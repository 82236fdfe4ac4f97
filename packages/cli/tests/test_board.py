"""A job as a scene: its steps and agents, what waits for them, and how they hang together."""

from __future__ import annotations

from typing import Any

from headway_cli.draw.canvas import plain
from headway_cli.draw.frame import frame
from headway_cli.draw.scene import Scene
from headway_cli.mn.board import forward, renew, scene_of
from headway_cli.mn.history import History
from hypothesis import given
from hypothesis import strategies as st

from packages.cli.tests.jobs import BEGIN_MS, Object, agent, event, job


def shown(found: Object, *events: Object, width: int = 100, height: int = 30) -> str:
    return plain(frame(scene(found, *events), width=width, height=height, now_ms=BEGIN_MS + 5_000))


def scene(found: Object, *events: Object) -> Scene:
    made = scene_of(found["job"]["job_id"], found)
    history = History()
    for one in events:
        history.take(one)
    renew(made, found, history)
    return made


def test_a_message_graph_shows_what_each_agent_is_what_it_has_done_and_what_waits() -> None:
    agents = [
        agent("fetch", status="running", depth=57, done=99, pressure="pressured"),
        agent("parse", status="ready", done=3),
        agent("sink", "aggregator"),
    ]

    assert shown(job(agents=agents, edges="fetch>parse, parse>sink")).splitlines() == [
        " demo  ⠋ running  3 agents  102 messages  ≡57 waiting  5.0s  job-1",
        "",
        " ╭───────────────────╮   ╭──────────────────╮   ╭───────────────╮",
        " │ ⠋ fetch           │──▶│ ◌ parse          │──▶│ ○ sink        │",
        " │ executor  99 done │   │ executor  3 done │   │ aggregator    │",
        " ╰─ ≡57 ─────────────╯   ╰──────────────────╯   ╰───────────────╯",
    ]


def test_a_circle_of_messages_is_drawn_forward_and_named_where_it_leads_back() -> None:
    agents = [agent("fetch", done=1), agent("retry", "router", done=1)]

    text = shown(job(agents=agents, edges="fetch>retry, retry>fetch"))

    assert "─▶" in text
    assert "↺ fetch" in text


def test_an_edge_beside_a_longer_way_is_drawn_in_a_message_graph() -> None:
    agents = [agent("a"), agent("b"), agent("c")]

    assert scene(job(agents=agents, edges="a>b, b>c, a>c")).exact
    assert not scene(job(agents=agents, steps={"a": {}})).exact


def test_a_ledger_shows_its_steps_with_times_from_their_events() -> None:
    steps: dict[str, Object] = {
        "plan": {"status": "completed", "attempt_count": 1},
        "write": {"status": "running", "attempt_count": 2},
        "review": {"status": "blocked"},
    }
    agents = [agent(id, depth=4 if id == "review" else 0) for id in steps]
    told = [
        event("workflow_step_attempt_started", 500, step_id="plan", attempt=1),
        event("workflow_step_completed", 2_000, step_id="plan"),
        event("workflow_step_attempt_started", 2_000, step_id="write", attempt=1),
        event("workflow_step_attempt_retry_scheduled", 2_500, step_id="write"),
        event("workflow_step_attempt_started", 3_000, step_id="write", attempt=2),
    ]

    text = shown(job(agents=agents, steps=steps, step_edges="plan>write, write>review"), *told)

    assert text.splitlines() == [
        " demo  ⠋ running  1/3 steps  ≡4 waiting  5.0s  job-1",
        "",
        " ╭───────────────╮   ╭───────────────╮   ╭───────────────╮",
        " │ ✔ plan        │──▶│ ⠋ write       │──▶│ ◌ review      │",
        " │ executor      │   │ executor      │   │ executor      │",
        " ╰──────── 1.5s ─╯   ╰─ ↻2 ─── 3.0s ─╯   ╰─ ≡4 ──────────╯",
    ]


def test_an_agent_beside_the_steps_is_drawn_where_messages_reach_it() -> None:
    agents = [agent("plan"), agent("write"), agent("sink", "aggregator", depth=2)]
    steps: dict[str, Object] = {"plan": {"status": "completed"}, "write": {}}

    made = scene(job(agents=agents, edges="plan>write, write>sink", steps=steps, step_edges="plan>write"))

    assert made.nodes["sink"].after == ("write",)
    assert made.nodes["write"].after == ("plan",)
    assert made.states["sink"].queued == 2


def test_instances_in_the_ledger_share_the_box_of_their_step() -> None:
    steps: dict[str, Object] = {
        "split": {"status": "completed"},
        "score": {"status": "skipped", "terminal_outcome": "mapped"},
        "score[0]": {"status": "completed", "agent_ids": ["score"]},
        "score[1]": {"status": "running", "agent_ids": ["score"]},
        "score[2]": {"status": "pending", "agent_ids": ["score"]},
    }
    edges = "split>score[0], split>score[1], split>score[2]"

    made = scene(job(agents=[agent("split"), agent("score", depth=1)], steps=steps, step_edges=edges))

    assert set(made.nodes) == {"split", "score"}
    share = made.share("score")
    assert share is not None and (share.done, share.total) == (1, 3)
    assert made.standing("score") == "running"
    assert made.nodes["score"].after == ("split",)


def test_a_failed_instance_shows_on_its_step_though_others_ended_with_the_job() -> None:
    steps: dict[str, Object] = {"score": {"status": "cancelled"}, "best": {"status": "cancelled"}}
    told = [
        event("workflow_step_scattered", 10, step_id="score", instance_ids=["score[0]", "score[1]"]),
        event("workflow_step_attempt_retry_scheduled", 20, step_id="score[1]"),
        event("workflow_step_failed", 30, step_id="score[0]"),
    ]

    made = scene(
        job(status="failed", agents=[agent("score"), agent("best")], steps=steps, step_edges="score>best"),
        *told,
    )

    assert (made.standing("score"), made.standing("best")) == ("failed", "cancelled")


def test_agents_that_had_nothing_to_do_are_not_shown_as_done() -> None:
    agents = [agent("a", done=1, status="completed"), agent("b", error="no"), agent("c", status="completed")]

    made = scene(job(status="failed", agents=agents, edges="a>b, b>c"))

    assert (made.standing("a"), made.standing("c")) == ("completed", "skipped")


def test_instances_that_only_events_tell_of_share_the_box_too() -> None:
    steps: dict[str, Object] = {"score": {"status": "running"}, "best": {}}
    told = [
        event("workflow_step_scattered", 10, step_id="score", instance_ids=["score[0]", "score[1]"]),
        event("workflow_step_attempt_started", 20, step_id="score[0]"),
        event("workflow_step_completed", 900, step_id="score[0]"),
    ]

    text = shown(job(agents=[agent("score"), agent("best")], steps=steps, step_edges="score>best"), *told)

    assert "1/2" in text and "▰▰▰▰▰▰▱▱▱▱▱▱▱" in text


def test_a_step_of_failed_instances_has_failed() -> None:
    steps: dict[str, Object] = {
        "score": {"status": "skipped"},
        "score[0]": {"status": "failed", "terminal_error": {"code": "worker_failed", "message": "no disk"}},
    }

    made = scene(job(agents=[agent("score")], steps=steps, status="failed"))

    assert made.state("score").status == "failed"
    assert made.state("score[0]").note == "no disk"


def test_an_open_approval_shows_with_the_command_to_type() -> None:
    steps: dict[str, Object] = {"clean": {"status": "waiting"}}
    asked = event("approval_requested", 10, step_id="clean", approval_id="apr-1", action="host.clean")
    found = job(agents=[agent("clean")], steps=steps)

    open_gate = shown(found, asked)
    decided = shown(found, asked, event("approval_decided", 20, step_id="clean", approval_id="apr-1"))

    assert "◆ waiting approval" in open_gate
    assert "◆ clean  needs approval of  host.clean" in open_gate
    assert "miractl approval approve apr-1" in open_gate
    assert "apr-1" not in decided


def test_why_a_job_failed_is_told_below_it() -> None:
    steps: dict[str, Object] = {"write": {"status": "failed", "terminal_error": {"message": "exit code 3"}}}
    result = {"error": "exit code 3", "reason": "worker_failed", "step_id": "write"}

    text = shown(job(agents=[agent("write")], steps=steps, status="failed", result=result))

    assert "✘ failed" in text
    assert "✘ write  exit code 3" in text


def test_agents_without_work_in_a_finished_job_were_skipped() -> None:
    made = scene(job(agents=[agent("a", done=2), agent("b")], status="completed"))

    assert (made.state("a").status, made.state("b").status) == ("completed", "skipped")


def test_a_name_that_would_steer_the_terminal_is_shown() -> None:
    assert "\x1b" not in shown(
        job(agents=[agent("a\x1b[2J", "x\x07y", error="\x1b]0;z\x07")], name="\x1b[31m")
    )


def test_too_many_agents_are_listed_without_lines() -> None:
    ids = [f"a{n}" for n in range(400)]
    edges = ", ".join(f"{first}>{second}" for first in ids[:5] for second in ids[5:])

    made = scene(job(agents=[agent(id) for id in ids], edges=edges))

    assert len(made.nodes) == 400
    assert not any(node.after for node in made.nodes.values())


names = st.sampled_from("abcdefg")
edges = st.lists(st.tuples(names, names), max_size=20)


@given(edges)
def test_what_is_drawn_never_leads_back(pairs: list[tuple[str, str]]) -> None:
    kept = forward(list("abcdefg"), pairs)
    waiting: dict[str, set[Any]] = {id: {first for first, second in kept if second == id} for id in "abcdefg"}

    assert set(kept) <= set(pairs)
    while waiting:
        free = [id for id, parents in waiting.items() if not parents & waiting.keys()]
        assert free, "a circle is left"
        for id in free:
            del waiting[id]


@given(edges)
def test_only_edges_of_circles_are_left_out(pairs: list[tuple[str, str]]) -> None:
    kept = set(forward(list("abcdefg"), pairs))

    def reaches(start: str, goal: str) -> bool:
        seen, waiting = set[str](), [start]
        while waiting:
            here = waiting.pop()
            if here == goal:
                return True
            waiting += [second for first, second in pairs if first == here and second not in seen]
            seen.add(here)
        return False

    for first, second in set(pairs) - kept:
        assert reaches(second, first)
