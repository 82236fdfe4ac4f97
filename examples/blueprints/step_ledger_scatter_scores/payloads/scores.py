"""The steps of a ranking; each agent runs the one that has its name."""

import json
import os


def collect(body):
    scatter = {"target": "score", "items": body["applications"]}
    return {"events": [{"type": "workflow_step_scatter", "payload": scatter}]}


def score(body):
    return {"complete_step": {"name": body["item"], "score": len(body["item"])}}


def rank(body):
    scores = [parent["output"] for parent in body["parents"]]
    return {"complete_step": sorted(scores, key=lambda one: -one["score"])}


STEPS = {"collect": collect, "score": score, "rank": rank}

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    print(json.dumps(STEPS[os.environ["MN_AGENT_ID"]](json.load(file))))
