"""Full inboxes of a real engine: senders wait, a kill -9 loses nothing, a circle ends with its reason."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.jobs.house import jobs, messages

ROOM = {"mirrorneuron": {"agent_messages_max": 3, "executors": 2}}


def test_a_sender_waits_for_room_and_nothing_is_lost_when_the_engine_is_killed(tmp_path: Path) -> None:
    with jobs(tmp_path, config=ROOM) as house:
        nodes = [
            house.executor("a", emit_messages=[{"type": "x", "body": number} for number in range(8)]),
            house.executor("b", hold=True, emit_messages=[{"type": "y", "body": "$body"}]),
            {
                "node_id": "all",
                "agent_type": "aggregator",
                "config": {"complete_after": 16, "terminal_sink": True, "complete_run": True},
            },
        ]
        job_id = house.submit(messages(nodes, "a>b:x b>all:y", inputs={"a": [{}, {}]}))
        house.until_held("b")
        house.until_event(job_id, "backpressure_rejected")
        assert house.turns("a", job_id) == 1, "its second turn waits"

        house.kill_engine()
        house.until_held("b")
        house.go()

        job = house.ended(job_id)["job"]
        assert job["status"] == "completed", job["result"]
        assert job["result"]["output"]["messages"] == [*range(8), *range(8)]
        assert house.turns("a", job_id) == 2
        assert len(house.of(job_id, "backpressure_rejected")) >= 5


def test_an_agent_that_only_ever_writes_to_itself_fails_its_job_with_the_reason(tmp_path: Path) -> None:
    with jobs(tmp_path, config=ROOM) as house:
        more = [{"type": "x", "body": number} for number in range(3)]
        job_id = house.submit(messages([house.executor("a", emit_messages=more)], "a>a:x"))

        job = house.ended(job_id)["job"]

        assert (job["status"], job["result"]["reason"]) == ("failed", "inbox_full")
        assert "inboxes of a" in job["result"]["error"]


def test_when_a_queue_counts_as_full_is_the_operators_to_say(tmp_path: Path) -> None:
    low = {"mirrorneuron": {"queue_depth": 3, "queue_high": 2, "queue_low": 1}}
    with jobs(tmp_path, config=low) as house:
        emits = [{"type": "x", "body": number} for number in range(4)]
        nodes = [house.executor("a", emit_messages=emits), house.executor("b", hold=True)]
        job_id = house.submit(messages(nodes, "a>b:x"))
        house.until_event(job_id, "backpressure_state")

        agent = next(one for one in house.job(job_id)["agents"] if one["agent_id"] == "b")
        told = agent["backpressure"]
        assert (told["max_queue_depth"], told["high_watermark"]) == (3, 2)

        house.go()
        house.ended(job_id)
        states = [event["status"] for event in house.of(job_id, "backpressure_state")]
        assert states[0] == "pressured" and states[-1] == "normal"
