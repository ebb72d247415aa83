"""Finding nodes: inputs first, each once, however deep and wide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle._graph.walk import edges
from entangle._run import discover as module
from entangle._run.discover import has_edges, is_node
from entangle.errors import CompositionError
from entangle.thread import thread


@thread
def node(*inputs, key=None):
    raise AssertionError("not to be run")


def discover(value, known):
    found = module.discover(value, known.__contains__)
    found.order = list(found.order)
    return found


def test_inputs_before_consumers_in_the_order_written():
    a, b, c = node(), node(), node()
    d = node(b, key=[c])
    e = node(a, {"x": d}, b)
    found = discover(e, ())
    assert found.roots == [e]
    assert found.order == [a, b, c, d, e]


def test_edges_inside_of_values():
    a, b = node(), node()
    found = discover([a, (b, {1: a})], ())
    assert found.roots == [a, b]
    assert found.order == [a, b]
    assert has_edges([[a]])
    assert not has_edges([[1]])
    assert discover(3, ()).order == []
    assert is_node(a)
    assert not is_node(3)


def test_what_is_known_is_not_looked_into():
    a = node()
    b = node(a)
    c = node(b)
    assert discover(c, {b}).order == [c]
    assert discover(c, {c}).order == []
    assert discover(c, {c}).roots == [c]


def test_futures_are_edges_without_inputs():
    future = thread(int)("3").submit()
    user = node(future)
    assert discover(user, ()).order == [future, user]
    future.result()


def test_order_without_data_counts():
    a, b = node(), node()
    after = b.after(a)
    assert discover(after, ()).order == [a, after]


def test_cycles_are_refused():
    for length in (1, 2, 5):
        box = []
        last = node(box)
        for _ in range(length - 1):
            last = node(last)
        box.append(last)
        with pytest.raises(CompositionError, match="among its own inputs"):
            discover(last, ())


def test_a_container_that_contains_itself_is_no_cycle():
    box = [node()]
    box.append(box)
    assert len(discover(node(box), ()).order) == 2


def test_a_hundred_thousand_deep():
    last = node()
    for _ in range(100_000):
        last = node(last)
    order = discover(last, ()).order
    assert len(order) == 100_001
    assert order[-1] is last


def test_two_hundred_thousand_wide():
    leaves = [node() for _ in range(200_000)]
    order = discover(node(leaves), ()).order
    assert order[:-1] == leaves


@given(st.lists(st.lists(st.integers(0, 30), max_size=5), min_size=1, max_size=25))
def test_any_graph(plan):
    made = []
    for inputs in plan:
        made.append(node(*(made[i % len(made)] for i in inputs if made)))
    found = discover(made[-1], ())
    place = {each: index for index, each in enumerate(found.order)}
    assert len(place) == len(found.order)
    for each in found.order:
        assert all(place[other] < place[each] for other in edges(each))
