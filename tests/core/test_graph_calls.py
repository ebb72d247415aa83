"""A call that does not fit the function fails where it is written, as in Python."""

import functools
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._graph.arity import Arity
from entangle.process import process
from entangle.thread import thread


@st.composite
def functions(draw):
    """Make a function of any signature that does nothing."""
    names = iter("abcdefghij")
    only = [next(names) for _ in range(draw(st.integers(0, 2)))]
    both = [next(names) for _ in range(draw(st.integers(0, 2)))]
    optional = draw(st.integers(0, len(only) + len(both)))
    positional = only + both
    first = len(positional) - optional
    shown = [f"{n}=0" if i >= first else n for i, n in enumerate(positional)]
    if only:
        shown.insert(len(only), "/")
    more = draw(st.booleans())
    keywords = [
        f"{next(names)}{draw(st.sampled_from(['', '=0']))}"
        for _ in range(draw(st.integers(0, 2)))
    ]
    if more:
        shown.append("*args")
    elif keywords:
        shown.append("*")
    shown += keywords
    if draw(st.booleans()):
        shown.append("**extra")
    space = {}
    exec(f"def f({', '.join(shown)}): pass", space)
    return space["f"]


def refusal(call, args, kwargs):
    try:
        call(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return None


@settings(max_examples=500, deadline=None)
@given(
    functions(),
    st.integers(0, 6),
    st.lists(st.sampled_from("abcdefghijz"), max_size=4, unique=True),
)
def test_calls_are_refused_as_python_refuses_them(function, count, names):
    args, kwargs = (0,) * count, dict.fromkeys(names, 0)
    task = process(function)
    expected = refusal(function, args, kwargs)
    assert refusal(task, args, kwargs) == expected
    # Once more: shapes that passed are remembered.
    assert refusal(task, args, kwargs) == expected
    # The same by way of its signature, as for callables that are no functions.
    assert refusal(process(functools.partial(function)), args, kwargs) == expected


def test_messages_name_the_function_as_python_does():
    @process
    def inner(a):
        return a

    with pytest.raises(TypeError) as caught:
        inner()
    assert str(caught.value) == (
        "test_messages_name_the_function_as_python_does.<locals>.inner() missing 1 "
        "required positional argument: 'a'"
    )


class Point:
    def __init__(self, x, y=0):
        self.x = x
        self.y = y

    def __call__(self, z):
        return z

    @thread
    def move(self, dx, /, *, dy=0):
        return self.x + dx, self.y + dy


def test_other_callables_are_checked_by_their_signature():
    node = process(Point)(1)
    assert node.args == (1,)
    with pytest.raises(TypeError, match=r"Point\(\) missing 1 required"):
        process(Point)()
    with pytest.raises(TypeError, match=r"Point\(\) takes 1 positional argument but 2"):
        process(Point(1))(1, 2)
    partial = process(functools.partial(pow, exp=2))
    assert partial(3).args == (3,)
    assert process(pow)(1, 2).kwargs is None
    with pytest.raises(TypeError, match="takes"):
        process(len)(1, 2)
    with pytest.raises(TypeError, match="missing"):
        process(operator.add)(1)


def test_without_a_readable_signature_nothing_is_checked():
    for function in (int, dict, min):
        task = process(function)
        assert task(1, 2, 3, a=4).kwargs == {"a": 4}
        assert task().args == ()


def test_methods_count_the_instance():
    point = Point(1)
    node = point.move(3, dy=2)
    assert node.args == (point, 3)
    assert node.kwargs == {"dy": 2}
    assert Point.move(point, 3).args == (point, 3)
    with pytest.raises(TypeError, match=r"Point\.move\(\) missing 1 .* 'dx'"):
        point.move()
    with pytest.raises(TypeError, match="positional-only"):
        point.move(dx=3)
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3"):
        point.move(1, 2)


def test_keywords_named_like_our_own_parameters_pass_through():
    @process
    def function(self, args, **kwargs):
        return self, args, kwargs

    node = function(self=1, args=2, kwargs=3, items=4)
    assert node.kwargs == {"self": 1, "args": 2, "kwargs": 3, "items": 4}

    @process
    def mapped(a, items, self):
        return a, items, self

    assert mapped.map([1], items=2, self=3).args[0][0].kwargs == {"items": 2, "self": 3}
    assert mapped.starmap([(1,)], items=2, self=3).args[0][0].args == (1,)


def test_nodes_count_like_any_argument():
    @process
    def one():
        return 1

    with pytest.raises(TypeError, match="takes 0 positional arguments but 1 was given"):
        one(one())


def test_remembered_shapes_stay_few():
    def anything(**kwargs):
        return kwargs

    arity = Arity(anything, "anything")
    for number in range(1000):
        arity.check((), {f"k{number}": 0})
    assert len(arity._shapes) <= 64
