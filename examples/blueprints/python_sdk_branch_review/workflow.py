"""A change is looked at first; only a long one gets a full review."""

from mn_sdk import agent, workflow

CHANGE = workflow.input("change", default={"title": "rename a column", "lines": 1200})


class Reviewers:
    @agent.defn()
    def look(self, change: dict) -> dict:
        return {"title": change["title"], "is_long": change["lines"] > 100}

    @agent.defn()
    def quick_look(self, seen: dict) -> dict:
        return {"reviewers": 1}

    @agent.defn()
    def find_team(self, seen: dict) -> list:
        return ["Ada", "Grace", "Edsger"]

    @agent.defn()
    def full_review(self, seen: dict, team: list) -> dict:
        return {"reviewers": len(team)}

    @agent.defn()
    def file(self, title: str, review: dict) -> dict:
        return {"title": title, **review}


@workflow.defn(name="python_sdk_branch_review")
class Review:
    def __init__(self) -> None:
        self.reviewers = Reviewers()

    @workflow.run
    def run(self):
        seen = self.reviewers.look(CHANGE)
        if seen["is_long"]:
            team = self.reviewers.find_team(seen)
            review = self.reviewers.full_review(seen, team)
        else:
            review = self.reviewers.quick_look(seen)
        return self.reviewers.file(seen["title"], review)
