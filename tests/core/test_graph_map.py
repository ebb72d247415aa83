"""Mapping builds a call for each item, now or when the items are there."""

import itertools

import pytest

from entangle._graph import mapping, ops
from entangle._graph.node import Node
from entangle._graph.walk import edges
from entangle.process import process


@process
def add(a, b=2, *, c=3):
    return a + b + c


@process
def items():
    return [1, 2, 3]


def calls(node):
    return [(each.args, each.kwargs) for each in node.args[0]]


def test_one_call_for_each_item():
    node = add.map([1, 2])
    assert node.task is ops.gather
    assert calls(node) == [((1,), None), ((2,), None)]
    assert {each.task for each in node.args[0]} == {add}
    assert {each.where for each in node.args[0]} == {node.where}


def test_several_iterables_go_in_step_until_the_shortest_ends():
    assert calls(add.map([1, 2, 3], iter([4, 5]))) == [((1, 4), None), ((2, 5), None)]
    assert calls(add.map(range(2), {7: 0, 8: 0})) == [((0, 7), None), ((1, 8), None)]


def test_constants_are_shared():
    shared = items()
    node = add.map([1, 2], c=shared)
    assert calls(node) == [((1,), {"c": shared}), ((2,), {"c": shared})]


def test_nothing_to_map_over():
    assert calls(add.map([])) == []
    assert calls(add.starmap([])) == []
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add.map()


def test_exceptions_may_be_returned():
    assert add.map([1], return_exceptions=True).task is ops.gather_tolerant
    assert add.starmap([(1,)], return_exceptions=True).task is ops.gather_tolerant


def test_calls_are_checked_at_once():
    with pytest.raises(TypeError, match="takes from 1 to 2 positional"):
        add.map([1], [2], [3])
    with pytest.raises(TypeError, match="unexpected keyword argument 'd'"):
        add.map([], d=1)
    with pytest.raises(TypeError, match="takes from 1 to 2 positional"):
        add.starmap([(1,), (1, 2, 3)])
    with pytest.raises(TypeError, match="takes from 1 to 2 positional"):
        add.map(items(), items(), items())


def test_what_cannot_be_iterated_over_is_refused():
    with pytest.raises(TypeError, match=r"map\(\) takes iterables, not int 3"):
        add.map([1], 3)
    with pytest.raises(TypeError, match=r"starmap\(\) takes an iterable of tuples"):
        add.starmap(3)
    with pytest.raises(TypeError, match=r"starmap\(\) takes an iterable of tuples"):
        add.starmap([1, 2])

    class Broken:
        def __iter__(self):
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        add.map(Broken())


def test_tuples_become_arguments():
    node = add.starmap(([1, 2], (3,), iter([4, 5])), c=6)
    assert calls(node) == [
        ((1, 2), {"c": 6}),
        ((3,), {"c": 6}),
        ((4, 5), {"c": 6}),
    ]


def test_a_node_is_iterated_over_when_its_value_is_there():
    source = items()
    node = add.map(source, [4, 5], c=source)
    assert node.task is mapping.expand_map
    assert node.task.options.how == "workflow"
    assert edges(node) == [source]
    task, sources, constants, tolerant, line = node.args
    assert line == node.where
    expanded = node.task.fn(task, [[1, 2], sources[1]], {"c": 3}, tolerant, line)
    assert isinstance(expanded, Node)
    assert calls(expanded) == [((1, 4), {"c": 3}), ((2, 5), {"c": 3})]
    assert expanded.where == node.where
    assert constants == {"c": source}


def test_tuples_may_be_nodes_as_a_whole_or_each():
    source = items()
    for node in (add.starmap(source), add.starmap([(1,), source])):
        assert node.task is mapping.expand_starmap
        assert edges(node) == [source]
    task, _, constants, tolerant, line = node.args
    expanded = node.task.fn(task, [(1,), [1, 2]], constants, True, line)
    assert expanded.task is ops.gather_tolerant
    assert not tolerant
    assert calls(expanded) == [((1,), None), ((1, 2), None)]


def test_methods_expand_with_their_instance():
    class Thing:
        @process
        def method(self, a):
            return a

    thing = Thing()
    node = thing.method.map(items())
    task, _, constants, tolerant, line = node.args
    expanded = node.task.fn(task, [[1]], constants, tolerant, line)
    assert calls(expanded) == [((thing, 1), None)]
    assert expanded.args[0][0].task is Thing.method


def test_a_wide_map():
    node = add.map(itertools.islice(itertools.count(), 200_000))
    assert len(edges(node)) == 200_000
