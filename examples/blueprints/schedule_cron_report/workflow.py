"""A job for every weekday morning.  The schedule is part of the workflow, so nobody has to say it."""

from datetime import UTC, datetime

from mn_sdk import agent, workflow


class Reporters:
    @agent.defn()
    def report(self) -> dict:
        return {"written_at": datetime.now(UTC).isoformat(timespec="seconds")}


@workflow.defn(
    name="schedule_cron_report",
    schedule={
        "kind": "periodic",
        "cron": "0 6 * * 1-5",
        "timezone": "Europe/Berlin",
        "missed_policy": "catchup_one",
        "window": {"duration_ms": 3_600_000, "end_action": "cancel"},
    },
)
class MorningReport:
    def __init__(self) -> None:
        self.reporters = Reporters()

    @workflow.run
    def run(self):
        return self.reporters.report()
