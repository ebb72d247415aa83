"""Arguments of jobs: large ones lie in the store once, and what arrives is as it was."""

import array
import enum
import gc
import hashlib
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._jobs import arguments, packing
from entangle._jobs.uploads import Uploads
from entangle._worker import calls, codec, documents
from entangle.backend import DirectoryStore
from entangle.testing import RecordedCall

MANY = 40_000  # numbers, which are more than 256 KiB together


class Part:
    """Is equal to what holds the same, and can be told from it."""

    def __init__(self, *held):
        self.held = held

    def __eq__(self, other):
        return self.held == other.held

    __hash__ = None


class Color(enum.Enum):
    RED = 1


class Store:
    """Counts what is put into it."""

    def __init__(self):
        self.sizes = []

    def put(self, key, data):
        del key
        self.sizes.append(len(data))

    def read_url(self, key, seconds):
        del seconds
        return key


def function(*args, **kwargs):
    """Stand for a task's function."""


def packed(*args, **kwargs):
    call = RecordedCall(function, *args)
    call.kwargs = kwargs
    return packing.pack(call, None, "yard")


def arrived(*args, **kwargs):
    """Return what a job gets."""
    made = packed(*args, **kwargs)
    facts, parts = documents.read(packing.document(made, {}, None))
    return calls._decoded(facts, parts[2:])


def uploads(*several):
    """Return the sizes of all that is put into a store for some arguments."""
    store = Store()
    shared = Uploads(store, "", 10.0)
    for args in several:
        packing.document(packed(*args), {}, shared.place)
    return store.sizes


def shape(value, seen=None):
    """Return a value's structure, with every object that can be changed numbered."""
    seen = {} if seen is None else seen
    if isinstance(value, (list, dict, Part)):
        if id(value) in seen:
            return seen[id(value)]
        seen[id(value)] = len(seen)
    if isinstance(value, Part):
        return "part", [shape(each, seen) for each in value.held]
    if isinstance(value, dict):
        return "dict", [(key, shape(each, seen)) for key, each in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shape(each, seen) for each in value]
    return type(value), value


LARGE = {
    "text": lambda: "å" * 300_000,
    "bytes": lambda: b"x" * 300_000,
    "list": lambda: [float(n) for n in range(MANY)],
    "tuple": lambda: tuple(range(100_000)),
    "set": lambda: {str(n) for n in range(MANY)},
    "dict": lambda: {n: str(n) for n in range(MANY)},
    "nested": lambda: [{"a": n, "b": [n]} for n in range(MANY)],
    "instance": lambda: Part([Part(n) for n in range(MANY)]),
    "array": lambda: {"a": array.array("d", range(MANY)), "b": ["x" * 300_000]},
    "bytearray": lambda: bytearray(300_000),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_argument_is_put_once_for_all_jobs(kind):
    shared = LARGE[kind]()
    sizes = uploads(*((shared, n, [n], "x" * n) for n in range(5)))
    assert len(sizes) == 1
    (got, number, *_), kwargs = arrived(shared, 3)
    assert got == shared
    assert type(got) is type(shared)
    assert (number, kwargs) == (3, {})


@pytest.mark.parametrize("kind", LARGE)
def test_equal_ones_are_one(kind):
    sizes = uploads(*((LARGE[kind](), n) for n in range(3)))
    assert len(sizes) == 1


def test_each_of_several_is_put_once():
    one, two = LARGE["nested"](), LARGE["dict"]()
    assert len(uploads((one, two), (two, one), (one, [1]), (two,))) == 2


def test_small_ones_stay_together():
    made = packed([1] * 1000, {"a": "b" * 1000}, x=["c"] * 1000)
    assert not made.large
    assert len(made.parts) == 3


def test_one_that_was_changed_is_sent_as_it_is_now():
    for kind in ("list", "dict", "nested"):
        value = LARGE[kind]()
        before = packed(value, 1)
        value[7] = True if kind != "nested" else {"a": 0}
        after = packed(value, 1)
        assert before.large[0] is not after.large[0]
        assert (arrived(value)[0][0])[7] == value[7]
        del value[8]
        assert arrived(value)[0][0] == value


def test_what_is_equal_but_another_is_sent_anew():
    value = [1.0] * MANY
    held = packed(value)
    value[:] = [1] * MANY
    assert {type(each) for each in arrived(value)[0][0]} == {int}
    del held


@pytest.mark.parametrize("kind", ["text", "bytes", "list", "tuple", "set", "dict"])
def test_what_nobody_can_have_changed_is_pickled_once(kind):
    shared = LARGE[kind]()
    held = packed(shared, 0)
    with mock.patch.object(codec, "dump", wraps=codec.dump) as dump:
        more = [packed(shared, n) for n in range(5)]
    sizes = [len(call.args[0]) for call in dump.call_args_list if call.args[0]]
    # Each time the rest alone: a pair of arguments.
    assert set(sizes) == {2}
    assert {each.large for each in more} == {held.large}


def test_nothing_is_held_for_longer_than_calls_wait():
    held = [packed(LARGE["nested"](), 1), packed(LARGE["list"](), 2)]
    assert len(arguments._by_content) >= 2
    held.clear()
    gc.collect()
    assert not [*arguments._by_content.values(), *arguments._by_identity.values()]


def test_what_is_shared_stays_shared():
    part = Part(1)
    records = [Part(n) for n in range(MANY)] + [part]
    flat = [float(n) for n in range(MANY)]
    for args in (
        (flat, flat),
        (flat, [flat, flat], {"flat": flat}),
        (records, part),
        (records, [records[5]], flat),
        (records, [Part(part)] * MANY),
        (records, [flat], flat),
        ([flat, records], [[flat]]),
    ):
        assert shape(arrived(*args)[0]) == shape(args)
    (one, two), kwargs = arrived(flat, records, x=flat, y=part)
    assert kwargs["x"] is one
    assert kwargs["y"] is two[-1]


def test_what_only_looks_shared_lies_apart():
    records = [Part(n, Color.RED, ("a", 1)) for n in range(MANY)]
    made = packed(records, Part(Color.RED, ("a", 1)), Part, len)
    assert len(made.large) == 1
    (_, part, *_), _ = arrived(records, Part(Color.RED))
    assert part.held[0] is Color.RED


def test_one_that_cannot_be_sent_is_named():
    from entangle.errors import UnpicklableError

    with pytest.raises(UnpicklableError, match="generator"):
        packed([*range(MANY)], [(each for each in ())])


def test_digests_are_right():
    store = []
    place = mock.Mock(side_effect=lambda *given: store.append(given))
    values = LARGE["text"](), LARGE["bytes"](), LARGE["array"]()
    packing.document(packed(*values), {}, place)
    assert len(store) == 3
    for data, digest in store:
        assert hashlib.sha256(data).hexdigest() == digest
    numbers = np.zeros(MANY * 10)
    packing.document(packed([*map(str, range(MANY)), numbers]), {}, place)
    # Of what may change there is none.
    assert [not digest for _, digest in store[3:]] == [False, True]


def test_what_has_changed_until_it_is_sent_is_sent_as_it_is(tmp_path):
    """A store refuses, and an array is another when it takes it."""
    large = np.zeros(MANY * 10)
    call = packed([*map(str, range(MANY)), large])
    store = DirectoryStore(tmp_path)
    uploads = Uploads(store, "entangle/x/", 60.0)
    with (
        mock.patch.object(DirectoryStore, "put", side_effect=OSError),
        pytest.raises(OSError),  # noqa: PT011 - whatever it says,
    ):
        packing.document(call, {}, uploads.place)
    large[0] = 5
    packing.document(call, {}, uploads.place)
    for found in store.list("entangle/x/"):
        data = store.get(found.key)
        assert found.key.endswith(hashlib.sha256(data).hexdigest())


def test_tuples_of_tuples_take_no_time():
    tower = ()
    for _ in range(60):
        tower = tower, tower
    assert packed("x" * arguments.LARGE, tower).large


@st.composite
def graphs(draw):
    """Arguments of which some are large and some share objects."""
    pool = [
        [*range(20)],
        {"a": 1},
        Part(1),
        "text" * 50,
        (Part(2), [3]),
        [float(n) for n in range(300)],
        {n: [n] for n in range(100)},
    ]
    for _ in range(draw(st.integers(0, 6))):
        some = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4))
        made = draw(st.sampled_from([list, tuple, lambda items: Part(*items)]))
        pool.append(made(some))
    if draw(st.booleans()):
        circle = [draw(st.sampled_from(pool))]
        circle.append(circle)
        pool.append(circle)
    args = draw(st.lists(st.sampled_from(pool), min_size=1, max_size=4))
    names = draw(st.lists(st.sampled_from("xyz"), unique=True))
    return args, {name: draw(st.sampled_from(pool)) for name in names}


@given(graphs(), st.integers(50, 3000))
@settings(deadline=None, max_examples=300)
def test_arguments_arrive_as_they_were(graph, large):
    args, kwargs = graph
    with (
        mock.patch.object(arguments, "LARGE", large),
        mock.patch.object(codec, "simple", lambda value: isinstance(value, int)),
    ):
        got, named = arrived(*args, **kwargs)
    assert shape([*got, named]) == shape([*args, kwargs])
