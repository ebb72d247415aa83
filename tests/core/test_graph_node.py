"""A node stands for a value that is not there yet, and says so."""

import asyncio
import copy
import math
import operator
import pickle
import sys
import types
from collections.abc import Awaitable

import pytest

from entangle._graph import ops
from entangle._graph.node import Node, build
from entangle.process import process
from entangle.task import gather, task


@process
def one():
    return 1


@process
def add(a, b):
    return a + b


def line():
    return sys._getframe(1).f_lineno


def test_building_keeps_what_was_given():
    first = one()
    node = add(first, b=2)
    assert isinstance(node, Node)
    assert isinstance(node, Awaitable)
    assert (node.task, node.args, node.kwargs, node.follows) == (
        add,
        (first,),
        {"b": 2},
        None,
    )
    assert first.kwargs is None
    assert node.name == "add"


def test_a_node_knows_its_line_and_column():
    node, number = one(), line()
    assert node.where == f"{__file__}:{number}"
    assert node.column == 19
    assert repr(node) == f"<node one() built at {__file__}:{number}>"
    inner = add(
        one(),
        2,
    )
    assert inner.where == f"{__file__}:{number + 4}"
    assert inner.args[0].where == f"{__file__}:{number + 5}"
    elsewhere = build(one, (), None, "far.py:3", 0)
    assert (elsewhere.where, elsewhere.column) == ("far.py:3", None)
    odd = build(one, (), None, line.__code__, 10_000)
    assert odd.where == f"{__file__}:{line.__code__.co_firstlineno}"
    assert odd.column is None


REFUSED = {
    "truth": [bool, operator.not_, lambda n: n and 1],
    "length": [len],
    "iterated": [iter, list, reversed, lambda n: [*n], lambda n: next(iter(n))],
    "searched": [lambda n: 1 in n],
    "order": [
        lambda n: n < 1,
        lambda n: n <= 1,
        lambda n: operator.gt(1, n),
        lambda n: n >= 1,
        lambda n: sorted([n, n]),
    ],
    "calculate": [
        lambda n: n + 1,
        lambda n: 1 + n,
        lambda n: "a" * n,
        lambda n: n @ n,
        lambda n: operator.add([1], n),
        lambda n: n / 2,
        lambda n: n % 2,
        lambda n: 2**n,
        lambda n: divmod(n, 2),
        lambda n: n | n,
        lambda n: n << 1,
        lambda n: sum([n]),
        lambda n: operator.iadd(n, 1),
    ],
    "number": [
        int,
        float,
        complex,
        hex,
        abs,
        round,
        math.trunc,
        operator.neg,
        operator.inv,
    ],
    "pickled": [pickle.dumps],
    "changed": [lambda n: operator.setitem(n, 0, 1), lambda n: operator.delitem(n, 0)],
}


@pytest.mark.parametrize(
    ("word", "use"), [(word, use) for word, uses in REFUSED.items() for use in uses]
)
def test_a_node_is_not_its_value(word, use):
    node = add(one(), 2)
    with pytest.raises(TypeError) as caught:
        use(node)
    assert word in str(caught.value)
    assert "has not run: call it, or pass it to a task" in str(caught.value)
    assert node.where in str(caught.value)


def test_iteration_points_to_unpack():
    with pytest.raises(TypeError, match=r"node\.unpack\(2\)"):
        _a, _b = one()


def test_numpy_does_not_take_a_node_for_a_scalar():
    import numpy as np

    for use in (lambda n: np.ones(3) + n, lambda n: n * np.ones(3)):
        with pytest.raises(TypeError, match="has not run"):
            use(one())


def test_attributes_of_the_value_are_not_there_yet():
    node = one()
    with pytest.raises(AttributeError) as caught:
        node.shape  # noqa: B018 - looking is the point
    assert "'shape'" in str(caught.value)
    assert "has not run" in str(caught.value)
    assert caught.value.name == "shape"
    assert not hasattr(node, "__array__")


def test_identity_decides_equality_and_hash():
    node = one()
    assert node == node  # noqa: PLR0124 - the point
    assert node != one()
    assert len({node, one(), node}) == 2
    assert copy.copy(node) is node
    assert copy.deepcopy([node])[0] is node
    assert f"{node}" == repr(node)


def test_nodes_are_built_by_calls_only():
    with pytest.raises(TypeError, match="built by calling tasks"):
        Node()


def test_calling_with_arguments_builds_a_call_of_the_value():
    node = one()
    call = node("key")
    assert call.task is ops.call_or_item
    assert call.args == (node, "key")
    assert node(a=1).kwargs == {"a": 1}
    body = ops.call_or_item.fn
    assert body(len, [1, 2]) == 2
    assert body({"key": 3}, "key") == 3
    assert body({(1, 2): 3}, 1, 2) == 3
    assert body(dict, a=1) == {"a": 1}
    for args, kwargs in (((3, "key"), {"a": 1}), (({},), {"key": 1})):
        with pytest.raises(TypeError, match="cannot be called"):
            body(*args, **kwargs)


def test_an_item_of_a_node_is_a_node():
    node = one()
    item = node["key"]
    assert item.task is ops.getitem
    assert item.args == (node, "key")
    assert ops.getitem.fn({"key": 3}, "key") == 3
    assert node[1:2].args == (node, slice(1, 2))


def test_unpack_builds_a_node_for_each_item():
    node = one()
    first, second = node.unpack(2)
    assert first.args[1:] == (0,)
    assert second.args[1:] == (1,)
    assert first.args[0] is second.args[0]
    assert first.args[0].args == (node, 2)
    body = ops.unpacked.fn
    assert body([1, 2], 2) == (1, 2)
    with pytest.raises(ValueError, match=r"not enough .*expected 3, got 2"):
        body([1, 2], 3)
    with pytest.raises(ValueError, match=r"too many .*expected 1, got 2"):
        body([1, 2], 1)


@pytest.mark.parametrize("count", [True, 1.0, "2", None])
def test_unpack_takes_a_number(count):
    with pytest.raises(TypeError, match="number of items"):
        one().unpack(count)


def test_unpack_needs_an_item():
    with pytest.raises(ValueError, match="at least 1"):
        one().unpack(0)


def test_after_builds_a_new_node():
    node, other, last = one(), one(), one()
    later = node.after(other).after(last, other)
    assert later.follows == (other, last, other)
    assert (later.task, later.args) == (one, ())
    assert node.follows is None
    with pytest.raises(TypeError, match="at least one"):
        node.after()
    with pytest.raises(TypeError, match="takes nodes, not int 3"):
        node.after(3)


def test_gather_takes_nodes_only():
    first, second = one(), add(1, 2)
    node = gather(first, second)
    assert node.task is ops.gather
    assert node.args == ([first, second],)
    assert node.where == f"{__file__}:{line() - 3}"
    tolerant = gather(first, return_exceptions=True)
    assert tolerant.task is ops.gather_tolerant
    assert tolerant.task.options.tolerant
    assert gather().args == ([],)
    assert ops.gather.fn([1, 2]) == ops.gather_tolerant.fn([1, 2]) == [1, 2]
    with pytest.raises(TypeError, match=r"write gather\(\*nodes\)"):
        gather([first, second])
    with pytest.raises(TypeError, match="call it to build a node"):
        gather(one)
    with pytest.raises(TypeError, match="takes nodes, not int 3"):
        gather(3)


def test_running_goes_through_the_run_layer(monkeypatch):
    calls = []
    api = types.ModuleType("entangle._run.api")

    def record(name, value):
        def method(*args, **kwargs):
            calls.append((name, args, kwargs))
            return value

        setattr(api, name, method)

    async def value():
        return "awaited"

    record("run", "value")
    record("submit", "future")
    record("shutdown", None)
    record("as_completed", iter(["pair"]))
    api.awaited = lambda node: value().__await__()
    monkeypatch.setitem(sys.modules, "entangle._run.api", api)

    async def main(node):
        return await node

    from entangle.task import as_completed, shutdown

    node = one()
    assert node() == "value"
    assert node.run(workers=2, timeout=3.0) == "value"
    assert node.submit(timeout=1.0) == "future"
    assert list(as_completed([node], ahead=3)) == ["pair"]
    shutdown()
    assert asyncio.run(main(node)) == "awaited"
    assert calls == [
        ("run", (node,), {"workers": None, "timeout": None}),
        ("run", (node,), {"workers": 2, "timeout": 3.0}),
        ("submit", (node,), {"workers": None, "timeout": 1.0}),
        ("as_completed", ([node],), {"timeout": None, "ahead": 3}),
        ("shutdown", (), {}),
    ]


def test_internal_tasks_pickle_by_name():
    for name in ("gather", "gather_tolerant", "getitem", "call_or_item", "unpacked"):
        internal = getattr(ops, name)
        assert pickle.loads(pickle.dumps(internal)) is internal


def test_a_million_is_small():
    # Objects and argument tuples, as the allocator rounds them.
    node = task(add)(1, 2)
    assert sys.getsizeof(node) + sys.getsizeof(node.args) <= 200
