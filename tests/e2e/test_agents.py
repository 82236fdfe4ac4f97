"""Agents that ask each other."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.house import house


def test_a_change_that_one_agent_asks_of_another_passes_its_own_gate(tmp_path: Path) -> None:
    with house(tmp_path) as home:
        home.agent()
        home.agent("other")
        home.let_go("both")
        run = home.invoke("delegate", {"target": "other", "name": "both"})

        gate = home.gate()
        assert gate["execution"] != run
        assert (gate["call"]["plugin"], gate["call"]["action"]) == ("other", "change")
        assert gate["call"]["requester"] == "admin", (
            "who asked is the person, however many agents are between"
        )
        assert home.client.get(f"/executions/{gate['execution']}")["parent"] == f"{run}/call/1/1"
        assert home.changes("both") == []
        home.approve(gate)

        assert home.ended(run)["outputs"] == {"result": {"changed": "both"}}
        assert home.changes("both") == [f"{gate['execution']}/call/1/1"]
