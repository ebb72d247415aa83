"""What goes in and what comes out, everywhere."""

import os

import pytest

from entangle.errors import TaskError, UnpicklableError
from entangle.task import gather
from entangle.testing.bodies import VALUES
from entangle.thread import thread

try:
    import numpy as np
except ImportError:
    np = None


def echo(*args, **kwargs):
    return args, kwargs


def same(value):
    return value


def size(value):
    return len(value)


def number(value=1):
    return value


class Point:
    """A class of the test module, which workers know by value alone."""

    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is Point and other.x == self.x

    __hash__ = None


class Lock:
    """What does not pickle."""

    def __reduce__(self):
        raise TypeError("a lock stays at home")


class Broken:
    """What pickles, and cannot be put together again."""

    def __reduce__(self):
        return _explode, ()


def _explode():
    raise ValueError("nothing to be made of this")


def test_values_come_back_as_they_went(place):
    task = place.task(same)
    for value in (*VALUES, ValueError("as a value"), len):
        returned = task(value)()
        assert type(returned) is type(value)
        assert repr(returned) == repr(value)


def test_arguments_of_all_kinds(place):
    done = place.task(echo)(1, (2,), x=[3], y=None)()
    assert done == ((1, (2,)), {"x": [3], "y": None})


def test_instances_come_back_as_instances_of_the_callers_class(place):
    if place.name == "loky":
        pytest.skip("its workers cannot import this module, and it breaks the pool")
    point = Point(3)
    returned = place.task(same)(point)()
    assert returned == point
    assert (returned is point) == (not place.own_process and not place.inline)


def test_where_the_body_runs(place):
    pid = place.task(os.getpid)()()
    assert (pid == os.getpid()) == (not place.own_process)


def test_bytes_of_any_size_both_ways(place):
    task = place.task(same)
    for size_ in (0, 1, 4095, 4096, 70_000, 5_000_000):
        data = os.urandom(size_)
        assert task(data)() == data


def test_fifty_megabytes(place):
    assert len(place.task(bytes)(50_000_000)()) == 50_000_000
    assert place.task(size)(bytes(50_000_000))() == 50_000_000


@pytest.mark.skipif(np is None, reason="numpy is not installed")
def test_arrays_both_ways(place):
    task = place.task(same)
    for shape in ((0,), (3, 4), (1000, 1000)):
        array = np.arange(int(np.prod(shape)), dtype="f8").reshape(shape)
        returned = task(array)()
        assert returned.dtype == array.dtype
        assert returned.shape == shape
        assert np.array_equal(returned, array)
        returned[...] = 0  # as writable as the one that was made


def test_a_value_goes_on_to_the_next_task(place):
    made, measured = place.task(bytes), place.task(size)
    assert measured(made(100_000))() == 100_000


def test_nodes_nested_in_arguments(place):
    one = place.task(number)
    done = place.task(echo)([one(1), (one(2), {"k": one(3)})], k={one(4)})()
    assert done == (([1, (2, {"k": 3})],), {"k": {4}})


def test_a_hundred_calls_at_once(place):
    calls = 10 if place.name == "@process(fresh)" else 100
    assert place.task(number).map(range(calls))() == list(range(calls))


def test_a_task_that_returns_a_node(place):
    here = thread(number)

    def deeper(depth):
        return here(depth)

    returns = place.task(deeper)
    if place.foreign and place.own_process:
        with pytest.raises(Exception, match=r"has not run|pickle"):
            returns(5)()
    else:
        assert returns(5)() == 5


def test_a_task_that_returns_nodes_in_containers(place):
    here = thread(number)

    def several():
        return [here(1), {"two": (here(2),)}]

    if place.foreign and place.own_process:
        pytest.skip("refused, as the test above shows")
    assert place.task(several)()() == [1, {"two": (2,)}]


def test_unpicklable_arguments(place):
    lock = Lock()
    call = place.task(same)({"locks": [lock]})
    if place.own_process or place.inline:
        with pytest.raises(Exception, match=r"stays at home|pickle") as caught:
            call()
        if not place.foreign:
            assert isinstance(caught.value, UnpicklableError)
            assert "locks" in caught.value.path or place.inline
    else:
        assert call()["locks"][0] is lock


def test_an_argument_that_cannot_be_rebuilt(place):
    if not place.own_process and not place.inline:
        pytest.skip("nothing is copied here")
    if place.foreign:
        pytest.skip("concurrent.futures breaks the whole pool")
    with pytest.raises(Exception, match="nothing to be made of this"):
        place.task(type)(Broken())()


def test_unpicklable_results(place):
    call = place.task(Lock)()
    if place.own_process:
        with pytest.raises(Exception, match="stays at home"):
            call()
    else:
        assert type(call()) is Lock


def test_a_result_that_cannot_be_rebuilt(place):
    if place.foreign and place.own_process:
        pytest.skip("concurrent.futures breaks the whole pool")
    call = place.task(Broken)()
    if place.own_process:
        with pytest.raises(TaskError, match="nothing to be made of this"):
            call()
    else:
        assert type(call()) is Broken


def test_a_function_without_a_name_of_its_own(place):
    offset = 10
    assert place.task(lambda x: x + offset)(1)() == 11


def test_order_without_data(place, tmp_path):
    trail = tmp_path / "trail"

    def step(name):
        with trail.open("a") as file:
            file.write(name)

    follow = place.task(step)
    follow("c").after(follow("b").after(follow("a")))()
    assert trail.read_text() == "abc"


def test_gather_and_items(place):
    one = place.task(number)
    assert gather(one(1), one(2))() == [1, 2]
    pair = place.task(same)({"x": one(7)})
    assert pair["x"]() == 7
    first, second = place.task(same)((one(1), one(2))).unpack(2)
    assert gather(second, first)() == [2, 1]
