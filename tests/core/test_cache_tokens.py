"""Tokens are equal for equal values, in every process, and different for others."""

import dataclasses
import datetime as dt
import enum
import json
import os
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle._cache.definitions import Definitions
from entangle._cache.tokens import Tokens, UnkeyableError


def token(value, most=None):
    return Tokens(Definitions(), most).of(value)


@dataclasses.dataclass
class Point:
    x: object
    y: object = 0


class Color(enum.Enum):
    RED = 1
    GREEN = 2


Pair = namedtuple("Pair", "a b")  # noqa: PYI024


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a, b):
        self.a = a
        self.b = b


def helper(x):
    return x


ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
HASHABLE = st.recursive(
    ATOMS,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=3,
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Slotted, inner, inner)
    ),
    max_leaves=6,
)


def shown(value):
    """Return a text that is equal for values that are to have equal tokens."""
    kind = type(value)
    if kind in {set, frozenset}:
        return f"{kind.__name__}{sorted(map(shown, value))}"
    if kind in {list, tuple}:
        return f"{kind.__name__}{list(map(shown, value))}"
    if kind is dict:
        return f"dict{[(shown(key), shown(each)) for key, each in value.items()]}"
    if kind in {Point, Slotted}:
        names = ("x", "y") if kind is Point else ("a", "b")
        return f"{kind.__name__}{[shown(getattr(value, name)) for name in names]}"
    return repr(value)


@given(VALUES, VALUES)
def test_tokens_are_equal_exactly_where_values_are(one, other):
    assert (token(one) == token(other)) == (shown(one) == shown(other))


@given(st.lists(HASHABLE, unique=True), st.randoms())
def test_the_order_of_a_set_does_not_count(items, random):
    shuffled = items.copy()
    random.shuffle(shuffled)
    assert token(set(items)) == token(set(shuffled))


@given(VALUES)
def test_which_parts_are_one_object_does_not_count(value):
    import copy

    assert token([value, value]) == token([value, copy.deepcopy(value)])


def test_equal_numbers_of_different_types_differ():
    assert len({token(value) for value in (0, 0.0, -0.0, False, 0j, "0", b"0")}) == 7


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], (1, 2)),
        ({1, 2}, frozenset((1, 2))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (["ab", "c"], ["a", "bc"]),
        ([[1], 2], [[1, 2]]),
        ([], [[]]),
        (Point(1), Point(2)),
        (Point(1), Slotted(1, 0)),
        (Color.RED, Color.GREEN),
        (Color.RED, 1),
        (Pair(1, 2), (1, 2)),
        (Path("a"), "a"),
        (dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
        (Decimal("1.0"), Decimal("1.00")),
        (len, max),
        (int, float),
        (helper, token),
        ([].append, [1].append),
        (Counter("ab"), Counter("abb")),
        (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
        (np.int64(1), np.int32(1)),
        (np.arange(3), np.arange(3.0)),
        (np.arange(3), [0, 1, 2]),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.ones((2, 3), order="C"), np.ones((2, 3), order="F")),
        (np.array([1, "a", None], object), np.array([1, "b", None], object)),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
    ],
)
def test_different_values_have_different_tokens(one, other):
    assert token(one) != token(other)
    assert token([one]) != token([other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(10)[::2], np.arange(0, 10, 2)),
        (np.arange(12).reshape(3, 4)[:, 1:3], np.array([[1, 2], [5, 6], [9, 10]])),
        (np.array(["2020"], "M8[D]"), np.array(["2020-01-01"], "M8[D]")),
        (np.zeros(0), np.zeros(0)),
        (np.float64(3), np.float64(3)),
        (np.array(3), np.array(3)),
        (
            np.zeros(2, [("a", "i4"), ("b", "f8")]),
            np.zeros(2, [("a", "i4"), ("b", "f8")]),
        ),
        (np.array([[1], "a"], object), np.array([[1], "a"], object)),
        (Path("/a/b"), Path("/a") / "b"),
        (Fraction(2, 4), Fraction(1, 2)),
        (UUID(int=3), UUID(int=3)),
        (Point([1, {2}]), Point([1, {2}])),
        (Pair(1, [2]), Pair(1, [2])),
        (ValueError("a", 1), ValueError("a", 1)),
        (memoryview(b"abc")[1:], memoryview(b"bc")),
    ],
)
def test_equal_values_have_equal_tokens(one, other):
    assert token(one) == token(other)


def test_read_only_and_writable_arrays_are_the_same():
    array = np.arange(5)
    frozen = array.copy()
    frozen.flags.writeable = False
    assert token(array) == token(frozen)


def test_the_order_of_attributes_does_not_count():
    one, other = Point(1), Point(1)
    one.a, one.b = 1, 2
    other.b, other.a = 2, 1
    assert token(one) == token(other)


def test_values_that_contain_themselves():
    def ring(number):
        made = [number]
        made.append({"again": made})
        return made

    assert token(ring(1)) == token(ring(1))
    assert token(ring(1)) != token(ring(2))
    point = Point(1)
    point.y = point
    other = Point(1)
    other.y = Point(1)
    assert token(point) != token(other)


def test_shared_parts_are_looked_at_once():
    value = [1]
    for _ in range(200):
        value = [value, value]
    assert token(value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (threading.Lock(), ""),
        ([1, {"a": threading.Lock()}], "[1]['a']"),
        (Point(1, [threading.Lock()]), ".y[0]"),
        ({(1, threading.Lock()): 1}, ", key (1,"),
        ((x for x in ()), ""),
    ],
)
def test_what_has_no_token_is_named(value, path):
    with pytest.raises(UnkeyableError) as caught:
        token(value)
    assert caught.value.path.startswith(path)
    assert "pickle" in caught.value.reason


def test_what_is_nested_too_deeply_is_refused():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UnkeyableError, match="nested"):
        token(value)
    while value:
        value = value.pop()


def test_a_limit_is_noticed_before_all_is_read():
    with pytest.raises(UnkeyableError, match="more than 1,000 bytes"):
        token(np.zeros(1_000_000), 1000)
    with pytest.raises(UnkeyableError, match="more than 1,000 bytes"):
        token([str(number) for number in range(1000)], 1000)


def test_tokens_are_those_of_other_processes_with_other_hash_seeds(tmp_path):
    program = tmp_path / "tokens.py"
    program.write_text(
        """
import dataclasses, datetime, decimal, enum, json, pathlib
import numpy as np
from entangle._cache.definitions import Definitions
from entangle._cache.tokens import Tokens

class Color(enum.Enum):
    RED = "r"

@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    names: frozenset = frozenset({"a", "b", "c"})

def function(word):
    return word in {"x", "y", "z"} and Color.RED

VALUES = [
    {"a", "b", ("c", frozenset({"d", "e"}))}, {Point(1), Point(2)}, Color.RED,
    {Color.RED: {"k": {1, 2, 3}}}, Point, Color, function, lambda x: x in {"a", "b"},
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
    decimal.Decimal("1.5"), pathlib.Path("x"), np.arange(5), np.dtype("M8[ns]"),
    {int, str, Point, Color}, [len, {}.get.__name__], 1.5, "ü", {"b": 1, "a": 2},
]
print(json.dumps([Tokens(Definitions()).of(value).hex() for value in VALUES]))
"""
    )
    lines = [
        subprocess.run(
            [sys.executable, program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "12345")
    ]
    assert len(json.loads(lines[0])) == 18
    assert len(set(lines)) == 1
