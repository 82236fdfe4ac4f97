"""Runbooks: workflows that people write in YAML, checked as a whole and compiled to plans.

`parse` reads a file, `check` compares it with what is registered, `compile` makes the plan, `bind_inputs`
turns given values into what it declares; `evaluate` and `span_of` are what a `World` needs to run it.
"""

from headway.runbooks.cel import ExpressionError
from headway.runbooks.checks import Checked, check, resolve
from headway.runbooks.compiler import compile
from headway.runbooks.expressions import evaluate
from headway.runbooks.findings import Finding
from headway.runbooks.inputs import bind_inputs
from headway.runbooks.loader import parse
from headway.runbooks.runbook import Input, Intent, Runbook, RunbookStep
from headway.runbooks.timerange import span_of

__all__ = [
    "Checked",
    "ExpressionError",
    "Finding",
    "Input",
    "Intent",
    "Runbook",
    "RunbookStep",
    "bind_inputs",
    "check",
    "compile",
    "evaluate",
    "parse",
    "resolve",
    "span_of",
]
