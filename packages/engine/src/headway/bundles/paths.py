"""Paths of messages: whether what a step's parents send can reach it at all.

Source: bundle contract, section 7.4 (decision D-b6).
"""

from __future__ import annotations

from headway_wire.manifest import Manifest, StepDef


class Paths:
    """The message graph of a manifest, read backwards."""

    def __init__(self, manifest: Manifest) -> None:
        self._before: dict[str, set[str]] = {}
        for edge in manifest.edges:
            self._before.setdefault(edge.to_node, set()).add(edge.from_node)
        self._agents = {step.id: step.agent for step in manifest.steps}
        self._parents: dict[str, set[str]] = {}
        for step in manifest.step_edges:
            self._parents.setdefault(step.to_step, set()).add(step.from_step)
        self._employed = set(self._agents.values())
        self._entrypoints = set(manifest.entrypoints)

    def is_unprompted(self, step: StepDef) -> bool:
        """Whether no message can begin this step: it is no entrypoint, and nothing leads to its agent from
        its parents', directly or through agents that belong to no step."""
        if step.agent in self._entrypoints:
            return False
        wanted = {self._agents[parent] for parent in self._parents.get(step.id, set())}
        seen, todo = set[str](), [step.agent]
        while todo:
            for agent in self._before.get(todo.pop(), ()):
                if agent in wanted or agent in self._entrypoints - self._employed:
                    return False
                if agent not in seen and agent not in self._employed:
                    seen.add(agent)
                    todo.append(agent)
        return True
