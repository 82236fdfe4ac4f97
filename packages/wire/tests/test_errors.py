"""One tree, one table: every kind leaves a process the same way and comes back as itself."""

from __future__ import annotations

import inspect

import pytest
from headway_wire import errors
from headway_wire.errors import HeadwayError, Invalid, NotFound, Problem, Throttled, Unavailable


def test_every_concrete_class_is_in_the_table_of_kinds() -> None:
    classes = {
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, HeadwayError) and cls is not HeadwayError
    }

    assert set(errors.KINDS.values()) == classes


@pytest.mark.parametrize("kind", sorted(errors.KINDS))
def test_an_error_comes_back_from_its_dictionary_unchanged(kind: str) -> None:
    given = errors.KINDS[kind](
        "two things are wrong",
        code="both_wrong",
        problems=[
            Problem("is empty", where="steps[0].id", file="a.yaml", line=3, hint="name it"),
            "and late",
        ],
        facts={"limit": 3},
    )

    back = errors.from_dict(given.to_dict())

    assert type(back) is type(given)
    assert (back.message, back.code, back.problems, back.facts) == (
        given.message,
        "both_wrong",
        given.problems,
        {"limit": 3},
    )


def test_the_text_of_an_error_holds_all_problems() -> None:
    error = Invalid("the file is wrong", problems=[Problem("is empty", where="name"), Problem("is late")])

    assert str(error).splitlines() == ["the file is wrong", "  - name: is empty", "  - is late"]


@pytest.mark.parametrize("kind", sorted(errors.KINDS))
def test_a_kind_survives_the_trip_through_its_grpc_status(kind: str) -> None:
    cls = errors.KINDS[kind]

    back = errors.from_grpc(cls.grpc_status, "no", code="mine")

    assert back.code == "mine"
    assert back.grpc_status == cls.grpc_status or kind == "refused"
    assert back.retryable is cls.retryable


def test_the_status_of_a_peer_is_kept_where_one_kind_stands_for_several() -> None:
    error = errors.from_grpc("UNIMPLEMENTED", "Method not found!")

    assert isinstance(error, NotFound)
    assert error.code == "unimplemented"
    assert error.facts["grpc_status"] == "UNIMPLEMENTED"


def test_exit_codes_follow_who_must_act() -> None:
    assert [
        errors.KINDS[kind].exit_code for kind in ("invalid", "unauthenticated", "forbidden", "not_found")
    ] == [
        2,
        3,
        4,
        5,
    ]
    assert Unavailable("x").exit_code == 6
    assert errors.Broken("x").exit_code == 70


def test_a_throttled_caller_learns_when_to_come_back() -> None:
    assert Throttled("slow down", retry_after_ms=250).details["retry_after_ms"] == 250
