"""The steps of some research; each agent runs the one that has its name."""

import json
import os


def plan(body):
    """Puts a step for each question between this one and the report."""
    operations = []
    for question in body["questions"]:
        operations += [
            {"op": "add_step", "id": question, "template": "answer", "with": {"question": question}},
            {"op": "add_edge", "id": f"to_{question}", "from": "plan", "to": question},
            {"op": "add_edge", "id": f"from_{question}", "from": question, "to": "report"},
        ]
    patch = {"patch_id": "questions", "region_id": "research", "base_revision": 0, "operations": operations}
    return {"events": [{"type": "workflow_graph_patch", "payload": patch}]}


def answer(body):
    question = body["_mn_step"]["step_input"]["question"]
    return {"complete_step": f"nobody knows {question}"}


def report(body):
    answers = {parent["step_id"]: parent["output"] for parent in body["parents"]}
    return {"complete_step": {key: value for key, value in answers.items() if key != "plan"}}


STEPS = {"plan": plan, "answer": answer, "report": report}

with open(os.environ["MN_INPUT_FILE"], encoding="utf-8") as file:
    print(json.dumps(STEPS[os.environ["MN_AGENT_ID"]](json.load(file))))
