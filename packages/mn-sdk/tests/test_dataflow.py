"""Programs that are more than a chain: what may be passed where, branches, scatters and actions.

What the compiled values mean is compared with Python itself in tests/test_dataflow_is_python.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from authoring import Author

TOPIC = "TOPIC = workflow.input('topic', default='tea')\nN = 3"


def args(flow: dict[str, Any], id: str) -> list[Any]:
    """The positional arguments of a call."""
    return list(call(flow, id).get("args", []))


def call(flow: dict[str, Any], id: str) -> dict[str, Any]:
    """A call by its id."""
    (found,) = [one for one in flow["calls"] if one["id"] == id]
    return dict(found)


def test_calls_take_results_inputs_constants_and_literals_by_position_and_by_name(author: Author) -> None:
    flow = author.dataflow(
        """
        x = self.agents.a(TOPIC, N)
        y = self.agents.b(workflow.input("depth", default=2), 'text')
        return self.agents.d(x, y["k"][0], both=[x, {"y": y, "n": N}], n=N, t=TOPIC["part"])
        """,
        before=TOPIC,
    )

    assert flow["inputs"] == {"topic": "tea", "depth": 2}
    assert args(flow, "a") == [{"input": "topic"}, {"literal": 3}]
    assert args(flow, "b") == [{"input": "depth"}, {"literal": "text"}]
    assert args(flow, "d") == [{"call": "a"}, {"call": "b", "path": ["k", 0]}]
    assert call(flow, "d")["kwargs"] == {
        "both": {"list": [{"call": "a"}, {"map": {"y": {"call": "b"}, "n": {"literal": 3}}}]},
        "n": {"literal": 3},
        "t": {"input": "topic", "path": ["part"]},
    }
    assert flow["result"] == {"call": "d"}


def test_edges_are_the_dependencies_and_whoever_has_none_is_an_entrypoint(author: Author) -> None:
    manifest = author.compile(
        """
        x = self.agents.a(1)
        y = self.agents.b(2)
        return self.agents.d(x, [y, x])
        """
    )

    assert [(edge["from_node"], edge["to_node"]) for edge in manifest["edges"]] == [("a", "d"), ("b", "d")]
    assert manifest["entrypoints"] == ["a", "b"]
    assert [node.get("role") for node in manifest["nodes"]] == ["root_coordinator", "root_coordinator", None]
    assert manifest["initial_inputs"] == {}
    assert manifest["agents"]["nodes"] == manifest["nodes"]


def test_every_worker_of_a_dataflow_answers_with_its_plain_result(author: Author) -> None:
    manifest = author.compile("x = self.agents.a(1)\nreturn self.agents.b(x, 2)")

    for node in manifest["nodes"]:
        environment = node["config"]["environment"]
        assert (environment["MN_PY_FINAL"], environment["MN_PY_COMPLETE_FINAL"]) == ("1", "1")


@pytest.mark.parametrize(
    "body",
    [
        "x = self.agents.a(1)\nreturn self.agents.b(y=x)",
        "x = self.agents.a(1)\nreturn self.agents.b(x, 1)",
        "x = self.agents.a(1)\nreturn self.agents.b()",
        "x = self.agents.a(1)\nreturn self.agents.b(x['k'])",
        "x = self.agents.a(1)\nreturn self.agents.b([x])",
        "x = self.agents.a(1)\ny = self.agents.b(x)\nreturn self.agents.d(x)",
        "x = self.agents.a(1)\nreturn [x]",
        "x = self.agents.a(1)\ny = self.agents.b(x)\nreturn x",
        "return [self.agents.a(x) for x in [1]]",
        "x = self.agents.clean(path=1)\nreturn self.agents.b(x)",
        "if TOPIC:\n    return self.agents.a(1)\nelse:\n    return self.agents.b(1)",
    ],
)
def test_more_than_a_chain_is_a_dataflow_and_no_service(author: Author, body: str) -> None:
    manifest = author.compile(body, before=TOPIC)
    (author.output / "manifest.json").unlink()
    problems = author.mistakes(body, before=TOPIC, workflow="name='w', type='service'")

    assert "dataflow" in manifest
    assert [problem.message for problem in problems] == ["a service workflow must be a chain of agents"]
    assert problems[0].hint


def test_to_return_the_last_result_by_name_is_still_a_chain(author: Author) -> None:
    by_name = author.compile("x = self.agents.a(1)\ny = self.agents.b(x)\nreturn y")
    at_once = author.compile("x = self.agents.a(1)\nreturn self.agents.b(x)")

    assert "dataflow" not in by_name
    assert by_name["nodes"] == at_once["nodes"]
    assert by_name["edges"] == at_once["edges"]


def test_inputs_that_are_supplied_are_those_of_the_dataflow(author: Author) -> None:
    options = {"initial_inputs": {"topic": ["coffee"]}}

    manifest = author.compile("x = self.agents.a(TOPIC)\nreturn [x]", before=TOPIC, options=options)

    assert manifest["dataflow"]["inputs"] == {"topic": ["coffee"]}
    assert manifest["metadata"]["python_inputs"] == {"topic": "tea"}


# Scatter ------------------------------------------------------------------------------------------


def test_a_list_comprehension_is_a_scatter_and_its_use_a_gather(author: Author) -> None:
    flow = author.dataflow(
        """
        parts = self.agents.a(1)
        scores = [self.agents.b(part["text"], part, weight=parts["n"]) for part in parts["items"]]
        return self.agents.d(scores, scores[0], scores[-1]["k"])
        """
    )

    assert call(flow, "b") == {
        "id": "b",
        "args": [{"item": True, "path": ["text"]}, {"item": True}],
        "kwargs": {"weight": {"call": "a", "path": ["n"]}},
        "each": {"call": "a", "path": ["items"]},
    }
    assert args(flow, "d") == [
        {"call": "b"},
        {"call": "b", "path": [0]},
        {"call": "b", "path": [-1, "k"]},
    ]


@pytest.mark.parametrize(
    ("items", "each"),
    [
        ("TOPIC", {"input": "topic"}),
        ("[1, 2]", {"literal": [1, 2]}),
        ("[x, TOPIC]", {"list": [{"call": "a"}, {"input": "topic"}]}),
        ("x", {"call": "a"}),
    ],
)
def test_a_scatter_goes_over_any_list(author: Author, items: str, each: Any) -> None:
    flow = author.dataflow(f"x = self.agents.a(1)\nreturn [self.agents.b(i) for i in {items}]", before=TOPIC)

    assert call(flow, "b")["each"] == each
    assert flow["result"] == {"call": "b"}


@pytest.mark.parametrize(
    "comprehension",
    [
        "[self.agents.b(i) for i in x if i]",
        "[self.agents.b(i, j) for i in x for j in x]",
        "[self.agents.b(i) for i, j in x]",
        "[i for i in x]",
        "[self.agents.b(i)['k'] for i in x]",
        "[self.agents.b(i) async for i in x]",
        "[self.agents.b(i) for i in {'a': x}]",
        "[self.agents.b(i) for i in 'text']",
    ],
)
def test_any_other_comprehension_is_refused(author: Author, comprehension: str) -> None:
    (problem,) = author.mistakes(f"x = self.agents.a(1)\nreturn {comprehension}")

    assert problem.message.startswith("unsupported scatter: ")
    assert "for x in items" in problem.hint


def test_the_name_of_an_item_is_not_known_outside_its_scatter(author: Author) -> None:
    (problem,) = author.mistakes("x = [self.agents.a(i) for i in [1]]\nreturn self.agents.b(x, i)")

    assert problem.message == "unknown workflow constant 'i'"


# Branches -----------------------------------------------------------------------------------------


def test_an_if_is_a_branch_and_a_name_that_every_arm_assigns_has_its_value_after_it(author: Author) -> None:
    flow = author.dataflow(
        """
        x = self.agents.a(1)
        if x["n"] > 2:
            y = self.agents.b(x)
        elif x["tag"] == "c":
            y = self.agents.c(x)
        else:
            y = None
        return self.agents.d(y)
        """
    )

    more = {"path": ["calls", "a", "n"], "op": ">", "value": 2}
    tagged = {"path": ["calls", "a", "tag"], "op": "==", "value": "c"}
    assert call(flow, "b")["if"] == more
    assert call(flow, "sea")["if"] == {"all": [{"not": more}, tagged]}
    assert args(flow, "d") == [
        {
            "either": [
                {"if": more, "then": {"call": "b"}},
                {"if": tagged, "then": {"call": "sea"}},
                {"then": {"literal": None}},
            ]
        }
    ]


def test_the_arms_may_return(author: Author) -> None:
    flow = author.dataflow(
        """
        x = self.agents.a(1)
        if x:
            return self.agents.b(x)
        y = self.agents.c(x)
        return self.agents.d(y)
        """
    )

    asked = {"path": ["calls", "a"], "op": "truthy"}
    assert call(flow, "sea")["if"] == {"not": asked}
    assert flow["result"] == {"either": [{"if": asked, "then": {"call": "b"}}, {"then": {"call": "d"}}]}


def test_branches_within_branches_ask_both(author: Author) -> None:
    flow = author.dataflow(
        """
        x = self.agents.a(1)
        if x["p"]:
            if x["q"]:
                y = self.agents.b(x)
            else:
                y = x["other"]
        else:
            y = 0
        return self.agents.d(y)
        """
    )

    p, q = ({"path": ["calls", "a", key], "op": "truthy"} for key in "pq")
    assert call(flow, "b")["if"] == {"all": [p, q]}
    inner = {"either": [{"if": q, "then": {"call": "b"}}, {"then": {"call": "a", "path": ["other"]}}]}
    assert args(flow, "d") == [{"either": [{"if": p, "then": inner}, {"then": {"literal": 0}}]}]


@pytest.mark.parametrize(
    ("condition", "tree"),
    [
        ("x", {"path": ["calls", "a"], "op": "truthy"}),
        ("not x", {"not": {"path": ["calls", "a"], "op": "truthy"}}),
        ("TOPIC", {"path": ["inputs", "topic"], "op": "truthy"}),
        ("TOPIC['k'] == N", {"path": ["inputs", "topic", "k"], "op": "==", "value": 3}),
        ("workflow.input('q') != None", {"path": ["inputs", "q"], "op": "!=", "value": None}),
        (
            "x.get('k') is None",
            {"path": ["calls", "a", {"get": "k"}], "op": "==", "value": None},
        ),
        ("x['k'] is not None", {"not": {"path": ["calls", "a", "k"], "op": "==", "value": None}}),
        (
            "x.get('k').get('j', None) >= -1.5",
            {"path": ["calls", "a", {"get": "k"}, {"get": "j"}], "op": ">=", "value": -1.5},
        ),
        ("x[0] < 1", {"path": ["calls", "a", 0], "op": "<", "value": 1}),
        ("1 < x[0]", {"path": ["calls", "a", 0], "op": ">", "value": 1}),
        ("1 >= x[0]", {"path": ["calls", "a", 0], "op": "<=", "value": 1}),
        ("'k' == x", {"path": ["calls", "a"], "op": "==", "value": "k"}),
        ("x['k'] in ['a', 'b']", {"path": ["calls", "a", "k"], "op": "in", "value": ["a", "b"]}),
        ("x['k'] not in ('a',)", {"not": {"path": ["calls", "a", "k"], "op": "in", "value": ["a"]}}),
        ("'a' in x['k']", {"path": ["calls", "a", "k"], "op": "contains", "value": "a"}),
        (
            "0 < x[0] <= 9",
            {
                "all": [
                    {"path": ["calls", "a", 0], "op": ">", "value": 0},
                    {"path": ["calls", "a", 0], "op": "<=", "value": 9},
                ]
            },
        ),
        (
            "x and (TOPIC or not x) and x == 1",
            {
                "all": [
                    {"path": ["calls", "a"], "op": "truthy"},
                    {
                        "any": [
                            {"path": ["inputs", "topic"], "op": "truthy"},
                            {"not": {"path": ["calls", "a"], "op": "truthy"}},
                        ]
                    },
                    {"path": ["calls", "a"], "op": "==", "value": 1},
                ]
            },
        ),
    ],
)
def test_what_an_if_may_ask(author: Author, condition: str, tree: Any) -> None:
    body = f"""
        x = self.agents.a(1)
        if {condition}:
            y = self.agents.b()
        else:
            y = 1
        return [x, y]
    """

    assert call(author.dataflow(body, before=TOPIC), "b")["if"] == tree


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("True", "it depends on nothing"),
        ("N == 3", "two literals"),
        ("x == x", "two results or inputs"),
        ("x['k'] > 'a'", "> compares numbers only"),
        ("x['k'] <= True", "<= compares numbers only"),
        ("x is 3", "a condition asks about a result or an input"),
        ("x in 3", "what stands after `in` holds nothing"),
        ("len(x) > 3", "a condition asks about a result or an input"),
        ("x + 1 > 3", "a condition asks about a result or an input"),
        ("isinstance(x, dict)", "a condition asks about a result or an input"),
        ("[x]", "a condition asks about a result or an input"),
        ("(z := x)", "a condition asks about a result or an input"),
        ("x if x else x", "a condition asks about a result or an input"),
        ("x.ok", "a condition asks about a result or an input"),
    ],
)
def test_any_other_condition_is_refused(author: Author, condition: str, hint: str) -> None:
    body = f"x = self.agents.a(1)\nif {condition}:\n    return self.agents.b(x)\nreturn x"

    (problem,) = author.mistakes(body, before=TOPIC)

    assert problem.message.startswith("unsupported condition: ")
    assert hint in problem.hint


def test_a_condition_may_ask_about_what_an_earlier_if_has_chosen(author: Author) -> None:
    flow = author.dataflow(
        """
        x = self.agents.a(1)
        if x:
            y = self.agents.b(x)
        else:
            y = self.agents.c(x)
        if y["ok"]:
            return self.agents.d(y)
        return y["error"]
        """
    )

    asked = {"path": ["calls", "a"], "op": "truthy"}
    assert call(flow, "d")["if"] == {
        "any": [
            {"all": [asked, {"path": ["calls", "b", "ok"], "op": "truthy"}]},
            {"all": [{"not": asked}, {"path": ["calls", "sea", "ok"], "op": "truthy"}]},
        ]
    }


def test_a_name_that_only_some_branches_assign_cannot_be_used_after_them(author: Author) -> None:
    body = """
        x = self.agents.a(1)
        if x:
            y = self.agents.b(x)
        return self.agents.d(y)
    """

    (problem,) = author.mistakes(body)

    assert problem.message == "'y' is assigned in some branches only"
    assert problem.hint.startswith("assign it in every branch of the `if` in line ")


def test_an_agent_that_is_called_in_two_branches_is_called_twice(author: Author) -> None:
    body = """
        x = self.agents.a(1)
        if x:
            return self.agents.b(1)
        else:
            return self.agents.b(2)
    """

    (problem,) = author.mistakes(body)

    assert problem.message == "duplicate node_id 'b' in workflow"


def test_too_many_tests_in_one_branch_are_refused_and_not_cut(author: Author) -> None:
    arms = "".join(f"elif x[{number}] == 1:\n    y = {number}\n" for number in range(1, 120))

    begin, end = (
        "x = self.agents.a(1)\nif x[0] == 1:\n    y = 0\n",
        "else:\n    y = self.agents.b(x)\nreturn y",
    )
    problems = author.mistakes(begin + arms + end)

    told = {problem.message for problem in problems}
    assert told == {"the condition of this branch has more than 200 tests"}


def test_a_value_that_doubles_with_every_branch_is_refused(author: Author) -> None:
    doubling = "if x:\n    y = [y, y]\nelse:\n    y = x\n" * 40

    problems = author.mistakes(
        f"x = self.agents.a(1)\nif x:\n    y = x\nelse:\n    y = 0\n{doubling}return self.agents.b(y)"
    )

    assert problems[0].message == "a value has more than 20000 parts"


# Looking into what is known -----------------------------------------------------------------------


def test_get_is_null_where_nothing_is_and_a_subscript_is_not(author: Author) -> None:
    flow = author.dataflow(
        "x = self.agents.a(1)\nreturn self.agents.b(x['j'].get('k')[0], x['k'], {'n': 1}.get('n'))"
    )

    assert args(flow, "b") == [
        {"call": "a", "path": ["j", {"get": "k"}, 0]},
        {"call": "a", "path": ["k"]},
        {"literal": 1},
    ]


def test_a_chain_may_get_what_its_input_lacks(author: Author) -> None:
    manifest = author.compile("return self.agents.a(workflow.input('q', default={}).get('no'))")

    assert manifest["initial_inputs"] == {"a": [{"args": [None], "kwargs": {}}]}


def test_get_looks_into_each_value_that_an_if_may_have_chosen(author: Author) -> None:
    flow = author.dataflow(
        """
        x = self.agents.a(1)
        if x:
            y = {"k": x}
        else:
            y = {"j": 1}
        return self.agents.b(y.get("k"))
        """
    )

    asked = {"path": ["calls", "a"], "op": "truthy"}
    choices = [{"if": asked, "then": {"call": "a"}}, {"then": {"literal": None}}]
    assert args(flow, "b") == [{"either": choices}]


def test_get_of_what_has_no_keys_is_refused(author: Author) -> None:
    (problem,) = author.mistakes("x = self.agents.a(1)\nreturn self.agents.b([x].get('j'))")

    assert problem.message == "there is no 'j' in this value"


def test_to_look_into_what_was_put_together_finds_the_part(author: Author) -> None:
    flow = author.dataflow(
        """
        x = self.agents.a(1)
        if x:
            y = {"k": [x, 1]}
        else:
            y = {"k": [2, x["z"]]}
        return self.agents.b(y["k"][1])
        """
    )

    asked = {"path": ["calls", "a"], "op": "truthy"}
    choices = [{"if": asked, "then": {"literal": 1}}, {"then": {"call": "a", "path": ["z"]}}]
    assert args(flow, "b") == [{"either": choices}]


# Actions ------------------------------------------------------------------------------------------


def test_an_agent_may_use_a_governed_action_as_its_work(author: Author) -> None:
    manifest = author.compile(
        "x = self.agents.clean(path='/tmp', days=N)\nreturn self.agents.b(x)", before=TOPIC
    )

    node = manifest["nodes"][0]
    assert node["config"] == {"uses_action": "host.clean"}
    assert call(manifest["dataflow"], "clean")["kwargs"] == {
        "path": {"literal": "/tmp"},
        "days": {"literal": 3},
    }
    assert author.checked(manifest).nodes[0].uses_action == "host.clean"


def test_the_parameters_of_an_action_may_be_one_map(author: Author) -> None:
    flow = author.dataflow("x = self.agents.a(1)\nreturn self.agents.clean(x)")

    assert call(flow, "clean") == {"id": "clean", "args": [{"call": "a"}]}


@pytest.mark.parametrize("given", ["'/tmp'", "1, 2", "{}, path=1"])
def test_an_action_takes_no_other_positional_arguments(author: Author, given: str) -> None:
    (problem,) = author.mistakes(f"return self.agents.clean({given})")

    assert problem.message == "agent 'clean' uses an action: it takes parameters by name, or one map of them"


def test_options_of_a_process_say_nothing_about_an_action(author: Author) -> None:
    options = "uses_action='host.clean', env={'A': '1'}, retries={'max_attempts': 2}"

    (problem,) = author.mistakes("return self.agents.a(path=1)", agent=options)

    assert problem.message == "agent 'a' uses an action: option 'env' says nothing about it"


def test_the_name_of_an_action_has_a_plugin_and_an_action(author: Author) -> None:
    (problem,) = author.mistakes("return self.agents.a(path=1)", agent="uses_action='clean'")

    assert problem.message == "option 'uses_action' of agent 'a' must be text, found 'clean'"
    assert problem.hint == 'write uses_action="plugin.action"'
