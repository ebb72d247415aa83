"""The place of what does not pickle is found, whatever it lies in."""

import collections
import copyreg
import dataclasses
import functools
import threading
import time
import types
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._worker import explain as module
from entangle._worker.codec import EncodeError
from entangle._worker.explain import explain

LOCK = threading.Lock()
REASON = "cannot pickle '_thread.lock' object"


class Plain:
    def __init__(self, **names):
        vars(self).update(names)


class Slotted:
    __slots__ = ("lock", "other")

    def __init__(self):
        self.other, self.lock = 1, LOCK


class SlottedToo(Slotted):
    """Has a dictionary as well."""


@dataclasses.dataclass
class Data:
    x: int
    handlers: list


class Pair(typing.NamedTuple):
    a: object
    b: object


class Reduced:
    def __init__(self, inner):
        self.inner = inner

    def __reduce__(self):
        return Reduced, (self.inner,)


class OtherState:
    def __getstate__(self):
        return [1, LOCK]


class Keyed(dict):
    pass


class Registered:
    def __init__(self, inner):
        self.inner = inner


copyreg.pickle(Registered, lambda value: (Registered, (value.inner,)))


def closing(value):
    def inner():
        return value

    return inner


def program(source, **names):
    space = {"__name__": "__main__", **names}
    exec(source, space)
    return space


def cell(value):
    return closing(value).__closure__[0]


def both_slots():
    value = SlottedToo()
    value.more = 1
    return value


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "value"),
        ([1, (2, LOCK)], "value[1][1]"),
        ({"a": {3: LOCK}}, "value['a'][3]"),
        ({LOCK: 1}, f"value, key {LOCK!r}"[:67]),
        ({LOCK}, f"value, element {LOCK!r}"[:71]),
        (Plain(handlers=[Plain(lock=LOCK)]), "value.handlers[0].lock"),
        (Slotted(), "value.lock"),
        (both_slots(), "value.lock"),
        (Data(1, [LOCK]), "value.handlers[0]"),
        (Pair(1, LOCK), "value.b"),
        (Reduced(LOCK), "value.inner"),
        (Registered(LOCK), "value.inner"),
        (OtherState(), "value, its state[1]"),
        (collections.deque([1, LOCK]), "value[1]"),
        (collections.OrderedDict(a=LOCK), "value['a']"),
        (Keyed(a=LOCK), "value['a']"),
        (collections.defaultdict(list, a=LOCK), "value['a']"),
        (Plain(lock=LOCK).__init__, "value.__self__.lock"),
        (
            closing([LOCK]),
            "value, closure variable 'value' of 'closing.<locals>.inner'[0]",
        ),
        (lambda x=LOCK: x, "value, default of parameter 'x' of '<lambda>'"),
        (lambda *, x=LOCK: x, "value, default of parameter 'x' of '<lambda>'"),
        (functools.partial(closing(1), LOCK), "value, its state, [1][0]"),
        (types.SimpleNamespace(a=LOCK), "value.a"),
        (cell([LOCK]), "value[0]"),
        (program("def f(): return L", L=LOCK)["f"], "value, global 'L' of 'f'"),
        (program("class C: x = L", L=LOCK)["C"], "value, attribute 'x' of class 'C'"),
        (program("class C: x = L", L=LOCK)["C"](), "value, attribute 'x' of class 'C'"),
        (
            program("class B: x = L\nclass C(B): pass", L=LOCK)["C"](),
            "value, base 'B' of class 'C', attribute 'x' of class 'B'",
        ),
        (
            program("class C:\n @property\n def x(self): return L", L=LOCK)["C"](),
            "value, attribute 'x' of class 'C', global 'L' of 'C.x'",
        ),
        (
            program("class C:\n @staticmethod\n def x(): return L", L=LOCK)["C"](),
            "value, attribute 'x' of class 'C', global 'L' of 'C.x'",
        ),
    ],
    # Without the address that some hold.
    ids=lambda part: part.partition(" at 0x")[0] if type(part) is str else None,
)
def test_paths(value, path):
    """The path reads like the expression that leads there."""
    found, reason = explain(value)
    if "key" in path or "element" in path:
        found = found[: len(path)].rstrip(".")
        assert path.startswith(found)
    elif "its state, [1]" in path:
        assert found.startswith("value")
    else:
        assert found == path
    assert reason == REASON


def test_names():
    """The path begins with the name that it is given, if any."""
    assert explain([LOCK], "argument 'x'") == ("argument 'x'[0]", REASON)
    assert explain([LOCK], "") == ("[0]", REASON)
    assert explain(LOCK, "") == ("value", REASON)


def test_attributes_and_annotations_of_functions():
    """Odd corners of functions are looked into."""
    fn = closing(1)
    fn.lock = LOCK
    assert explain(fn)[0].startswith("value, attribute 'lock' of")
    fn = closing(1)
    fn.__annotations__ = {"x": LOCK}
    assert explain(fn)[0].startswith("value, annotation of 'x' of")


def test_a_closure_variable_without_a_value():
    """A variable still to be assigned is no trouble."""

    def outer():
        def inner():
            return lock, later

        lock = LOCK
        yield inner
        later = 1
        yield later

    assert "'lock'" in explain(next(outer()))[0]


def test_parts_that_fail_together_only(monkeypatch):
    """Where no part fails alone, the whole is to blame."""
    real = module.attempt
    monkeypatch.setattr(
        module, "attempt", lambda v: TypeError("both") if v == [[1], [2]] else real(v)
    )
    assert explain([[1], [2]]) == ("value", "both")


def test_nothing_wrong():
    """A value that pickles, and one that only failed at another time."""
    assert explain([1]) == ("value", "nothing is wrong with it")
    assert explain([1], "v", TypeError("then")) == ("v", "then")
    assert explain(len, "v", TypeError("then")) == ("v", "then")
    assert explain([[]], "v", RecursionError("x")) == ("v", "it is nested too deeply")


class Hostile:
    def __reduce_ex__(self, protocol):
        raise RuntimeError("go away")

    def __repr__(self):
        raise RuntimeError("no repr")


class HostileList(list):
    def __reduce_ex__(self, protocol):
        def endless():
            yield 1
            yield LOCK
            raise RuntimeError

        return list, (), None, endless()


class NamedBadly:
    def __reduce__(self):
        return "no_such_name"


def test_hostile_values():
    """Code of the user's that fails is not the codec's trouble."""
    assert explain([1, Hostile()]) == ("value[1]", "RuntimeError: go away")
    assert explain({Hostile()})[0] == "value, element <Hostile>"
    assert explain(HostileList()) == ("value[1]", REASON)
    found, reason = explain([NamedBadly()])
    assert found == "value[0]"
    assert "no_such_name" in reason


def test_an_error_of_a_part():
    """An error that names its own path is continued, not wrapped."""

    class Raises:
        def __reduce__(self):
            raise EncodeError("inner", "reason")

    assert explain([Raises()], "v") == ("v[0], inner", "reason")


def test_it_never_raises(monkeypatch):
    """Trouble in looking leaves what was known."""

    def explode(*_):
        raise RuntimeError("oops")

    monkeypatch.setattr(module, "_descend", explode)
    assert explain([LOCK], "v") == ("v", REASON)
    monkeypatch.setattr(module, "attempt", explode)
    assert explain([LOCK], "v") == ("v", "RuntimeError: oops")


def test_cycles_and_depth():
    """A value that contains itself, or goes very deep, ends somewhere."""
    value = [LOCK]
    value.insert(0, value)
    assert explain(value)[0] == "value[1]"
    chain = LOCK
    for _ in range(150):
        chain = [chain]
    assert explain(chain)[0].startswith("value" + "[0]" * 90)
    parent, child = Plain(), Plain()
    parent.child, child.parent, child.lock = child, parent, LOCK
    assert explain(parent)[0] == "value.child.lock"


def test_wide_values():
    """One among very many is found by halving."""
    value = [(i,) for i in range(100_000)]
    value[77_777] = (1, LOCK)
    assert explain(value)[0] == "value[77777][1]"


def test_time_is_bounded(monkeypatch):
    """When the time is over, the path so far is the answer."""
    now = iter(range(0, 1_000, 10))
    monkeypatch.setattr(
        module, "time", types.SimpleNamespace(monotonic=lambda: next(now))
    )
    assert explain([[LOCK]]) == ("value", REASON)
    assert time.monotonic() > 0


def test_long_keys():
    """Long keys are shortened."""
    path = explain({"k" * 1_000: LOCK})[0]
    assert len(path) < 80
    assert path.endswith("...]")


@given(st.recursive(st.integers(), lambda x: st.lists(x, min_size=1), max_leaves=20))
@settings(max_examples=50, deadline=None)
def test_any_nesting(shape):
    """The path, evaluated, leads to the culprit."""
    where = shape
    if not isinstance(where, list):
        return
    while isinstance(where[-1], list):
        where = where[-1]
    where.append(LOCK)
    path, reason = explain(shape)
    assert eval(path, {"value": shape}) is LOCK
    assert reason == REASON
