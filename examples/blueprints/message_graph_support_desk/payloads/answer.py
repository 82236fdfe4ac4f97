"""Answers one ticket, in the way that its first argument says."""

import json
import os
import sys

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    ticket = json.load(file)

answer = {"ticket": ticket["ticket"], "by": os.environ["MN_AGENT_ID"], "answered": sys.argv[1]}
print(json.dumps({"emit_messages": [{"type": "answer", "body": answer}]}))
