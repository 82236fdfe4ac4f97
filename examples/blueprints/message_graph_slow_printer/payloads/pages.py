"""Hands in all pages at once; every third is a black one."""

import json
import os

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    count = json.load(file)["pages"]

kinds = ["colour_page" if page % 3 else "black_page" for page in range(1, count + 1)]
messages = [{"type": kind, "body": {"page": page}} for page, kind in enumerate(kinds, 1)]
print(json.dumps({"emit_messages": messages}))
