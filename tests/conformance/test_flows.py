"""Flows whose functions run everywhere: the same values, errors and order."""

import itertools

import pytest

from entangle.dataflow import dataflow
from entangle.errors import FlowError


def inc(value):
    return value + 1


def double(value):
    return [value, value]


def total(*values, start=0):
    return sum(itertools.chain(*values), start)


def picky(value):
    if value % 4 == 2:
        raise ValueError(value)
    return value


@pytest.fixture
def push(place):
    """Make a dataflow task that runs in the place."""
    if place.name == "@workflow":
        pytest.skip("a workflow pulls")
    return lambda fn, **options: dataflow(place.task(fn, **options))


def test_fan_out_and_fan_in(push):
    inc_, double_, total_ = push(inc), push(double), push(total)
    both = total_(inc_(), start=10)
    flow = inc_(double_(both), inc_(double_(both)), double_())
    assert flow(1) == (2 + 2 + 3 + 3 + 10 + 1, [2, 2])
    assert flow(2) == (3 + 3 + 4 + 4 + 10 + 1, [3, 3])


def test_choices(push):
    inc_, double_ = push(inc), push(double)
    flow = inc_(lambda value: double_() if value % 2 else None, inc_())
    assert flow(2) == ([3, 3], 4)
    assert flow(1) == (3,)


def test_failures(push):
    inc_, picky_ = push(inc), push(picky)
    with pytest.raises(FlowError) as caught:
        inc_(picky_(inc_()), inc_())(1)
    (error,) = caught.value.exceptions
    assert (type(error), error.args) == (ValueError, (2,))


@pytest.mark.parametrize("ordered", [True, False])
def test_streams(push, ordered):
    inc_, double_, picky_ = push(inc), push(double), push(picky)
    flow = inc_(picky_(double_()), double_())
    stream = flow.stream(range(12), errors="yield", ordered=ordered, buffer=4)
    results = list(stream)
    errors = [each for each in results if isinstance(each, FlowError)]
    assert sorted(each.input for each in errors) == [1, 5, 9]
    values = [each for each in results if not isinstance(each, FlowError)]
    expected = [([n + 1] * 2, [n + 1] * 2) for n in range(12) if n % 4 != 1]
    assert (values if ordered else sorted(values)) == expected


def test_a_stream_that_is_left(push):
    for (value,) in push(inc)(push(inc)()).stream(itertools.count()):
        if value > 10:
            break


def test_retries(push, place):
    picky_ = push(picky, retry=1)
    with pytest.raises(FlowError) as caught:
        picky_()(2)
    assert type(caught.value.exceptions[0].__cause__).__name__ == (
        "ProcessRetryException"
    )


def test_callbacks(push):
    seen = []
    told = dataflow(callback=lambda function, value: seen.append(value))
    assert told(push(inc))(told(push(double))())(1) == ([2, 2],)
    assert seen == [2, [2, 2]]
