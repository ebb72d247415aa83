"""Edges are found and replaced in nested containers, however deep, wide or knotted."""

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._graph.walk import EDGE_TYPES, edges, edges_in, substitute
from entangle.process import process


@process
def leaf(name=None):
    return name


@process
def join(*args, **kwargs):
    return args, kwargs


NODES = [leaf(number) for number in range(5)]

# What is no container to us, though it may hold nodes.
OPAQUE = [
    1,
    "text",
    None,
    frozenset({NODES[0]}),
    collections.OrderedDict(a=NODES[0]),
    collections.deque([NODES[0]]),
    collections.namedtuple("Pair", "a")(NODES[0]),  # noqa: PYI024 - untyped is fine
    range(3),
]
HASHABLE = st.recursive(
    st.sampled_from(NODES) | st.integers(0, 9) | st.sampled_from(OPAQUE[:4]),
    lambda inner: st.tuples(inner) | st.tuples(inner, inner),
    max_leaves=4,
)
VALUES = st.recursive(
    HASHABLE | st.sampled_from(OPAQUE),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=12,
)


def naive_edges(value):
    """Find edges by recursion, in the order of appearance."""
    if type(value) in EDGE_TYPES:
        yield value
    elif type(value) is dict:
        for key, each in value.items():
            yield from naive_edges(key)
            yield from naive_edges(each)
    elif type(value) in (list, tuple, set):
        for each in value:
            yield from naive_edges(each)


def naive_substitute(value, lookup):
    if type(value) in EDGE_TYPES:
        return lookup(value)
    if type(value) is dict:
        return {
            naive_substitute(key, lookup): naive_substitute(each, lookup)
            for key, each in value.items()
        }
    if type(value) in (list, tuple, set):
        return type(value)(naive_substitute(each, lookup) for each in value)
    return value


def lookup(node):
    return ("value", node.args)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_edges_are_those_that_recursion_finds(value):
    assert edges_in(value) == list(dict.fromkeys(naive_edges(value)))


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_substitution_is_what_recursion_gives(value):
    result = substitute(value, lookup)
    assert result == naive_substitute(value, lookup)
    assert edges_in(result) == []
    if not edges_in(value):
        assert result is value


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_substituting_edges_for_themselves_changes_nothing(value):
    assert substitute(value, lambda node: node) == value


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_substitution_commutes_with_nesting(value):
    assert substitute([value, (value,)], lookup) == [
        substitute(value, lookup),
        (substitute(value, lookup),),
    ]


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, max_size=3), st.dictionaries(st.sampled_from("abc"), VALUES))
def test_edges_of_a_node_are_those_of_its_arguments(args, kwargs):
    node = join(*args, **kwargs)
    expected = dict.fromkeys(naive_edges([args, kwargs]))
    assert edges(node) == list(expected)
    other = leaf("other")
    assert edges(node.after(other, NODES[0])) == list(
        {**expected, other: None, NODES[0]: None}
    )


def test_edges_come_once_in_order_of_appearance():
    a, b, c = NODES[:3]
    assert edges(join(b, [a, {c: b}], a)) == [b, a, c]
    assert edges(join(a)) == [a]
    assert edges(join(1, "x")) == []
    assert edges(join(a, a)) == [a]
    assert edges_in(a) == [a]
    assert edges_in([a, a, 1]) == [a]
    assert edges_in([]) == edges_in(()) == edges_in({}) == edges_in(3) == []


def test_only_exact_types_are_looked_into():
    for value in OPAQUE:
        assert edges_in(value) == []
        assert substitute(value, lookup) is value


def test_other_types_can_be_edges():
    class Mark:
        pass

    mark = Mark()
    types = frozenset({Mark})
    assert edges_in([mark, NODES[0]], types) == [mark]
    assert substitute([NODES[0], {"a": mark}], lambda each: 1, types) == [
        NODES[0],
        {"a": 1},
    ]


def test_containers_without_edges_are_not_copied():
    kept = [1, [2]]
    result = substitute({"kept": kept, "new": [NODES[0]]}, lookup)
    assert result["kept"] is kept


def test_sharing_is_kept():
    shared = [NODES[0]]
    result = substitute([shared, (shared, shared)], lookup)
    assert result[0] is result[1][0] is result[1][1]


def test_lists_that_contain_themselves():
    knot = [NODES[0], 1]
    knot.append(knot)
    assert edges_in(knot) == [NODES[0]]
    result = substitute(knot, lookup)
    assert result[2] is result
    assert result[:2] == [lookup(NODES[0]), 1]
    loose = [1]
    loose.append(loose)
    assert edges_in(loose) == []
    assert substitute(loose, lookup) is loose


def test_tuples_in_knots():
    inner = []
    outer = (inner, NODES[0])
    inner.append((outer, NODES[1]))
    inner.append({"key": outer})
    result = substitute(outer, lookup)
    assert edges_in(outer) == [NODES[1], NODES[0]]
    assert type(result) is tuple
    assert result[0][0][0] is result
    assert result[0][1]["key"] is result
    assert result[0][0][1] == lookup(NODES[1])
    assert result[1] == lookup(NODES[0])


def test_values_that_cannot_be_keys():
    for value in ({NODES[0]}, {NODES[0]: 1}, [{NODES[0]}]):
        with pytest.raises(TypeError, match="unhashable"):
            substitute(value, lambda node: [])


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_depth_is_no_limit(kind):
    value = NODES[0]
    for _ in range(100_000):
        value = {"list": [value], "tuple": (value,), "dict": {1: value}}[kind]
    assert edges_in(value) == [NODES[0]]
    result = substitute(value, lambda node: 7)
    for _ in range(100_000):
        result = result[1] if kind == "dict" else result[0]
        value = value[1] if kind == "dict" else value[0]
    assert result == 7


def test_width_is_no_limit():
    many = [leaf(number) for number in range(200_000)]
    assert edges(join(many)) == many
    assert substitute(many, lambda node: node.args[0]) == list(range(200_000))
    assert edges_in([many, (1,)]) == many
    atoms = list(range(1_000_000))
    assert edges_in(atoms) == []
    assert substitute((atoms,), lookup)[0] is atoms


def test_a_deep_chain_of_nodes():
    node = leaf()
    for _ in range(100_000):
        node = leaf(node)
    depth = 0
    while edges(node):
        (node,) = edges(node)
        depth += 1
    assert depth == 100_000
