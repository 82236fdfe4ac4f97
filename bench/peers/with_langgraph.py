"""LangGraph with its SQLite saver, durability "sync": every superstep is stored before the next one begins.

The saver itself sets journal_mode=WAL; synchronous stays at SQLite's FULL, which is read back.
"""

from __future__ import annotations

import argparse
import operator
import time
from itertools import count
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from bench.sample import Facts, emit, idle_latencies_ms, latency_metrics, options

STEPS = 5
BRANCHES = 100


class Chain(TypedDict):
    number: int


class Fan(TypedDict):
    found: Annotated[list[int], operator.add]


def noop(state: Chain) -> Chain:
    return {"number": state["number"] + 1}


def chain_graph(saver: SqliteSaver) -> Any:
    graph = StateGraph(Chain)
    before = START
    for number in range(STEPS):
        graph.add_node(f"step{number}", noop)
        graph.add_edge(before, f"step{number}")
        before = f"step{number}"
    graph.add_edge(before, END)
    return graph.compile(checkpointer=saver)


def fan_graph(saver: SqliteSaver) -> Any:
    graph = StateGraph(Fan)
    graph.add_node("first", lambda state: {})
    graph.add_node("branch", lambda state: {"found": [state["number"]]})
    graph.add_node("last", lambda state: {})
    graph.add_edge(START, "first")
    graph.add_conditional_edges(
        "first", lambda state: [Send("branch", {"number": n}) for n in range(BRANCHES)]
    )
    graph.add_edge("branch", "last")
    graph.add_edge("last", END)
    return graph.compile(checkpointer=saver)


def steps(given: argparse.Namespace, saver: SqliteSaver) -> dict[str, float]:
    graph = chain_graph(saver)
    threads = count()

    def once() -> None:
        graph.invoke({"number": 0}, {"configurable": {"thread_id": str(next(threads))}}, durability="sync")

    if given.what == "idle":
        return latency_metrics(idle_latencies_ms(once, given.runs))
    once()
    began = time.perf_counter()
    for _ in range(given.runs):
        once()
    return {"steps_per_s": given.runs * STEPS / (time.perf_counter() - began)}


def fan_out(given: argparse.Namespace, saver: SqliteSaver) -> dict[str, float]:
    """One branch at a time is the faster way for branches that do nothing, so that is what is measured."""
    graph = fan_graph(saver)
    threads = count()

    def once() -> None:
        config = {"configurable": {"thread_id": str(next(threads))}, "max_concurrency": 1}
        assert len(graph.invoke({"found": []}, config, durability="sync")["found"]) == BRANCHES

    return latency_metrics(idle_latencies_ms(once, given.runs, pause_s=0))


MEASURES = {"steps": steps, "idle": steps, "fan-out": fan_out}


def main() -> None:
    given = options(__doc__, MEASURES).parse_args()
    with SqliteSaver.from_conn_string(str(given.dir / "langgraph.sqlite")) as saver:
        metrics = MEASURES[given.what](given, saver)
        facts: Facts = {
            name: str(saver.conn.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("journal_mode", "synchronous")
        }
    emit(metrics, facts)


if __name__ == "__main__":
    main()
