"""More calls of a task than are under way at once."""

import pytest

from entangle._run.window import WIDTH
from entangle.errors import BudgetExceededError
from entangle.process import process
from entangle.run import budget
from entangle.task import gather

pytestmark = pytest.mark.process
MORE = WIDTH + 90


@process
def same(value):
    return value


@process
def unfit():
    return []


def test_all_come():
    assert gather(*[same(number) for number in range(MORE)])() == list(range(MORE))


def test_all_come_of_calls_that_need_others():
    one = same(1)
    assert gather(*[same(one) for _ in range(MORE)])() == [1] * MORE


def test_none_can_begin():
    """Those who are let in never leave, and keep nobody out."""
    several = unfit()
    ended = gather(*[same({several}) for _ in range(MORE)], return_exceptions=True)
    assert {type(error) for error in ended.run(timeout=60)} == {TypeError}


def test_none_can_be_paid_for():
    with budget(tasks=0):
        ended = gather(*[same(n) for n in range(MORE)], return_exceptions=True)
        assert {type(e) for e in ended.run(timeout=60)} == {BudgetExceededError}
