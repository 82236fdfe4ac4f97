"""A job for each event that fits.  What the event said is with the job, in `metadata.schedule_dispatch`."""

from mn_sdk import agent, workflow


class Importers:
    @agent.defn()
    def load(self) -> dict:
        return {"imported": True}


@workflow.defn(
    name="schedule_event_import",
    schedule={"kind": "event", "prohibit_overlap": False},
    triggers=[{"event_type": "file_uploaded", "filters": {"path": {"prefix": "/data/"}}}],
)
class Import:
    def __init__(self) -> None:
        self.importers = Importers()

    @workflow.run
    def run(self):
        return self.importers.load()
