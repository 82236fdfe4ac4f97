"""Counts the words of one line."""

import json
import os

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    line = json.load(file)["line"]

counted = {"line": line, "words": len(line.split())}
print(json.dumps({"emit_messages": [{"type": "counted", "body": counted}]}))
