"""Research as a service: a stream of requests, answered one after another for as long as the job runs."""

from mn_sdk import BackpressurePolicy, RetryPolicy, agent, workflow

REQUEST = workflow.input("request", default={"topic": "electric vehicle charging adoption", "depth": 2})


class ResearchAgents:
    @agent.defn(
        name="intake",
        type="stream",
        retries=RetryPolicy(max_attempts=3, backoff_ms=250),
        backpressure=BackpressurePolicy(max_queue_depth=200, high_watermark=150, low_watermark=50),
    )
    def intake(self, request: dict) -> dict:
        topic = str(request.get("topic", "")).strip()
        questions = [f"{topic}: question {number}" for number in range(1, int(request.get("depth", 1)) + 1)]
        return {"topic": topic, "questions": questions}

    @agent.defn(name="researcher", type="stream", timeout_seconds=30, env={"RESEARCH_STYLE": "brief"})
    def research(self, plan: dict) -> dict:
        notes = [{"question": question, "note": f"notes on {question}"} for question in plan["questions"]]
        return {"topic": plan["topic"], "notes": notes}

    @agent.defn(name="librarian", type="accumulator")
    def keep(self, findings: dict) -> dict:
        return {"topic": findings["topic"], "kept": len(findings["notes"])}


@workflow.defn(
    name="python_sdk_research_service",
    type="service",
    recovery_mode="local_restart",
    backpressure=BackpressurePolicy(max_queue_depth=500),
    policies={"restart": {"attempts": 5, "interval_ms": 600_000}},
)
class ResearchService:
    def __init__(self) -> None:
        self.agents = ResearchAgents()

    @workflow.run
    def run(self):
        plan = self.agents.intake(REQUEST)
        findings = self.agents.research(plan)
        return self.agents.keep(findings)
