"""Drawings as people see them, and what must hold for every graph."""

from __future__ import annotations

from itertools import pairwise

import pytest
from headway_cli.draw.boxes import boxes
from headway_cli.draw.canvas import plain
from headway_cli.draw.frame import frame
from headway_cli.draw.layout import Spot, layout, ordered, reduced
from headway_cli.draw.rails import rails, rows
from headway_cli.draw.scene import Scene, State
from hypothesis import given
from hypothesis import strategies as st

from packages.cli.tests.scenes import (
    BEGIN_MS,
    completed,
    dispatched,
    finished,
    gated,
    item,
    scene,
    through,
    told,
)

NOW_MS = BEGIN_MS + 5_000


def graph_of(found: Scene) -> dict[str, list[str]]:
    return reduced({id: node.after for id, node in found.nodes.items()})


def boxed(found: Scene, *, width: int = 100, height: int = 30) -> list[str]:
    lines = boxes(found, graph_of(found), width=width, height=height, now_ms=NOW_MS)
    assert lines is not None
    return plain(lines).splitlines()


def railed(found: Scene, *, width: int = 80, height: int = 30) -> list[str]:
    return plain(rails(found, graph_of(found), width=width, height=height, now_ms=NOW_MS)).splitlines()


def framed(found: Scene, *, width: int = 100, height: int = 30) -> str:
    return plain(frame(found, width=width, height=height, now_ms=NOW_MS))


def diamond() -> Scene:
    found = through(scene("a, b after a, c after a, d after b c"), ["a"])
    return told(found, dispatched("b", attempt=2), gated("c"), at_ms=2_000)


def test_a_diamond_as_boxes() -> None:
    assert boxed(diamond()) == [
        "                      ╭───────────────╮",
        "                   ╭─▶│ ⠋ b           │─╮",
        "                   │  │ kit.b         │ │  ╭───────────────╮",
        " ╭───────────────╮ │  ╰─ ↻2 ─── 3.0s ─╯ ├─▶│ ○ d           │",
        " │ ✔ a           │─┤                    │  │ kit.d         │",
        " │ kit.a         │ │  ┏━━━━━━━━━━━━━━━┓ │  ╰───────────────╯",
        " ╰──────── 2.0s ─╯ ╰─▶┃ ◆ c           ┃─╯",
        "                      ┃ kit.c         ┃",
        "                      ┗━━━━━━━━ 3.0s ━┛",
    ]


def test_a_diamond_on_rails() -> None:
    assert railed(diamond()) == [
        " ✔    a  kit.a     2.0s",
        " ├─⠋  b  kit.b     3.0s  ↻2",
        " ◆ │  c  kit.c     3.0s  waits for approval",
        " ○─╯  d  kit.d",
    ]


def test_a_line_that_passes_a_layer_goes_beside_its_boxes() -> None:
    shown = boxed(scene("a, b after a, c after b, d after c e, e"))

    assert shown == [
        " ╭───────────────╮    ╭───────────────╮   ╭───────────────╮",
        " │ ○ a           │───▶│ ○ b           │──▶│ ○ c           │─╮",
        " │ kit.a         │    │ kit.b         │   │ kit.c         │ │  ╭───────────────╮",
        " ╰───────────────╯    ╰───────────────╯   ╰───────────────╯ ├─▶│ ○ d           │",
        "                                                            │  │ kit.d         │",
        " ╭───────────────╮ ╭────────────────────────────────────────╯  ╰───────────────╯",
        " │ ○ e           │─╯",
        " │ kit.e         │",
        " ╰───────────────╯",
    ]


def test_an_edge_that_others_imply_is_not_drawn() -> None:
    graph = reduced({"a": [], "b": ["a"], "c": ["a", "b"], "d": ["a", "b", "c"]})

    assert graph == {"a": [], "b": ["a"], "c": ["b"], "d": ["c"]}


def test_instances_collapse_into_a_bar_and_a_count() -> None:
    found = told(scene("each"), item("scattered", "each", "running"), at_ms=0)
    found.count([{"id": f"each[{n}]"} for n in range(10)])
    told(found, *(completed(f"each[{n}]") for n in range(3)), at_ms=1_000)

    assert boxed(found) == [
        " ╭───────────────╮",
        " │ ⠋ each        │",
        " │ ▰▰▰▱▱▱▱▱▱▱▱▱▱ │",
        " ╰─ 3/10 ─ 5.0s ─╯",
    ]
    assert "3/10" in railed(found)[0] and "▰▱▱▱▱" in railed(found)[0]


def test_what_waits_for_a_person_comes_with_the_command_to_type() -> None:
    found = told(scene("clean"), gated("clean", "apr-1-1"), at_ms=0)
    found.approvals["apr-1-1"] = {
        "permission": "ADMIN",
        "expires_ms": NOW_MS + 60_000,
        "text": "",
        "call": {"plugin": "host", "action": "wipe", "params": {"path": "/tmp/x\x1b[2J"}},
    }

    shown = framed(found)

    assert "◆ clean  needs approval of  host.wipe  ADMIN  expires in 1m00s" in shown
    assert "path=/tmp/x\\x1b[2J" in shown
    assert "miractl approval approve apr-1-1" in shown


def test_what_nobody_knows_comes_with_the_command_to_type() -> None:
    found = told(scene("each"), item("lost", "each[2]", "unknown"), at_ms=0)

    assert "miractl execution resolve run-1 'each[2]' completed|failed|retry" in framed(found)


def test_a_failure_is_told_when_it_is_over() -> None:
    failed = item("failed", "a", "failed", error={"code": "x", "message": "the disk is full"})
    found = told(scene("a"), dispatched("a"), failed, finished("failed"), at_ms=10)

    assert "✘ a  the disk is full" in framed(found)
    assert "✘ failed" in framed(found)


def test_why_it_failed_is_told_whole_though_the_terminal_is_narrow() -> None:
    why = (
        "the worker exited with code 1: the database at db.internal:5432 refused the connection of reporting"
    )
    found = told(
        scene("load"), item("failed", "load", "failed", error={"code": "x", "message": why}), at_ms=1
    )
    found = told(found, item("finished", status="failed"), at_ms=2)

    lines = framed(found, width=60).splitlines()

    assert max(map(len, lines)) <= 60
    assert why in " ".join(" ".join(lines).split())


def test_an_engine_that_is_away_shows_above_the_graph() -> None:
    found = diamond()
    found.notice = "the engine stopped; trying again"

    assert framed(found).splitlines()[1] == " the engine stopped; trying again"


def test_boxes_give_way_to_rails_when_they_do_not_fit() -> None:
    chain = scene("s0, " + ", ".join(f"s{n} after s{n - 1}" for n in range(1, 9)))

    assert "╭─" in framed(chain, width=240)
    assert "╭─" not in framed(chain, width=80)
    assert " ○  s8" in framed(chain, width=80)


def test_rails_that_would_leave_no_room_for_words_are_left_out() -> None:
    fan = ", ".join(f"s{n} after root" for n in range(30))
    ends = " ".join(f"s{n}" for n in range(30))
    found = through(scene(f"root, {fan}, end after {ends}"), ["root"])

    assert railed(found, height=40)[:2] == [" ✔  root  kit.root     2.0s", " ○  s0    kit.s0"]


def test_when_not_all_rows_fit_those_that_are_over_make_room() -> None:
    found = scene("s0, " + ", ".join(f"s{n} after s{n - 1}" for n in range(1, 40)))
    through(found, [f"s{n}" for n in range(20)])

    shown = railed(found, height=10)

    assert len(shown) == 10
    assert shown[0].strip() == "… 19 before"
    assert [row.split()[1] for row in shown[1:-1]] == [f"s{n}" for n in range(19, 27)]
    assert shown[-1].strip() == "… 13 after"


def test_agents_that_are_idle_and_never_over_make_room_for_those_at_work() -> None:
    found = scene(", ".join(f"s{n}" for n in range(40)))
    for n in range(20):
        found.states[f"s{n}"] = State(status="ready")
    found.states["s20"] = State(status="ready", queued=2)
    found.states["s22"] = State(status="running")

    shown = railed(found, height=10)

    assert [row.split()[1] for row in shown[1:-1]] == [f"s{n}" for n in range(19, 27)]


graphs = st.integers(1, 14).flatmap(
    lambda count: st.tuples(
        *(
            st.lists(st.integers(0, n - 1), unique=True, max_size=3) if n else st.just([])
            for n in range(count)
        )
    )
)
"""The parents of each step; a step comes after its parents."""


def scene_of(parents: tuple[list[int], ...]) -> Scene:
    parts = (
        f"s{n}" + (" after " + " ".join(f"s{p}" for p in ps) if ps else "") for n, ps in enumerate(parents)
    )
    return scene(", ".join(parts))


@given(graphs, st.integers(40, 200), st.integers(8, 60))
def test_a_frame_never_leaves_its_terminal(parents: tuple[list[int], ...], width: int, height: int) -> None:
    lines = framed(scene_of(parents), width=width, height=height).splitlines()

    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


@given(graphs, st.sampled_from([(2, 1), (2, 0), (1, 0)]))
def test_layers_follow_the_edges_and_boxes_never_overlap(
    parents: tuple[list[int], ...], measure: tuple[int, int]
) -> None:
    graph = graph_of(scene_of(parents))
    below, gap = measure
    plan = layout(graph, below=below, gap=gap)

    found: dict[str, set[str]] = {step: set() for step in graph}
    for spot, children in plan.edges.items():
        for child in children:
            assert child.layer == spot.layer + 1
            if not child.passes:
                found[child.step].add(spot.step)
    assert found == {step: set(above) for step, above in graph.items()}
    for layer in plan.layers:
        spans = [_span(plan.rows[spot], spot, below) for spot in layer]
        assert all(bottom < top for (_, bottom), (top, _) in pairwise(spans))
        assert all(top >= 0 for top, _ in spans)


def _span(row: int, spot: Spot, below: int) -> tuple[int, int]:
    return (row, row) if spot.passes else (row - 1, row + below)


@given(graphs)
def test_rails_join_exactly_the_steps_that_are_waited_for(parents: tuple[list[int], ...]) -> None:
    graph = graph_of(scene_of(parents))
    listed = rows(graph)

    assert [row.step for row in listed] == ordered(graph)
    for row in listed:
        assert sorted(row.joins.values()) == sorted(graph[row.step])
        assert row.rail not in row.through
    for upper, lower in pairwise(listed):
        if lower.rail == upper.rail:
            assert upper.step in graph[lower.step], "neighbours on one rail are related"


@pytest.mark.parametrize(
    "status", ["completed", "failed", "skipped", "rejected", "unknown", "retry_wait", "queued"]
)
def test_every_status_has_a_sign_of_its_own(status: str) -> None:
    found = told(scene("a"), item("any", "a", status), at_ms=0)

    assert "·" not in boxed(found)[1]
