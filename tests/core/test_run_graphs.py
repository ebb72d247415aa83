"""Graphs: what is computed, how often, in which order, and what comes out."""

import gc
import threading
import time
import weakref

import pytest

from entangle.errors import CompositionError
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread
from entangle.workflow import workflow


@thread
def number(value=1):
    return value


@thread
def add(a, b):
    return a + b


@thread
def total(values):
    return sum(values)


class Counter:
    """Counts the calls of a thread task."""

    def __init__(self):
        self.count = 0
        self.lock = threading.Lock()

    def __call__(self, value=None):
        with self.lock:
            self.count += 1
        return self.count if value is None else value


# -- once ------------------------------------------------------------------------


def test_a_node_used_twice_is_computed_once_per_run():
    counter = Counter()
    node = thread(counter)()
    assert add(node, node)() == 2
    assert counter.count == 1
    assert gather(node, add(node, [node][0]), node)() == [2, 4, 2]
    assert counter.count == 2
    assert node() == 3


def test_nodes_arrive_where_they_were_written():
    @thread
    def same(*args, **kwargs):
        return args, kwargs

    a, b, c = number(1), number(2), number(3)
    assert same(a, b, c)() == ((1, 2, 3), {})
    assert same(c, a, c)() == ((3, 1, 3), {})
    assert same(a, a, x=b)() == ((1, 1), {"x": 2})
    assert same(a, 7, b)() == ((1, 7, 2), {})
    assert same(b, b).after(a)() == ((2, 2), {})
    assert same(b, a).after(c)() == ((2, 1), {})
    assert same([b], a)() == (([2], 1), {})


def test_a_returned_node_that_is_in_the_graph_is_computed_once():
    counter = Counter()
    node = thread(counter)("v")

    @workflow
    def give():
        return node

    assert gather(give(), node, give())() == ["v"] * 3
    assert counter.count == 1


def test_a_returned_node_whose_value_was_used_up_is_computed_once():
    counter = Counter()
    node = thread(counter)("v")

    @workflow
    def give(_):
        return [node]

    assert give(give(number(node)))() == ["v"]
    assert counter.count == 1


def test_an_argument_that_is_returned_again():
    node = number([1])

    @workflow
    def same(value):
        return [node, value]

    assert same(node)() == [[1], [1]]


def test_a_thread_that_returns_a_node_that_was_used_up():
    # Not known to return nodes, so nothing was kept for it: computed anew.
    counter = Counter()
    node = thread(counter)("v")

    @thread
    def give(_):
        return node

    assert give(number(node))() == "v"


# -- expansion -------------------------------------------------------------------


def test_recursion_by_returned_nodes():
    @workflow
    def fibonacci(n):
        return n if n < 2 else add(fibonacci(n - 1), fibonacci(n - 2))

    assert fibonacci(15)() == 610


def test_recursion_in_processes():
    @process
    def countdown(n):
        return n and countdown(n - 1)

    assert countdown(5)() == 0


def test_a_chain_of_returned_nodes_ten_thousand_deep():
    @workflow
    def down(n):
        return down(n - 1) if n else "bottom"

    assert down(10_000)() == "bottom"


@pytest.mark.parametrize(
    ("build", "value"),
    [
        (lambda: [number(1), (number(2), {"k": {number(3)}})], [1, (2, {"k": {3}})]),
        (lambda: {number("k"): number("v")}, {"k": "v"}),
        (lambda: [[], (), {}, "plain"], [[], (), {}, "plain"]),
        (lambda: number(number([1])), [1]),
        (lambda: gather(number(1)), [1]),
    ],
)
def test_returned_containers(build, value):
    for kind in (thread, workflow):
        assert kind(build)()() == value


def test_a_returned_container_is_kept_where_it_has_no_nodes():
    kept = [[1]]
    assert thread(lambda: kept)()() is kept


def test_a_node_in_an_object_stays_a_node():
    class Box:
        def __init__(self, node):
            self.node = node

    box = thread(lambda: Box(number(4)))()()
    assert box.node() == 4


def test_a_returned_future():
    @thread
    def start():
        return number(7).submit()

    assert start()() == 7

    @workflow
    def several():
        return [number(1).submit(), number(2)]

    assert several()() == [1, 2]


def test_a_workflow_is_passed_around_and_called():
    @workflow
    def inner():
        return add(1, number(2))

    @workflow
    def outer(flow):
        return add(flow(), number(10))

    assert outer(inner)() == 13


def test_a_workflow_that_returns_no_node():
    assert workflow(lambda: 3)()() == 3


def test_a_workflow_gets_values():
    seen = []

    @workflow
    def look(value):
        seen.append(value)
        return number(value)

    assert look(number(3))() == 3
    assert seen == [3]


def test_timeout_is_for_the_body_not_for_its_expansion():
    gate = threading.Event()

    @thread
    def slow():
        assert gate.wait(60)
        return "done"

    @process(timeout=20)
    def quick():
        return 1

    @workflow
    def flow():
        gate.set()
        return [slow(), quick()]

    assert flow()() == ["done", 1]


# -- size ------------------------------------------------------------------------


def test_a_chain_of_a_hundred_thousand():
    node = number(0)
    for _ in range(100_000):
        node = add(node, 1)
    assert node() == 100_000


def test_twenty_thousand_side_by_side():
    assert total([number(1) for _ in range(20_000)])() == 20_000


def test_a_layered_graph():
    layer = [number(n) for n in range(10)]
    for _ in range(20):
        layer = [add(layer[i], layer[i - 1]) for i in range(len(layer))]
    assert total(layer)() == 45 * 2**20


def test_a_task_among_its_own_arguments():
    box = []
    node = total(box)
    box.append(node)
    with pytest.raises(CompositionError, match="among its own inputs"):
        node()


# -- what is left ----------------------------------------------------------------


class Value:
    """Something that can be referred to weakly."""


def gone(ref):
    """Tell whether an object goes away, once the threads that used it rest."""
    patience = time.monotonic() + 10
    while ref() is not None and time.monotonic() < patience:
        gc.collect()
    return ref() is None


def test_a_value_is_dropped_with_its_last_consumer():
    seen = []

    @thread
    def make():
        value = Value()
        seen.append(weakref.ref(value))
        return value

    @thread
    def use(value):
        assert seen[0]() is value
        return 1

    @thread
    def later(_):
        return gone(seen[0])

    assert later(later(use(make())))()


def test_a_value_is_kept_while_an_attempt_is_left():
    seen = []

    @thread
    def make():
        return Value()

    @thread(retry=2)
    def use(value):
        seen.append(value)
        if len(seen) < 3:
            raise ValueError
        return len(set(map(id, seen)))

    assert use(make())() == 1


def test_a_finished_run_holds_nothing():
    value = Value()
    ref = weakref.ref(value)
    node = number(value)
    assert number(node)() is value
    del value, node
    assert gone(ref)


def test_a_failed_run_holds_nothing_but_its_error():
    value = Value()
    ref = weakref.ref(value)

    @thread
    def fail(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught:
        fail(number(value))()
    del caught, value
    assert gone(ref)


# -- what is built of nodes ------------------------------------------------------


def test_map_and_starmap():
    assert add.map([1, 2, 3], [10, 20, 30])() == [11, 22, 33]
    assert add.map(number([1, 2]), b=5)() == [6, 7]
    assert add.map(number([1, 2]), number([3, 4, 5]))() == [4, 6]
    assert add.starmap([(1, 2), (3, 4)])() == [3, 7]
    assert add.starmap(number([(1, 2)]))() == [3]
    assert add.starmap([number((1, 2)), (3, 4)])() == [3, 7]
    assert number.map([])() == []


def test_map_with_errors_in_place():
    @thread
    def reciprocal(x):
        return 1 / x

    values = reciprocal.map([1, 0, 2], return_exceptions=True)()
    assert (values[0], values[2]) == (1, 0.5)
    assert isinstance(values[1], ZeroDivisionError)
    values = reciprocal.map(number([0]), return_exceptions=True)()
    assert isinstance(values[0], ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        reciprocal.map([1, 0])()


def test_a_failure_in_place_does_not_reach_over_others():
    @thread
    def fail(_):
        raise ValueError("no")

    (error,) = gather(number(fail(number(1))), return_exceptions=True)()
    assert repr(error) == "ValueError('no')"


def test_items():
    data = number({"a": [1, 2], "f": len})
    assert data["a"][1]() == 2
    assert data("a")() == [1, 2]
    assert data["f"]("four")() == 4
    first, second = data["a"].unpack(2)
    assert add(first, second)() == 3
    with pytest.raises(ValueError, match="not enough values"):
        data["a"].unpack(3)[0]()
    with pytest.raises(KeyError):
        data["missing"]()


def test_order_without_data():
    trail = []
    first = thread(trail.append)("first")
    second = thread(trail.append)("second").after(first)
    third = thread(trail.append)("third").after(second, first)
    third()
    assert trail == ["first", "second", "third"]
    assert second() is None


def test_a_failure_before_an_ordered_node():
    @thread
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        number(1).after(fail())()


# -- errors ----------------------------------------------------------------------


def test_the_note_names_a_long_path_in_part():
    @thread
    def fail():
        raise ValueError("no")

    node = fail()
    for _ in range(40):
        node = number(node)
    with pytest.raises(ValueError, match="no") as caught:
        node()
    lines = caught.value.__notes__[-1].splitlines()
    assert len(lines) == 14
    assert lines[7] == "  ... 28 more ..."


def test_the_same_error_object_raised_twice_gets_a_note_for_each_place():
    error = ValueError("shared")

    @thread
    def fail():
        raise error

    for _ in range(2):
        node = fail()
        with pytest.raises(ValueError, match="shared"):
            node()
        with pytest.raises(ValueError, match="shared"):
            node()
    assert len(error.__notes__) == 1 or len(set(error.__notes__)) == len(
        error.__notes__
    )


def test_unhashable_values_in_a_set_fail_the_call_that_takes_them():
    with pytest.raises(TypeError, match="unhashable"):
        total({number([1])})()
    with pytest.raises(TypeError, match="unhashable"):
        thread(lambda: {number([1])})()()
    # Nothing else is harmed.
    assert number(1)() == 1


def test_options_of_a_run_are_checked():
    for workers in (0, -1):
        with pytest.raises(ValueError, match="workers"):
            number(1).run(workers=workers)
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            number(1).run(timeout=timeout)


def test_as_many_workers_as_asked_for():
    lock, inside, most = threading.Lock(), [0], [0]

    @thread
    def work(_):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1

    work.map(range(50)).run(workers=1)
    assert most == [1]


def test_at_most_so_many_of_a_task_over_all_runs():
    lock, inside, most = threading.Lock(), [0], [0]

    @thread(limit=2)
    def work(_):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        with lock:
            inside[0] -= 1

    futures = [work.map(range(20)).submit() for _ in range(3)]
    for future in futures:
        future.result()
    assert most[0] <= 2
