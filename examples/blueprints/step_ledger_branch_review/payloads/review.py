"""The steps of a review; each agent runs the one that has its name."""

import json
import os


def look(change):
    branch = "full_review" if change["lines"] > 100 else "quick_look"
    event = {"type": "workflow_step_branch", "payload": {"branch": branch}}
    return {"events": [event], "complete_step": change}


def quick_look(trigger):
    return {"complete_step": {"reviewers": 1}}


def full_review(trigger):
    return {"complete_step": {"reviewers": 3}}


def file(trigger):
    (review,) = [parent for parent in trigger["parents"] if parent["status"] == "completed"]
    return {"complete_step": {"way": review["step_id"], **review["output"]}}


STEPS = {"look": look, "quick_look": quick_look, "full_review": full_review, "file": file}

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as input_file:
    print(json.dumps(STEPS[os.environ["MN_AGENT_ID"]](json.load(input_file))))
