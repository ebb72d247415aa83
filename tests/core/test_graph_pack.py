"""Returned nodes travel as plain data and arrive as new nodes."""

import pickle
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._graph import walk
from entangle._graph.node import Node
from entangle._graph.pack import contains_node, pack, unpack
from entangle._graph.walk import edges, edges_in
from entangle.errors import UnpicklableError
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread


@process
def one():
    return 1


@thread
def join(*args, **kwargs):
    return args, kwargs


def travel(value):
    return unpack(pickle.loads(pickle.dumps(pack(value), 5)))


def shape(value):
    """Show a graph as text, each node once: structure, tasks, lines, sharing."""
    names, order = {}, []
    pending = list(edges_in(value))
    while pending:
        node = pending.pop(0)
        if node not in names:
            names[node] = f"n{len(names)}"
            order.append(node)
            pending.extend(edges(node))
    return walk.substitute(value, names.get), [
        (
            node.task,
            walk.substitute(node.args, names.get),
            walk.substitute(node.kwargs, names.get),
            walk.substitute(node.follows, names.get),
            node.where,
        )
        for node in order
    ]


@st.composite
def graphs(draw):
    """Make a value with a graph of nodes in it."""
    made = [one()]
    for _ in range(draw(st.integers(0, 8))):
        pick = st.sampled_from(made) | st.integers(0, 3)
        args = draw(
            st.lists(
                st.recursive(
                    pick,
                    lambda inner: (
                        st.lists(inner, max_size=2)
                        | st.tuples(inner)
                        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
                    ),
                    max_leaves=3,
                ),
                max_size=3,
            )
        )
        kwargs = draw(st.dictionaries(st.sampled_from("xy"), pick, max_size=2))
        node = join(*args, **kwargs)
        if draw(st.booleans()):
            node = node.after(draw(st.sampled_from(made)))
        made.append(node)
    picked = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))
    return draw(st.sampled_from([picked[0], picked, (picked,), {"a": picked, "b": 1}]))


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_a_round_trip_keeps_the_graph(value):
    back = travel(value)
    assert shape(back) == shape(value)
    assert not set(edges_in(back)) & set(edges_in(value))


def test_shared_nodes_and_arguments_stay_shared():
    shared, data = one(), [1, 2]
    back = travel([join(shared, data), join(shared, data)])
    assert back[0].args[0] is back[1].args[0]
    assert back[0].args[1] is back[1].args[1]
    assert len(pack([join(shared), join(shared)]).rows) == 3


def test_fresh_nodes_know_their_lines():
    node = one()
    back = travel(node)
    assert type(back) is Node
    assert back is not node
    assert back.where == node.where
    assert back.column is None
    assert travel(back).where == node.where


def test_containers_without_nodes_travel_as_they_are():
    value = {"a": [1, 2], "b": one()}
    assert pack(value).value["a"] is value["a"]
    assert pack(3).rows == ()
    assert travel([3]) == [3]


def test_contains_node():
    assert contains_node(one())
    assert contains_node({"a": [(one(),)]})
    assert contains_node({one(): 1})
    assert not contains_node([1, {"a": (2,)}])
    assert not contains_node(one)


def test_gathered_and_mapped_nodes_travel():
    back = travel(gather(one(), one()[0], join.map([1, 2])))
    assert [each.name for each in back.args[0]] == ["one", "getitem", "gather"]
    back = travel(join.map(one(), return_exceptions=True))
    assert back.name == "expand_map"


def test_a_run_that_is_under_way_stays(monkeypatch):
    class Future:
        pass

    monkeypatch.setattr(walk, "EDGE_TYPES", walk.EDGE_TYPES)
    walk.EDGE_TYPES.add(Future)
    try:
        with pytest.raises(UnpicklableError, match="return its value"):
            pack([one(), join(Future())])
    finally:
        walk.EDGE_TYPES.discard(Future)


def test_a_node_that_contains_itself_is_refused():
    arguments = []
    node = join(arguments)
    arguments.append(one())
    arguments.append(join(node))
    with pytest.raises(UnpicklableError, match="contains the node itself"):
        pack(node)


def test_a_chain_of_100_000():
    node = one()
    for _ in range(100_000):
        node = join(node)
    back = travel(node)
    depth = 0
    while back.args:
        (back,) = back.args
        depth += 1
    assert depth == 100_000
    assert sys.getrecursionlimit() < 100_000


def test_a_fan_of_100_000():
    back = travel(join([one() for _ in range(100_000)]))
    assert len(set(back.args[0])) == 100_000


def test_a_ladder_is_linear():
    left, right = one(), one()
    for _ in range(2_000):
        left, right = join(left, right), join(left, right)
    packed = pack([left, right])
    assert len(packed.rows) == 4_002
    assert len(packed.tasks) == 2
