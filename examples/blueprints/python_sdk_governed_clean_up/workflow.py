"""Chooses what to clean, lets the host agent do it, and reports.  The change waits until somebody agrees."""

from mn_sdk import agent, workflow

FOLDER = workflow.input("folder", default="/tmp/old-files")


class CleanUpAgents:
    @agent.defn()
    def choose(self, folder: str) -> dict:
        return {"path": folder, "older_than_days": 30}

    @agent.defn(uses_action="host.clean_directory")
    def clean(self, path: str, older_than_days: int) -> dict:
        """Done by the action, not here: what it is called with is what the person sees and approves."""

    @agent.defn()
    def report(self, removed: dict) -> str:
        return f"{removed['deleted_count']} files removed, {removed['deleted_bytes']} bytes freed"


@workflow.defn(name="python_sdk_governed_clean_up")
class CleanUp:
    def __init__(self) -> None:
        self.agents = CleanUpAgents()

    @workflow.run
    def run(self):
        chosen = self.agents.choose(FOLDER)
        removed = self.agents.clean(path=chosen["path"], older_than_days=chosen["older_than_days"])
        return self.agents.report(removed)
