"""Trains for three epochs and says so after each.  In its first attempt it hangs after the first."""

import json
import os
import time

PREFIX = os.environ["MN_AGENT_BEACON_STDOUT_PREFIX"]

for epoch in range(1, 4):
    time.sleep(0.1)
    print(PREFIX + json.dumps({"status": "working", "message": f"epoch {epoch} of 3"}), flush=True)
    if os.environ["MN_WORKFLOW_ATTEMPT"] == "1":
        time.sleep(60)

print(json.dumps({"complete_step": {"epochs": 3, "loss": 0.25}}))
