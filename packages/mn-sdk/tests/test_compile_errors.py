"""What cannot be compiled is refused with the contract's words, a line, and what would be accepted."""

from __future__ import annotations

import pytest
from authoring import Author
from mn_sdk import BundleCompileError, build_bundle, build_bundle_from_source

STATEMENTS = "only straight-line agent assignments and a final return are supported"
CALLS = "workflow statements must call decorated agents"
RETURN = "workflow run method must return the final agent call"
SYNTAX = "agent calls must use attribute syntax, such as self.agents.ingress()"
NAME = "workflow.input() requires a string name as the first argument"
FIRST = "x = self.agents.a(1)\n"
TARGET = "agent call assignments must use one local variable"


def not_plain(name: str) -> str:
    return f"workflow constant {name!r} must be JSON-serializable and side-effect free"


def unresolved(name: str) -> str:
    return f"could not uniquely resolve decorated agent {name!r}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        # Statements
        ("for i in [1]:\n    pass\nreturn self.agents.a(1)", STATEMENTS),
        ("while True:\n    pass\nreturn self.agents.a(1)", STATEMENTS),
        ("import os\nreturn self.agents.a(1)", STATEMENTS),
        ("self.agents.a(1)\nreturn self.agents.b(1)", STATEMENTS),
        ("x: int\nreturn self.agents.a(1)", STATEMENTS),
        ("def f(): pass\nreturn self.agents.a(1)", STATEMENTS),
        ("with x: pass\nreturn self.agents.a(1)", STATEMENTS),
        ("try:\n    pass\nfinally:\n    pass\nreturn self.agents.a(1)", STATEMENTS),
        ("await x\nreturn self.agents.a(1)", STATEMENTS),
        ("1\nreturn self.agents.a(1)", STATEMENTS),
        ("return self.agents.a(1)\nx = self.agents.b(1)", STATEMENTS),
        (f"{FIRST}x += 1\nreturn self.agents.b(x)", STATEMENTS),
        # Assignments
        ("x, y = self.agents.a(1)\nreturn self.agents.b(x, y)", TARGET),
        ("x = y = self.agents.a(1)\nreturn self.agents.b(x)", TARGET),
        ("self.x = self.agents.a(1)\nreturn self.agents.b(1)", TARGET),
        ("x = 3\nreturn self.agents.a(x)", CALLS),
        ("x = 1 + 1\nreturn self.agents.a(x)", CALLS),
        (f"{FIRST}y = x['k']\nreturn self.agents.b(y)", CALLS),
        (f"{FIRST}y = x.get('k')\nreturn self.agents.b(y)", CALLS),
        # Returns
        ("pass", RETURN),
        ("'only words'", RETURN),
        (FIRST, RETURN),
        ("if workflow.input('q'):\n    return self.agents.a(1)", RETURN),
        ("return", CALLS),
        ("return None", CALLS),
        ("return 3", CALLS),
        (f"{FIRST}return [1, 2]", CALLS),
        ("return TOPIC", CALLS),
        # Calls
        ("return a(1)", SYNTAX),
        ("return (lambda: 1)()", SYNTAX),
        ("return self.agents.nobody(1)", unresolved("nobody")),
        ("return self.agents.plain()", unresolved("plain")),
        ("return self.others.a(1)", unresolved("a")),
        ("return self.a(1)", unresolved("a")),
        ("return agents.a(1)", unresolved("a")),
        ("return self.agents.a.b(1)", unresolved("b")),
        ("x = workflow.input('q')\nreturn self.agents.a(x)", unresolved("input")),
        (f"{FIRST}y = self.agents.a(x)\nreturn self.agents.b(y)", "duplicate node_id 'a' in workflow"),
        # Arguments
        ("return self.agents.a(nothing)", "unknown workflow constant 'nothing'"),
        ("return self.agents.a(y)\ny = self.agents.b(1)", "unknown workflow constant 'y'"),
        ("return self.agents.a(os)", not_plain("os")),
        ("return self.agents.a(SET)", not_plain("SET")),
        ("return self.agents.a(CALLED)", not_plain("CALLED")),
        ("return self.agents.a(TWICE)", not_plain("TWICE")),
        ("return self.agents.a(GROWN)", not_plain("GROWN")),
        ("return self.agents.a(LOOP)", not_plain("LOOP")),
        ("return self.agents.a(MAYBE)", not_plain("MAYBE")),
        ("return self.agents.a(Agents)", not_plain("Agents")),
        ("return self.agents.a(1 + 1)", "unsupported argument expression: 1 + 1"),
        ("return self.agents.a(f'{TOPIC}!')", "unsupported argument expression: f'{TOPIC}!'"),
        ("return self.agents.a(b'bytes')", "unsupported argument expression: b'bytes'"),
        ("return self.agents.a(1e999)", "unsupported argument expression: 1e309"),
        ("return self.agents.a({1: 2})", "unsupported argument expression: 1"),
        ("return self.agents.a({**TOPIC})", "unsupported argument expression: **TOPIC"),
        ("return self.agents.a('\\ud800')", "unsupported argument expression: '\\ud800'"),
        ("return self.agents.a(*[1])", "unsupported argument expression: *[1]"),
        ("return self.agents.a(**{})", "unsupported argument expression: **{}"),
        ("return self.agents.a(self.agents.b(1))", "unsupported argument expression: self.agents.b(1)"),
        ("return self.agents.a(lambda: 1)", "unsupported argument expression: lambda: 1"),
        ("return self.agents.a(not TOPIC)", "unsupported argument expression: not TOPIC"),
        (f"{FIRST}return self.agents.b(x.topic)", "unsupported argument expression: x.topic"),
        (f"{FIRST}return self.agents.b(x[1:2])", "unsupported argument expression: [1:2]"),
        (f"{FIRST}return self.agents.b(x[True])", "unsupported argument expression: [True]"),
        (f"{FIRST}return self.agents.b(x[x])", "unsupported argument expression: [x]"),
        (f"{FIRST}return self.agents.b(x.get('k', 1))", "unsupported argument expression: x.get('k', 1)"),
        ("return self.agents.a({'k': 1}['j'])", "there is no 'j' in this value"),
        ("return self.agents.a([1][3])", "there is no 3 in this value"),
        # Inputs
        ("return self.agents.a(workflow.input())", NAME),
        ("return self.agents.a(workflow.input(3))", NAME),
        ("return self.agents.a(workflow.input(''))", NAME),
        ("return self.agents.a(workflow.input(TOPIC))", NAME),
        ("return self.agents.a(workflow.input('q', 1, 2))", NAME),
        ("return self.agents.a(workflow.input('q', k=1))", "unsupported workflow.input() keyword 'k'"),
        ("return self.agents.a(workflow.input('q', **{}))", "unsupported workflow.input() keyword '**'"),
        ("return self.agents.a(workflow.input('q', nothing))", "unknown workflow constant 'nothing'"),
        (
            "return self.agents.a(workflow.input('q'), workflow.input('q', default=1))",
            "input 'q' has two defaults, None and 1",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(author: Author, body: str, message: str) -> None:
    before = (
        "import os\nSET = {1}\nCALLED = len('x')\nTWICE = 1\nTWICE = 2\nGROWN = []\nGROWN.append(1)\n"
        "LOOP = [LOOP]\nif os:\n    MAYBE = 1\nTOPIC = workflow.input('topic', default='tea')"
    )
    lines_before = before.count("\n") + 1

    problems = author.mistakes(body, before=before)

    assert message in [problem.message for problem in problems]
    first_line = author.module("", before=before).count("\n")
    for problem in problems:
        assert problem.file.endswith("flow.py")
        assert problem.line >= lines_before
        assert first_line <= problem.line <= first_line + body.count("\n")


def test_every_mistake_is_told_at_once_in_the_order_of_lines(author: Author) -> None:
    body = """
        x, y = self.agents.a(nothing)
        for i in x: pass
        z = self.agents.nobody(1 + 1, self.agents.b(1))
        w = 3
        return self.agents.b(x, z, w, unknown)
    """

    problems = author.mistakes(body, agent="runner='zz', type='odd'", workflow="name='w', type='x', who=1")

    assert [problem.message for problem in problems] == [
        "unsupported runner 'zz'",
        "workflow.defn() has no option 'who'",
        "workflow type must be 'service' or omitted for batch",
        TARGET,
        "unknown workflow constant 'nothing'",
        STATEMENTS,
        unresolved("nobody"),
        "unsupported argument expression: 1 + 1",
        "unsupported argument expression: self.agents.b(1)",
        CALLS,
        "unknown workflow constant 'unknown'",
    ]


def test_the_text_of_the_error_has_place_message_and_what_is_accepted(author: Author) -> None:
    file = author.write("flow.py", author.module("return ingress()"))

    with pytest.raises(BundleCompileError) as refused:
        build_bundle_from_source(file, "W", author.output)

    assert isinstance(refused.value, ValueError)
    line = file.read_text().splitlines().index("        return ingress()") + 1
    assert str(refused.value).splitlines() == [
        "workflow W cannot be compiled: 1 mistake",
        f"  - {file}:{line}: {SYNTAX} (found ingress(...))",
    ]


def test_a_mistake_does_not_cause_others(author: Author) -> None:
    body = """
        x = self.agents.nobody(1)
        if x["k"] > 1:
            y = self.agents.a(x["deep"]["er"])
        else:
            y = x
        return [x, y, x.get("z")]
    """

    assert len(author.mistakes(body)) == 1


# Workflows and their classes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('@workflow.defn(name="w")\n', "", "class 'W' is not decorated with @workflow.defn"),
        ('@workflow.defn(name="w")', "@workflow.defn", "workflow.defn is called"),
        ('@workflow.defn(name="w")', "@workflow.defn()", "a workflow must have a name"),
        ('@workflow.defn(name="w")', "@workflow.defn(name=' ')", "a workflow must have a name"),
        ('defn(name="w")', "defn('w', 1)", "workflow.defn() takes 1 positional arguments"),
        ("    @workflow.run\n", "", "class W has 0 methods decorated with @workflow.run; it needs one"),
        (
            "    @workflow.run\n",
            "    @workflow.run\n    def other(self): return self.agents.a(1)\n    @workflow.run\n",
            "class W has 2 methods decorated with @workflow.run; it needs one",
        ),
        ("def run(self)", "async def run(self)", "the workflow's run must be a plain method"),
        ("def run(self)", "def run()", "the workflow's run must be a plain method"),
        ("class W:", "class W: pass\nclass W:", "class 'W' is not defined in flow.py, or more than once"),
        ("class W:", "class V:", "class 'W' is not defined in flow.py, or more than once"),
        ("= Agents()", "= Agents(1)", unresolved("a")),
        ("= Agents()", "= Elsewhere()", unresolved("a")),
        ("= Agents()", "= None", unresolved("a")),
        ("= Agents()", "= Agents()\n        self.agents = Agents()", unresolved("a")),
        ("= Agents()", "= Agents() if x else None", unresolved("a")),
        ("self.agents = Agents()", "if x: self.agents = Agents()", unresolved("a")),
        ("def plain", "def a(self): ...\n    def plain", unresolved("a")),
        (
            "class Agents:\n",
            "class Agents:\n    def __init__(self, key, *, other): ...\n",
            "class Agents cannot be made without key, other",
        ),
        ("from mn_sdk import", "from . import x\nfrom mn_sdk import",
         "a bundle's sources are no package: the worker cannot follow a relative import"),
    ],
)  # fmt: skip
def test_a_class_that_is_no_workflow_is_refused(author: Author, old: str, new: str, message: str) -> None:
    text = author.module("return self.agents.a(1)")
    assert old in text

    with pytest.raises(BundleCompileError) as refused:
        author.compile_text(text.replace(old, new, 1))

    assert message in [problem.message for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("retries=3", "option 'retries' of agent 'a' must be a map, found 3"),
        ("retries={'max': 1}", "option 'retries' of agent 'a' has no key 'max'"),
        ("retries={'max_attempts': 'x'}", "node a: config.max_attempts must be"),
        ("runner='docker'", "unsupported runner 'docker'"),
        ("runner={'kind': 'vm'}", "unsupported runner 'vm'"),
        ("type='odd'", 'unsupported template type "odd" for node a'),
        ("env=[1]", "option 'env' of agent 'a' must be a map, found [1]"),
        ("uploads='data'", "option 'uploads' of agent 'a' must be a list of maps, found 'data'"),
        ("uploads=[{'source': '../x'}]", "node a: upload source must not contain '..'"),
        ("raw_config=1", "option 'raw_config' of agent 'a' must be a map, found 1"),
        ("timeout_seconds='soon'", "node a: config.timeout_seconds must be"),
        ("name='a/b'", "node_id \"a/b\" must not contain"),
        ("name=''", "the name of agent 'a' must be text, found ''"),
        ("colour='red'", "agent.defn() has no option 'colour'"),
        ("pool=str(1)", "option 'pool' of agent.defn() must be plain, found str(1)"),
        ("pool=POOLS", "option 'pool' of agent.defn() must be plain, found POOLS"),
        ("env={'A': {1}}", "option 'env' of agent.defn() must be plain, found {'A': {1}}"),
        ("**OPTIONS", "the options **OPTIONS of agent.defn() must be plain"),
        ("pool=workflow.input('q')", "option 'pool' of agent.defn() must be plain, found workf"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused_at_its_decorator(
    author: Author, options: str, message: str
) -> None:
    problems = author.mistakes("return self.agents.a(1)", agent=options)

    assert len(problems) == 1
    assert problems[0].message.startswith(message)
    lines = (author.folder / "flow.py").read_text().splitlines()
    assert options in lines[problems[0].line - 1]


@pytest.mark.parametrize(
    ("signature", "call", "message"),
    [
        ("self", "a(1)", "a() takes 0 positional arguments, found 1"),
        ("self, x", "a()", "a() misses the argument 'x'"),
        ("self, x, *, y", "a(1)", "a() misses the argument 'y'"),
        ("self, x", "a(1, x=2)", "a() gets the argument 'x' twice"),
        ("self, x", "a(1, z=2)", "a() takes no argument 'z'"),
        ("self, x, /", "a(x=1)", "a() takes no argument 'x'"),
    ],
)
def test_arguments_that_the_method_would_not_take_are_refused(
    author: Author, signature: str, call: str, message: str
) -> None:
    text = author.module(f"return self.agents.{call}").replace(
        "def a(self, *args, **kwargs)", f"def a({signature})"
    )

    with pytest.raises(BundleCompileError) as refused:
        author.compile_text(text)

    assert message in [problem.message for problem in refused.value.problems]


def test_an_initial_input_that_nobody_takes_is_refused(author: Author) -> None:
    options = {"initial_inputs": {"topci": 1}}

    (problem,) = author.mistakes("return self.agents.a(workflow.input('topic'))", options=options)

    assert problem.message == "initial input 'topci' is not an input of this workflow"
    assert problem.hint == "this workflow takes topic, a"


@pytest.mark.parametrize(
    "value", [{1, 2}, float("nan"), object(), {1: 2}, b"x", "\ud800"], ids=lambda value: type(value).__name__
)
def test_options_of_the_build_must_be_plain(author: Author, value: object) -> None:
    (problem,) = author.mistakes("return self.agents.a(1)", options={"metadata": {"k": value}})

    assert problem.message.startswith("option 'metadata' of build_bundle() must be plain")


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"def broken(:\n", "invalid syntax"),
        (b"x = '\xff'\n", "invalid syntax"),
        (b"# coding: nonsense\n", "invalid syntax"),
        (b"x = 1\0\n", "invalid syntax"),
        (b"x = " + b"(" * 10_000, "invalid syntax"),
        (b"x = " + b"-" * 100_000 + b"1", "the file cannot be parsed"),
    ],
    ids=["syntax", "utf8", "coding", "nul", "parentheses", "deep"],
)
def test_a_file_that_is_no_python_is_refused(author: Author, content: bytes, message: str) -> None:
    file = author.write("flow.py", content)

    with pytest.raises(BundleCompileError) as refused:
        build_bundle_from_source(file, "W", author.output)

    # Versions of Python part differently into what is no syntax and what cannot be parsed.
    assert refused.value.problems[0].message.startswith((message, "the file cannot be parsed"))


def test_an_expression_that_is_nested_too_deeply_is_refused(author: Author) -> None:
    problems = author.mistakes("x = self.agents.a(1)\nreturn self.agents.b(x" + "[0]" * 900 + ")")

    assert len(problems) == 1


@pytest.mark.parametrize(
    "name", ["json.py", "mn_worker.py", "mn_sdk.py", "a.b.py", "__init__.py", "flow.txt"]
)
def test_a_file_that_the_worker_could_not_import_is_refused(author: Author, name: str) -> None:
    file = author.write(name, author.module("return self.agents.a(1)"))

    with pytest.raises(BundleCompileError, match="cannot be imported as"):
        build_bundle_from_source(file, "W", author.output)


def test_a_class_without_a_file_of_its_own_is_refused(author: Author) -> None:
    class Local:
        pass

    with pytest.raises(BundleCompileError, match="must be at the top of its module"):
        build_bundle(Local, author.output)
    with pytest.raises(BundleCompileError, match="has no source file"):
        build_bundle(int, author.output)


def test_a_file_that_is_not_there_is_refused(author: Author) -> None:
    with pytest.raises(BundleCompileError, match="cannot be read"):
        build_bundle_from_source(author.folder / "nowhere.py", "W", author.output)


def test_a_hundred_mistakes_are_listed_and_the_rest_counted(author: Author) -> None:
    body = "\n".join(f"x{number} = {number}" for number in range(150)) + "\nreturn self.agents.a(1)"

    with pytest.raises(BundleCompileError, match="150 mistakes, the first 100 of them") as refused:
        author.compile(body)

    assert len(refused.value.problems) == 100
