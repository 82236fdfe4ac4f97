"""Prints one page, which takes a moment, and says from when to when."""

import json
import os
import time

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    page = json.load(file)["page"]

began = time.time()
time.sleep(0.05)
printed = {"page": page, "by": os.environ["MN_AGENT_ID"], "from": began, "to": time.time()}
print(json.dumps({"emit_messages": [{"type": "printed", "body": printed}]}))
