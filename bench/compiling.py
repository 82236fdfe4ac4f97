"""What `build_bundle` costs: ours in Headway's environment, the published one in the peer's.

Both are called `mn_sdk`, so the same program measures both.  The workflow is that of the SDK's documentation;
the published compiler cannot compile its module-level input, so `--inline` puts the input where it is used.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.sample import Facts, emit, idle_latencies_ms, latency_metrics, options

SAMPLE = """
from mn_sdk import agent, workflow

TOPIC = workflow.input("topic", default="electric vehicle charging adoption")


class ResearchAgents:
    @agent.defn(
        name="ingress",
        type="map",
        runner="host_local",
        retries={"max_attempts": 2, "backoff_ms": 250},
        backpressure={"max_queue_depth": 20},
    )
    def ingress(self, topic: str):
        return {
            "message_type": "research_request",
            "topic": topic,
            "text": "Collect a short research summary.",
        }

    @agent.defn(name="reviewer", type="reduce")
    def reviewer(self, result):
        return {"status": "saved", "summary": result.get("summary")}


@workflow.defn(
    name="marketing_research_flow_v1",
    recovery_mode="local_restart",
)
class MarketingResearchFlow:
    def __init__(self):
        self.agents = ResearchAgents()

    @workflow.run
    def run(self):
        request = self.agents.ingress(TOPIC)
        return self.agents.reviewer(request)
"""
INPUT = 'workflow.input("topic", default="electric vehicle charging adoption")'
CLASS = "MarketingResearchFlow"
PROGRAM = f"""
import sys
from mn_sdk import build_bundle
from sample import {CLASS}

build_bundle({CLASS}, sys.argv[1])
"""
LONG_STEPS = 200


def sample(*, inline: bool) -> str:
    """The text of the documentation's workflow, or the one that the published compiler takes."""
    if not inline:
        return SAMPLE
    return SAMPLE.replace(f"TOPIC = {INPUT}\n", "").replace("ingress(TOPIC)", f"ingress({INPUT})")


def long_sample() -> str:
    """A workflow of 200 agents, each of which gets the result of the one before it."""
    numbers = range(LONG_STEPS)
    agents = "\n".join(f"    @agent.defn()\n    def a{n}(self, x):\n        return x\n" for n in numbers)
    calls = "\n".join(f"        x{n} = self.agents.a{n}(x{n - 1})" for n in numbers[1:-1])
    return (
        f"from mn_sdk import agent, workflow\n\n\nclass Agents:\n{agents}\n\n"
        f'@workflow.defn(name="long")\nclass {CLASS}:\n'
        "    def __init__(self):\n        self.agents = Agents()\n\n"
        f"    @workflow.run\n    def run(self):\n        x0 = self.agents.a0(1)\n{calls}\n"
        f"        return self.agents.a{LONG_STEPS - 1}(x{LONG_STEPS - 2})\n"
    )


def written(folder: Path, text: str) -> Any:
    """The workflow class of a module with this text, imported from the folder."""
    (folder / "source").mkdir()
    (folder / "source" / "sample.py").write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder / "source"))
    return getattr(importlib.import_module("sample"), CLASS)


def warm(folder: Path, runs: int, *, inline: bool) -> dict[str, float]:
    """Milliseconds of one build after another in one process."""
    from mn_sdk import build_bundle  # In the environment that is measured.

    cls = written(folder, sample(inline=inline))
    return latency_metrics(
        idle_latencies_ms(lambda: build_bundle(cls, folder / "bundle"), runs, pause_s=0.005)
    )


def process(folder: Path, runs: int, *, inline: bool) -> dict[str, float]:
    """Milliseconds of a whole process that imports the workflow and builds its bundle."""
    written(folder, sample(inline=inline))
    program = folder / "source" / "generate.py"
    program.write_text(PROGRAM, encoding="utf-8")

    def once() -> None:
        subprocess.run([sys.executable, str(program), str(folder / "bundle")], check=True)

    return latency_metrics(idle_latencies_ms(once, runs))


def long(folder: Path, runs: int, *, inline: bool) -> dict[str, float]:
    """Processor time of building 200 steps: the first time in this process, and the median of more."""
    from mn_sdk import build_bundle

    cls = written(folder, long_sample())
    taken: list[float] = []
    for _ in range(runs + 1):
        began = time.process_time()
        build_bundle(cls, folder / "bundle")
        taken.append((time.process_time() - began) * 1_000)
    return {"first_cpu_ms": taken[0], "cpu_ms": sorted(taken[1:])[runs // 2]}


MEASURES = {"warm": warm, "process": process, "long": long}


def main() -> None:
    """Measure one of the three."""
    parser = options(__doc__, MEASURES)
    parser.add_argument("--inline", action="store_true", help="the input stands where it is used")
    given = parser.parse_args()
    metrics = MEASURES[given.what](given.dir, given.runs, inline=given.inline)
    module = importlib.import_module("mn_sdk")
    facts: Facts = {"mn_sdk": str(module.__file__)}
    emit(metrics, facts)


if __name__ == "__main__":
    main()
