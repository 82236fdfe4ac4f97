"""What an agent asks of the machine, and how it learns what it got."""

import json
import os

from mn_sdk import agent, workflow


class Placed:
    @agent.defn(
        resources={
            "cpu_cores": 0.5,
            "memory_mb": 64,
            "ports": [{"label": "web", "port": "dynamic"}],
            "volumes": [{"name": "scratch", "source": "/tmp", "target": "/scratch", "read_only": True}],
        }
    )
    def look(self) -> dict:
        given = json.loads(os.environ["MN_ALLOCATION_JSON"])
        return {
            "cpu_cores": given["cpu_cores"],
            "memory_mb": given["memory_mb"],
            "port": int(os.environ["MN_PORT_WEB"]),
            "scratch": os.environ["MN_VOLUME_SCRATCH"],
        }


@workflow.defn(name="resources_port_and_volume", requirements={"cpu": {"min_cores": 1}})
class Placement:
    def __init__(self) -> None:
        self.placed = Placed()

    @workflow.run
    def run(self):
        return self.placed.look()
