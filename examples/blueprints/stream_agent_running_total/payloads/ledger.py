"""Adds one amount to the total so far, which is the agent's state."""

import json
import os

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    amount = json.load(file)["amount"]
with open(os.environ["MN_CONTEXT_FILE"], encoding="utf-8") as file:
    before = json.load(file)["agent_state"]

total = {"entries": before.get("entries", 0) + 1, "total": before.get("total", 0) + amount}
print(json.dumps({"next_state": total, "events": [{"type": "total_changed", "payload": total}]}))
