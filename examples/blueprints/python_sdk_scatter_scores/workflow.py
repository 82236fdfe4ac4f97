"""Scores every applicant at the same time, asks meanwhile what the job needs, and ranks with both."""

from mn_sdk import agent, workflow

APPLICANTS = workflow.input("applicants", default=["Ada", "Grace", "Edsger"])


class Jury:
    @agent.defn()
    def needs(self) -> dict:
        return {"at_least": 4}

    @agent.defn(type="map")
    def score(self, name: str) -> dict:
        return {"name": name, "score": len(name)}

    @agent.defn(type="reduce")
    def rank(self, scores: list, needs: dict) -> list:
        good = [one for one in scores if one["score"] >= needs["at_least"]]
        return sorted(good, key=lambda one: -one["score"])


@workflow.defn(name="python_sdk_scatter_scores")
class Ranking:
    def __init__(self) -> None:
        self.jury = Jury()

    @workflow.run
    def run(self):
        needs = self.jury.needs()
        scores = [self.jury.score(name) for name in APPLICANTS]
        return self.jury.rank(scores, needs=needs)
