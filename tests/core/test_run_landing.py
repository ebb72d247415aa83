"""Several nodes as one run, taken as they land."""

import itertools
import threading

import pytest

from entangle.errors import TaskError
from entangle.task import as_completed, shutdown
from entangle.thread import thread
from entangle.workflow import workflow


@thread
def number(value=1):
    return value


@thread
def fail(text="no"):
    raise ValueError(text)


@thread
def wait_for(event):
    assert event.wait(60)
    return "let go"


@pytest.fixture
def event():
    made = threading.Event()
    yield made
    made.set()


def values(pairs):
    return [future.result() for _, future in pairs]


def test_all_nodes_each_with_its_future():
    nodes = [number(n) for n in range(50)]
    landed = dict(as_completed(nodes))
    assert set(landed) == set(nodes)
    assert [landed[node].result() for node in nodes] == list(range(50))
    assert all(future.done() and not future.running() for future in landed.values())


def test_nothing():
    assert list(as_completed([])) == []
    assert list(as_completed(iter(()))) == []


def test_errors_in_place():
    good, bad = number(1), fail("bad")
    landed = dict(as_completed([bad, good]))
    assert landed[good].result() == 1
    error = landed[bad].exception()
    assert repr(error) == "ValueError('bad')"
    assert error.__notes__[-1].startswith("in node fail")


def test_what_failed_is_shared():
    broken = fail()
    landed = as_completed([number(broken), number(broken), number(2)])
    assert sorted(str(future.exception()) for _, future in landed) == [
        "None",
        "no",
        "no",
    ]


def test_drawn_no_further_than_ahead():
    drawn = itertools.count()

    def endless():
        for n in drawn:
            yield number(n)

    landed = as_completed(endless(), ahead=3)
    for taken, (_, future) in enumerate(landed, 1):
        assert future.result() < taken + 3
        if taken == 200:
            break
    landed.close()
    assert next(drawn) <= 203


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_exactly_as_many_are_drawn_as_may_be_under_way(event, ahead):
    drawn = []

    def waiting():
        while True:
            drawn.append(1)
            yield number(1) if len(drawn) == 1 else wait_for(event)

    landed = as_completed(waiting(), ahead=ahead)
    next(landed)
    assert len(drawn) == ahead
    landed.close()


def test_one_ahead_is_one_after_the_other():
    landed = as_completed((number(n) for n in range(20)), ahead=1)
    assert values(landed) == list(range(20))


def test_an_endless_iterable_leaves_nothing_behind():
    landed = as_completed((number(n) for n in itertools.count()), ahead=2)
    for _, future in landed:
        if future.result() == 500:
            run = future.run_of_future
            break
    assert len(run.items) < 20
    landed.close()
    assert run.finished


def test_as_they_land_not_as_they_were_given(event):
    landed = as_completed([wait_for(event), number(1)])
    assert next(landed)[1].result() == 1
    event.set()
    assert values(landed) == ["let go"]


def test_too_late(event):
    landed = as_completed([wait_for(event), number(1), wait_for(event)], timeout=0.05)
    assert next(landed)[1].result() == 1
    with pytest.raises(TimeoutError, match=r"^2 of the nodes .* 0\.05 s"):
        next(landed)
    assert list(landed) == []


def test_in_time():
    assert values(as_completed([number(1)], timeout=60)) == [1]


def test_leaving_early_cancels(event):
    node, late = wait_for(event), number(1)
    landed = as_completed([node, late])
    _, first = next(landed)
    landed.close()
    run = first.run_of_future
    assert run.finished
    assert run.outcome == "cancelled"
    assert run.engine.how == "abandoned"


def test_an_iterator_that_is_never_used():
    landed = as_completed([number(1)])
    shutdown()
    del landed
    assert number(2)() == 2


def test_the_same_node_several_times():
    calls = []

    @thread
    def count():
        calls.append(1)
        return len(calls)

    node = count()
    for ahead in (1, 2, 10):
        calls.clear()
        landed = list(as_completed([node, node, node], ahead=ahead))
        assert [each for each, _ in landed] == [node] * 3
        assert values(landed) == [1, 1, 1]
        assert len({id(future) for _, future in landed}) == 3


def test_nodes_that_share_inputs():
    calls = []

    @thread
    def count():
        calls.append(1)
        return 5

    shared = count()
    nodes = [number([shared, n]) for n in range(10)]
    assert sorted(values(as_completed(nodes, ahead=1))) == [[5, n] for n in range(10)]
    assert calls == [1]


def test_workflows_among_them():
    @workflow
    def flow(n):
        return [number(n), number(n + 1)]

    landed = as_completed(flow(n) for n in range(3))
    assert sorted(values(landed)) == [[0, 1], [1, 2], [2, 3]]


def test_what_is_no_node():
    with pytest.raises(TypeError, match="several nodes, not one"):
        as_completed(number(1))
    with pytest.raises(TypeError, match="takes nodes, not int 3"):
        list(as_completed([number(1), 3]))
    with pytest.raises(TypeError):
        as_completed(3)
    for ahead in (0, -1):
        with pytest.raises(ValueError, match="ahead"):
            as_completed([number(1)], ahead=ahead)


def test_an_iterable_that_fails(event):
    def failing():
        yield number(1)
        yield wait_for(event)
        raise KeyError("the iterable's own")

    with pytest.raises(KeyError, match="own"):
        list(as_completed(failing()))


def test_a_landed_value_that_cannot_be_used_twice_is_dropped():
    from entangle.process import process

    landed = list(as_completed([process(bytes)(100_000)]))
    assert len(landed[0][1].result()) == 100_000


def test_inside_of_a_task():
    @thread
    def outer():
        return sorted(values(as_completed([number(n) for n in range(5)])))

    assert outer()() == [0, 1, 2, 3, 4]


def test_the_end_of_the_pool_cancels(event):
    landed = as_completed([wait_for(event), number(1)])
    next(landed)
    shutdown()
    ((_, future),) = landed
    assert future.cancelled()


def test_values_that_cannot_be_rebuilt():
    from entangle.process import process

    class Broken:
        def __reduce__(self):
            return int, ("nonsense",)

    ((_, future),) = as_completed([process(Broken)()])
    assert isinstance(future.exception(), TaskError)
