"""Any value goes through bytes and comes back, without sharing memory."""

# The classes here are exceptions of users, by any name.
# ruff: noqa: N818

import array
import collections
import dataclasses
import enum
import functools
import pickle
import subprocess
import sys
import threading
import types
import typing

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._worker import codec
from entangle._worker.codec import ATOMS, Blob, decode, encode, simple

ATOM_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
)
HASHABLE = st.recursive(
    ATOM_VALUES,
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
NESTED = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
        st.tuples(inner, inner),
        st.builds(bytearray, st.binary()),
        st.builds(collections.deque, st.lists(inner, max_size=3)),
    ),
    max_leaves=20,
)


def through(value):
    """Encode and decode."""
    return decode(encode(value))


@given(NESTED)
@settings(max_examples=200, deadline=None)
def test_nested_data_round_trip(value):
    """What comes back is equal, of the same type, and new where it is mutable."""
    back = through(value)
    assert back == value
    assert type(back) is type(value)
    if isinstance(value, (list, dict, set, bytearray, collections.deque)):
        assert back is not value


@given(NESTED)
@settings(max_examples=100, deadline=None)
def test_simple_values_need_plain_pickle_only(value):
    """What is called simple is what plain pickle makes of it."""
    if simple(value):
        assert pickle.loads(pickle.dumps(value, 5)) == value
        assert encode(value).buffers == ()


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, True),
        (1, True),
        ("x" * 65_536, True),
        ("x" * 65_537, False),
        (b"x" * 65_537, False),
        ((1, "a", None), True),
        ([1] * 16, True),
        ([1] * 17, False),
        ({1, 2}, True),
        (frozenset((1,)), True),
        ({"a": 1}, True),
        ({"a": []}, False),
        ({(): 1}, False),
        ({i: i for i in range(17)}, False),
        ([[]], False),
        (bytearray(), False),
        (collections.OrderedDict(), False),
        (enum.IntEnum("E", "A").A, False),
        (object(), False),
    ],
)
def test_simple(value, answer):
    """Exact types count: a subclass may have state and reducers of its own."""
    assert simple(value) is answer


def test_atoms_are_immutable():
    """Each atom is the same object after a copy."""
    values = {kind: kind() for kind in ATOMS}
    assert all(pickle.loads(pickle.dumps(v)) == v for v in values.values())
    assert all(hash(v) is not None for v in values.values())


STRUCTURED = np.dtype([("a", "i4"), ("b", "f8", (2,))])
ARRAYS = {
    "small": np.arange(10),
    "c": np.arange(6_000).reshape(60, 100),
    "f": np.asfortranarray(np.arange(6_000).reshape(60, 100)),
    "strided": np.arange(60_000)[::7],
    "reversed": np.arange(6_000)[::-1],
    "zero": np.empty((0, 5)),
    "scalar": np.array(3.5),
    "object": np.array([1, "x", None, [2]] * 2_000, dtype=object),
    "structured": np.zeros(1_000, STRUCTURED),
    "big-endian": np.arange(5_000, dtype=">i4"),
    "text": np.array(["ab", "cde"] * 2_000),
    "dates": np.array(["2020-01-01"] * 2_000, dtype="M8[D]"),
    "bool": np.ones(10_000, bool),
    "broadcast": np.broadcast_to(np.arange(1_000), (10, 1_000)),
}


@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name, owned):
    """Arrays keep values, type, shape and order, and can be written to."""
    given = ARRAYS[name]
    back = decode(encode(given), owned=owned)
    assert back.dtype == given.dtype
    assert back.shape == given.shape
    np.testing.assert_array_equal(back, given)
    if given.flags.f_contiguous and not given.flags.c_contiguous:
        assert back.flags.f_contiguous
    if given.base is None:
        assert back.flags.writeable


@pytest.mark.parametrize("size", [10, 10_000])
@pytest.mark.parametrize("writeable", [True, False])
def test_arrays_stay_as_writable_as_they_were(size, writeable):
    """In band and out of band, an array is as writable as the producer's."""
    given = np.arange(size)
    given.flags.writeable = writeable
    blob = encode(given)
    assert bool(blob.buffers) == (size == 10_000)
    if blob.buffers:
        assert memoryview(blob.buffers[0]).readonly is not writeable
    for back in (decode(blob), decode(blob, owned=True)):
        assert back.flags.writeable is writeable
        np.testing.assert_array_equal(back, given)


def test_buffers_are_the_producers_memory():
    """Encoding copies no big buffer; an owning decoder copies none either."""
    given = np.arange(10_000)
    blob = encode(given)
    assert np.shares_memory(np.frombuffer(blob.buffers[0], given.dtype), given)
    assert np.shares_memory(decode(blob, owned=True), given)
    assert blob.nbytes == len(blob.data) + given.nbytes


@pytest.mark.parametrize("writeable", [True, False])
def test_decoding_twice_shares_nothing(writeable):
    """Two values of one blob, and the producer's, are three."""
    given = np.arange(10_000)
    given.flags.writeable = writeable
    blob = encode([given])
    one, two = decode(blob)[0], decode(blob)[0]
    assert not np.shares_memory(one, two)
    assert not np.shares_memory(one, given)
    if writeable:
        one[0] = 99
        assert two[0] == given[0] == 0


def test_immutable_buffers_are_not_copied():
    """Nobody can write to bytes, so all may have the same."""
    blob = encode(np.frombuffer(bytes(10_000), np.uint8))
    data = bytes(blob.buffers[0])
    for buffer in (data, memoryview(data)):
        arrived = Blob(blob.data, [buffer])
        assert not decode(arrived).flags.writeable
        assert np.shares_memory(decode(arrived), decode(arrived))


def test_other_buffers():
    """Whatever offers buffers travels out of band from 4 KiB on."""
    for size, count in ((4095, 0), (4096, 1)):
        blob = encode(pickle.PickleBuffer(bytearray(size)))
        assert len(blob.buffers) == count
    assert through(array.array("d", [1.5] * 1_000)) == array.array("d", [1.5] * 1_000)


def test_a_value_that_holds_itself():
    """Cycles and shared parts keep their shape."""
    value = []
    value.append(value)
    value.append(part := [1])
    value.append(part)
    back = through(value)
    assert back[0] is back
    assert back[1] is back[2]


class Opaque:
    """Something that pickles by its class's name, or not."""


def local_things():
    @dataclasses.dataclass(frozen=True)
    class Point:
        x: int
        y: list = dataclasses.field(default_factory=list, hash=False)

    class Slotted:
        __slots__ = ("__hidden", "shown")

        def __init__(self):
            self.__hidden, self.shown = 1, 2

        def __eq__(self, other):
            return self.__hidden == other.__hidden

        __hash__ = None

    class Color(enum.Enum):
        RED = 1
        BLUE = "b"

        def shout(self):
            return self.name

    class Pair(typing.NamedTuple):
        a: int
        b: str = "x"

    class Cached:
        calls = 0

        @functools.cached_property
        def square(self):
            type(self).calls += 1
            return 49

        @functools.lru_cache(maxsize=3)  # noqa: B019 - what users write
        def method(self):
            return 1

    return Point, Slotted, Color, Pair, Cached


def test_local_classes():
    """Instances of classes that no import finds come back as instances of these."""
    point, slotted, color, pair, cached = local_things()
    for value in (point(3), slotted(), color.BLUE, pair(1), {color.RED: [point(1)]}):
        back = through(value)
        assert back == value
        assert type(back) is type(value)
    assert through(color.RED) is color.RED
    assert through(cached()).square == 49
    # Where nobody has the class, it is made.
    tracked = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
    data = encode(cached())
    tracked.pop(cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS[cached])
    back = decode(data)
    assert type(back) is not cached
    assert (back.square, back.square, type(back).calls) == (49, 49, 2)
    assert back.method() == 1


def test_things_that_plain_pickle_refuses():
    """Modules, lambdas, views, descriptors and caches travel too."""
    assert through(sys) is sys
    assert through({1: 2}.keys()) == {1}
    assert through(types.MappingProxyType({1: 2})) == {1: 2}
    assert through(memoryview(b"abc")) == b"abc"
    assert through(types.FunctionType) is types.FunctionType
    assert through(type(None)) is type(None)
    assert through([len, str.upper, dict.fromkeys, [].append])[0] is len
    assert through(functools.partial(lambda x, y: x - y, 5))(3) == 2
    assert through([1, 2].index)(2) == 1

    @functools.lru_cache(maxsize=7, typed=True)
    def cached(x):
        return x + 1

    back = through(cached)
    assert back(2) == 3
    assert back.cache_parameters() == {"maxsize": 7, "typed": True}
    variable = typing.TypeVar("variable")
    assert through(variable) is variable


def test_a_module_made_by_hand():
    """A module that cannot be imported is sent with all it holds."""
    module = types.ModuleType("made_by_hand")
    module.x = 5
    assert through(module).x == 5
    sys.modules["made_by_hand"] = module
    try:
        exec("def f(): return x", module.__dict__)
        assert through(module).f() == 5
        assert through(module.f)() == 5
        assert through(module.f) is module.f
    finally:
        del sys.modules["made_by_hand"]


def test_functions_keep_what_they_share():
    """Functions of one value that share globals and cells share them there."""
    shared = []

    def add(x):
        shared.append(x)

    def get():
        return shared

    there = through((add, get, shared))
    there[0](1)
    assert there[1]() == [1]
    assert there[1]() is there[2]
    assert shared == []


def test_a_class_body_finds_globals():
    """A class inside a function that travels sees the globals that it names."""
    space = {}
    exec(
        "LIMIT = 4\nOTHER = 5\n"
        "def outer():\n"
        "    class Inner:\n"
        "        limit = LIMIT\n"
        "    return Inner.limit\n",
        space,
    )
    assert through(space["outer"])() == 4


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not today")


def test_what_cannot_be_pickled():
    """The error names the place and keeps the reason as data."""
    with pytest.raises(codec.EncodeError) as caught:
        encode({"a": [1, threading.Lock()]}, "argument 'conf'")
    assert caught.value.path == "argument 'conf'['a'][1]"
    assert caught.value.reason == "cannot pickle '_thread.lock' object"
    assert isinstance(caught.value.__cause__, TypeError)
    assert str(caught.value) == (
        "argument 'conf'['a'][1]: cannot pickle '_thread.lock' object"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason) == (caught.value.path, caught.value.reason)
    with pytest.raises(codec.EncodeError, match="not today"):
        encode([Unpicklable()])


def test_nested_too_deeply():
    """No container crashes the interpreter, however deep."""
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(codec.EncodeError, match="nested too deeply"):
        encode(value)
    while value:
        value = value.pop()


def explode():
    raise ValueError("no such thing")


class Explodes:
    def __reduce__(self):
        return explode, ()


def test_what_cannot_be_rebuilt():
    """A reconstructor that fails, damaged bytes, a missing class: one error."""
    with pytest.raises(codec.DecodeError, match="ValueError: no such thing"):
        through(Explodes())
    for damaged in (b"", b"junk", encode([1.5] * 20).data[:-9]):
        with pytest.raises(codec.DecodeError) as caught:
            decode(Blob(damaged))
        assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason
    with pytest.raises(codec.DecodeError, match="nowhere"):
        decode(Blob(b"\x80\x05cnowhere\nthing\n."))


def test_describe():
    """Errors without a text, and with one that fails, are described all the same."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert codec.describe(Mute()) == "Mute"
    assert codec.describe(KeyError()) == "KeyError"
    assert codec.describe(TypeError("text")) == "text"
    assert codec.describe(RecursionError("x")) == "it is nested too deeply"


def test_atoms_need_no_cloudpickle():
    """Plain data, arguments and importable functions are encoded without it."""
    program = (
        "import sys, collections\n"
        "from entangle._worker import codec, functions\n"
        "for value in (1, [[1]], {'a': (1, {2})}, collections.OrderedDict(a=[1]), "
        "range(3), len, collections.Counter):\n"
        "    assert codec.decode(codec.encode(value)) == value\n"
        "    assert functions.FunctionCache().encoded(collections.namedtuple)\n"
        "assert 'cloudpickle' not in sys.modules\n"
        "import typing\n"
        "T = typing.TypeVar('T')\n"
        "assert codec.decode(codec.encode(T)) is T\n"
        "assert 'cloudpickle' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_second_attempt_starts_over():
    """Where cloudpickle is loaded half-way, buffers are not sent twice."""
    program = (
        "import sys\n"
        "from pickle import PickleBuffer\n"
        "from entangle._worker import codec\n"
        "blob = codec.encode([PickleBuffer(bytearray(5000)), sys])\n"
        "assert len(blob.buffers) == 1\n"
        "assert codec.decode(blob)[1] is sys\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_threads():
    """Any number of threads may encode and decode the same classes at once."""
    things = local_things()
    values = [things[0](i) for i in range(20)]
    wrong = []

    def work():
        wrong.extend(1 for _ in range(50) if through(values) != values)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
