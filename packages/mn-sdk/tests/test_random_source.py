"""Whatever an author writes, the compiler answers with a bundle or with a BundleCompileError."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from headway_wire.manifest import read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mn_sdk import BundleCompileError
from mn_sdk.compiler import compile_source
from test_compile_chain import SAMPLE

AGENTS = 8

OTHERS = (
    *(
        "self",
        "agents",
        "if x:\n",
        "[",
        "]",
        "(",
        ")",
        "**",
        "*",
        "await ",
        "not ",
        "=",
        ",",
        "\n",
        "    ",
        "0",
    ),
    *("workflow", "input", "lambda: ", "{", "}", "'", "\0", "\ud800", "def ", "class ", "return ", "async "),
)
"""What gets into a program by mistake."""

HEAD = """
from mn_sdk import agent, workflow

TOPIC = workflow.input("topic", default="tea")
CONFIG = {"limit": 3, "names": ["a", "b"]}

class Agents:
""" + "".join(f"    @agent.defn()\n    def m{n}(self, *args, **kwargs): return args\n" for n in range(AGENTS))

TAIL = """
@workflow.defn("random")
class W:
    def __init__(self):
        self.agents = Agents()

    @workflow.run
    def run(self):
"""


def compiled(text: str | bytes, name: str = "W") -> str:
    """The manifest that a module comes to."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "flow.py"
        file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        return compile_source(file, name, generated_at="then").manifest_json


@st.composite
def straight_line(draw: st.DrawFn) -> str:
    """The body of a program without branches: calls of results, inputs, constants and literals."""
    names: list[str] = []
    lines: list[str] = []

    def value(depth: int = 0) -> str:
        simple = ["TOPIC", "CONFIG", "CONFIG['names'][0]", "None", "-1", "'text'", "2.5", *names]
        kind = draw(st.integers(0, 5 if depth < 2 else 1))
        if kind <= 1 or (kind == 5 and not names):
            return draw(st.sampled_from(simple))
        if kind == 5:
            return f"{draw(st.sampled_from(names))}['k'][{draw(st.integers(-2, 2))}]"
        items = [value(depth + 1) for _ in range(draw(st.integers(0, 3)))]
        if kind == 2:
            return f"[{', '.join(items)}]"
        if kind == 3:
            return "{" + ", ".join(f"'k{n}': {item}" for n, item in enumerate(items)) + "}"
        return f"({''.join(f'{item}, ' for item in items)})"

    for agent in draw(st.permutations(range(AGENTS)))[: draw(st.integers(1, AGENTS))]:
        args = [value() for _ in range(draw(st.integers(0, 3)))]
        args += [f"k{n}={value()}" for n in range(draw(st.integers(0, 2)))]
        call = f"self.agents.m{agent}({', '.join(args)})"
        if draw(st.booleans()) and "k0=" not in call:
            items = draw(st.sampled_from(["[1, 2]", "TOPIC", *names]))
            call = f"[self.agents.m{agent}({', '.join(['x', *args])}) for x in {items}]"
        lines.append(f"x{len(names)} = {call}")
        names.append(f"x{len(names)}")
    lines.append(f"return {draw(st.sampled_from([names[-1], f'[{names[0]}, TOPIC]']))}")
    return "\n".join("        " + line for line in lines)


@given(straight_line())
@settings(max_examples=150)
def test_straight_line_programs_compile_to_the_same_bytes_every_time(body: str) -> None:
    text = HEAD + TAIL + body + "\n"

    one, other = compiled(text), compiled(text)

    assert one == other
    manifest = read(json.loads(one))
    assert len(manifest.nodes) == text.count("self.agents.m")


@given(st.one_of(st.text(), st.binary()))
@settings(max_examples=200)
def test_any_file_at_all_is_refused_and_never_crashes(content: str | bytes) -> None:
    with pytest.raises(BundleCompileError):
        compiled(content)


@given(st.randoms(use_true_random=False), st.integers(1, 12))
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_program_compiles_or_is_refused(chance: random.Random, edits: int) -> None:
    pieces = [*SAMPLE]
    for _ in range(edits):
        at = chance.randrange(len(pieces))
        match chance.randrange(3):
            case 0:
                del pieces[at : at + chance.randrange(1, 20)]
            case 1:
                pieces[at:at] = OTHERS[chance.randrange(len(OTHERS))]
            case _:
                other = chance.randrange(len(pieces))
                pieces[at:at] = pieces[other : other + chance.randrange(1, 40)]
        pieces = pieces or ["x"]

    try:
        manifest = compiled("".join(pieces), "MarketingResearchFlow")
    except BundleCompileError as refused:
        assert refused.problems or "file" in str(refused)
    else:
        read(json.loads(manifest))


_EXPRESSIONS = st.recursive(
    st.sampled_from(
        ["x", "TOPIC", "CONFIG", "1", "'t'", "None", "True", "...", "b''", "1j", "self", "Agents", "agent"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"({two[0]} + {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]})[{two[1]}]"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} if {two[1]} else {two[0]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} and not {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} < {two[1]} == {two[0]})"),
        st.tuples(inner, inner).map(lambda two: f"({two[0]} in {two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"{{{two[0]}: {two[1]}}}"),
        st.tuples(inner, inner).map(lambda two: f"[{two[0]}, *{two[1]}]"),
        inner.map(lambda one: f"({one}).get({one})"),
        inner.map(lambda one: f"workflow.input({one}, default={one})"),
        inner.map(lambda one: f"self.agents.m1({one}, k={one})"),
        inner.map(lambda one: f"[self.agents.m2(i) for i in {one}]"),
        inner.map(lambda one: f"f'{{{one}!r}}'".replace("'t'", "0").replace("b''", "0")),
        inner.map(lambda one: f"(lambda x: {one})"),
        inner.map(lambda one: f"(y := {one})"),
    ),
    max_leaves=6,
)


@given(
    st.lists(_EXPRESSIONS, min_size=1, max_size=4),
    st.sampled_from(["value", "if", "option", "constant", "each"]),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_any_expression_anywhere_compiles_or_is_refused(expressions: list[str], place: str) -> None:
    first, *rest = expressions
    body = "        x = self.agents.m0(1)\n"
    head = HEAD
    match place:
        case "if":
            call = f"x = self.agents.m3({', '.join(rest)})"
            body += f"        if {first}:\n            {call}\n        return [x]\n"
        case "option":
            head = head.replace("@agent.defn()", f"@agent.defn(env={first}, **{{'pool': {rest or 1}}})", 1)
            body += "        return x\n"
        case "constant":
            head = f"X = {first}\n{head}"
            body = "        x = self.agents.m0(X)\n        return x\n"
        case "each":
            body += f"        return [self.agents.m4(x, {', '.join(rest)}) for x in {first}]\n"
        case _:
            body += f"        return self.agents.m5({', '.join(expressions)})\n"

    try:
        manifest = compiled(head + TAIL + body)
    except BundleCompileError as refused:
        assert refused.problems
    else:
        read(json.loads(manifest))
