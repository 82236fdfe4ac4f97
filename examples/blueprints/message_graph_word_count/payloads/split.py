"""Sends each line of a text as a message of its own."""

import json
import os

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    text = json.load(file)["text"]

messages = [{"type": "line", "body": {"line": line}} for line in text.splitlines()]
print(json.dumps({"emit_messages": messages}))
