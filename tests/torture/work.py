"""The work that goes on while processes die: runbooks, their inputs, and what they must come to.

Every change has an id that no other step of the campaign has, so nothing but a doubled change can leave two
lines with the same id.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

RUNBOOKS = {
    "torture-reads": """
name: torture-reads
inputs: {key: {required: true}, n: {type: integer, required: true}}
steps:
  - id: a
    plugin: torture
    action: square
    params: {n: "{{ inputs.n }}"}
    retry: {attempts: 4, delay: 200ms}
  - id: b
    plugin: torture
    action: slow_square
    params: {n: "{{ inputs.n + 1 }}"}
    retry: {attempts: 4, delay: 200ms}
  - id: c
    plugin: torture
    action: flaky_square
    params: {n: "{{ inputs.n + 2 }}"}
    retry: {attempts: 4, delay: 200ms}
  - {id: sum, value: "{{ steps.a.output.square + steps.b.output.square + steps.c.output.square }}"}
  - id: change
    plugin: torture
    action: mark
    params: {id: "{{ inputs.key }}/change"}
    depends_on: sum
    on_error: continue
outputs: {sum: "{{ steps.sum.output }}", change: "{{ steps.change.status }}"}
""",
    "torture-each": """
name: torture-each
inputs: {key: {required: true}, n: {type: integer, required: true}}
steps:
  - id: a
    plugin: torture
    action: square
    params: {n: "{{ inputs.n }}"}
    retry: {attempts: 4, delay: 200ms}
  - id: changes
    plugin: torture
    action: mark
    depends_on: a
    for_each: ["one", "two", "three"]
    params: {id: "{{ inputs.key }}/{{ item }}", ms: 120}
    on_error: continue
  - id: b
    plugin: torture
    action: square
    params: {n: "{{ inputs.n + 1 }}"}
    depends_on: changes
    trigger: all_done
    retry: {attempts: 4, delay: 200ms}
outputs: {sum: "{{ steps.a.output.square + steps.b.output.square }}"}
""",
    "torture-retry": """
name: torture-retry
inputs: {key: {required: true}, n: {type: integer, required: true}}
steps:
  - id: change
    plugin: torture
    action: mark
    params: {id: "{{ inputs.key }}/change", fails_first: true}
    retry: {attempts: 3, delay: 100ms}
    on_error: continue
  - id: a
    plugin: torture
    action: square
    params: {n: "{{ inputs.n }}"}
    depends_on: change
    trigger: all_done
    retry: {attempts: 4, delay: 200ms}
outputs: {sum: "{{ steps.a.output.square }}"}
""",
    "torture-leaf": """
name: torture-leaf
inputs: {key: {required: true}, n: {type: integer, required: true}}
steps:
  - {id: put, plugin: torture, action: put, params: {id: "{{ inputs.key }}/put"}, on_error: continue}
  - {id: change, plugin: torture, action: mark, params: {id: "{{ inputs.key }}/leaf"}, on_error: continue}
  - id: a
    plugin: torture
    action: square
    params: {n: "{{ inputs.n }}"}
    retry: {attempts: 4, delay: 200ms}
outputs: {square: "{{ steps.a.output.square }}"}
""",
    "torture-child": """
name: torture-child
inputs: {key: {required: true}, n: {type: integer, required: true}}
steps:
  - {id: leaf, workflow: torture-leaf, inputs: {key: "{{ inputs.key }}/child", n: "{{ inputs.n }}"}}
  - id: b
    plugin: torture
    action: square
    params: {n: "{{ inputs.n + 1 }}"}
    retry: {attempts: 4, delay: 200ms}
outputs: {sum: "{{ steps.leaf.output.square + steps.b.output.square }}"}
""",
    "torture-slow": """
name: torture-slow
inputs: {key: {required: true}, n: {type: integer, required: true}}
steps:
  - id: put
    plugin: torture
    action: put
    params: {id: "{{ inputs.key }}/put", ms: 600}
    on_error: continue
  - id: change
    plugin: torture
    action: mark
    params: {id: "{{ inputs.key }}/slow", ms: 1200}
    depends_on: put
    trigger: all_done
    on_error: fail
  - id: a
    plugin: torture
    action: slow_square
    params: {n: "{{ inputs.n }}", ms: 700}
    retry: {attempts: 4, delay: 200ms}
outputs: {sum: "{{ steps.a.output.square }}"}
""",
}

WEIGHTS = {"torture-reads": 4, "torture-each": 2, "torture-retry": 2, "torture-child": 3, "torture-slow": 3}
"""What is submitted, and how often compared with the others."""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to submit.  `key` is also its idempotency key, and begins the ids of its changes."""

    key: str
    workflow: str
    n: int

    @property
    def inputs(self) -> dict[str, Any]:
        """What it is submitted with."""
        return {"key": self.key, "n": self.n}

    @property
    def sum(self) -> int:
        """What its reads must have come to when it succeeds."""
        squares = {"torture-reads": 3, "torture-each": 2, "torture-child": 2}.get(self.workflow, 1)
        return sum((self.n + more) ** 2 for more in range(squares))


def next_task(rng: random.Random, number: int) -> Task:
    """The task with this number, drawn from the seed."""
    (workflow,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
    return Task(f"t{number:05d}", workflow, rng.randint(1, 1_000))
