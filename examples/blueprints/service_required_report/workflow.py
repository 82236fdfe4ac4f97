"""Sums up the orders of another job's service; without that service the job is not even accepted."""

import json
from urllib.request import urlopen

from mn_sdk import agent, workflow

ADDRESS = workflow.input("address", default="127.0.0.1:20000")


class Reporters:
    @agent.defn()
    def fetch(self, address: str) -> list:
        with urlopen(f"http://{address}/orders", timeout=5) as answer:
            return json.load(answer)["orders"]

    @agent.defn()
    def sum_up(self, orders: list) -> dict:
        return {"orders": len(orders), "total": sum(orders)}


@workflow.defn(name="service_required_report", required_services=[{"name": "orders", "tags": ["v1"]}])
class Report:
    def __init__(self) -> None:
        self.reporters = Reporters()

    @workflow.run
    def run(self):
        orders = self.reporters.fetch(ADDRESS)
        return self.reporters.sum_up(orders)
