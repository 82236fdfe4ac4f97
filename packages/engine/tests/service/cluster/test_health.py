"""What results of checks say about a service."""

from __future__ import annotations

import pytest
from headway.service.cluster.health import CheckState, Status, after, service_status
from hypothesis import given
from hypothesis import strategies as st


def states(results: list[bool], needed: int = 1) -> CheckState:
    state = CheckState()
    for now_ms, good in enumerate(results, 1):
        state = after(state, good=good, message="said", failures_before_critical=needed, now_ms=now_ms)
    return state


def test_before_the_first_result_a_check_is_a_warning() -> None:
    assert states([]).status == "warning"


@pytest.mark.parametrize(
    ("results", "needed", "status"),
    [
        ([True], 1, "passing"),
        ([False], 1, "critical"),
        ([True, False], 2, "passing"),
        ([False], 2, "warning"),
        ([True, False, False], 2, "critical"),
        ([False, False, True], 2, "passing"),
        ([True, False, True, False], 2, "passing"),
    ],
)
def test_only_so_many_failures_in_a_row_make_a_check_critical(
    results: list[bool], needed: int, status: Status
) -> None:
    assert states(results, needed).status == status


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_a_check_is_critical_exactly_while_enough_failures_end_its_results(
    results: list[bool], needed: int
) -> None:
    row = next((i for i, good in enumerate(reversed(results)) if good), len(results))

    assert (states(results, needed).status == "critical") == (row >= needed)


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ([], "passing"),
        ([(True, "passing"), (False, "passing")], "passing"),
        ([(True, "passing"), (False, "critical")], "warning"),
        ([(True, "warning")], "warning"),
        ([(True, "critical"), (False, "passing")], "critical"),
        ([(False, "critical"), (False, "critical")], "warning"),
    ],
)
def test_required_checks_decide_and_optional_ones_warn(
    checks: list[tuple[bool, Status]], status: Status
) -> None:
    assert service_status(checks) == status
