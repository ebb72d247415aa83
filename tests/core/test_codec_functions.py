"""Functions go by name where they can, by value where they must, once if unchanged."""

import collections
import functools
import json
import os.path
import re
import sys
import threading
import types

import cloudpickle
import pytest

from entangle._worker import codec, functions, references
from entangle._worker.functions import (
    FunctionCache,
    decode_function,
    encode_function,
    function_reference,
)


class Task:
    """What a decorator makes of a function, as far as the codec can see."""

    __slots__ = ("fn", "spec")

    def __init__(self, fn, spec=()):
        self.fn = fn
        self.spec = spec

    def __get__(self, instance, owner):
        return self if instance is None else functools.partial(self.fn, instance)

    def __reduce__(self):
        return Task, (self.fn, self.spec)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make modules that can be imported: name, source -> module."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(name, source):
        path = tmp_path / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        module = __import__(name, fromlist=["x"])
        made.append(name)
        return module

    make.Task = Task
    yield make
    for name in made:
        sys.modules.pop(name, None)


SOURCE = """
import functools

class Task:
    def __init__(self, fn):
        self.fn, self.spec = fn, None
    def __get__(self, instance, owner):
        return self

def plain(): return 1

@Task
def task(): return 2

@Task
@functools.lru_cache
def cached(): return 3

@functools.lru_cache
def bare_cached(): return 4

class Things:
    def method(self): return 5
    @Task
    def task(self): return 6
    @staticmethod
    def static(): return 7
    class Inner:
        def method(self): return 8

def replaced(): return 9
original, replaced = replaced, lambda: 10

def __getattr__(name):
    if name == "lazily":
        return made_up
    raise AttributeError(name)

def made_up(): return 11
made_up.__qualname__ = "lazily"
"""


def test_references(project):
    """A name is a reference if importing it leads to the function, or its task."""
    module = project("referenced", SOURCE)
    for fn, name in (
        (module.plain, "plain"),
        (module.task.fn, "task"),
        (module.cached.fn, "cached"),
        (module.bare_cached, "bare_cached"),
        (module.Things.method, "Things.method"),
        (module.Things.task.fn, "Things.task"),
        (module.Things.static, "Things.static"),
        (module.Things.Inner.method, "Things.Inner.method"),
        (module.Things, "Things"),
        (module.made_up, "lazily"),
    ):
        assert function_reference(fn) == ("referenced", name)
        assert decode_function(encode_function(fn)) is fn
        # As part of a value too.
        assert codec.decode(codec.encode([fn]))[0] is fn
        assert len(encode_function(fn)) < 150
        cache = FunctionCache()
        assert cache.encoded(fn) is cache.encoded(fn)
    assert function_reference(module.original) is None
    assert decode_function(encode_function(module.original))() == 9


def test_references_of_the_standard_library():
    """Builtins and library functions go by name."""
    for fn in (len, json.dumps, os.path.join, collections.OrderedDict, dict):
        reference = function_reference(fn)
        assert reference is not None
        assert decode_function(encode_function(fn)) is fn


def test_no_references():
    """What exists here only, or is no function, has no name."""

    def local():
        pass

    class Odd:
        __module__ = 5
        __qualname__ = "x"

        def __call__(self):
            pass

    class Raising:
        def __getattr__(self, name):
            raise RuntimeError(name)

        def __call__(self):
            return 3

    for fn in (local, lambda: 1, functools.partial(len), [].append, Odd(), Raising()):
        assert function_reference(fn) is None
    assert decode_function(encode_function(Raising()))() == 3


def test_programs_and_unfindable_modules(tmp_path, monkeypatch):
    """A module that the path doesn't lead to is of no use as a name."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert not references.importable("__main__")
    assert not references.importable("never_imported")

    from importlib.util import module_from_spec, spec_from_file_location

    (tmp_path / "hidden.py").write_text("def f(): return 1\n")
    spec = spec_from_file_location("hidden", tmp_path / "hidden.py")
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hidden", module)
    spec.loader.exec_module(module)
    assert not references.importable("hidden")
    assert function_reference(module.f) is None
    assert decode_function(encode_function(module.f))() == 1
    monkeypatch.syspath_prepend(str(tmp_path))
    assert references.importable("hidden")
    monkeypatch.setitem(sys.modules, "hidden.inner", types.ModuleType("hidden.inner"))
    assert not references.importable("hidden.inner")


def test_modules_of_packages(project, tmp_path, monkeypatch):
    """Submodules are looked for where their package is."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    module = project("package.part", "def f(): pass\n")
    assert function_reference(module.f) == ("package.part", "f")
    # The package is of no use, so its parts aren't either.
    monkeypatch.setattr(sys.modules["package"], "__spec__", None)
    references._found.clear()
    assert function_reference(module.f) is None


def test_a_module_that_its_package_makes_up(project, tmp_path, monkeypatch):
    """A submodule without a file of its own comes with its package."""
    package = tmp_path / "maker"
    package.mkdir()
    (package / "__init__.py").write_text("")
    project("maker.real", "")
    made = types.ModuleType("maker.made")
    made.__spec__ = sys.modules["maker.real"].__spec__
    monkeypatch.setitem(sys.modules, "maker.made", made)
    assert references.importable("maker.made")


def test_a_finder_that_fails(monkeypatch, project):
    """Somebody's broken import hook disturbs nobody."""

    class Finder:
        @staticmethod
        def find_spec(name, path):
            raise RuntimeError(name)

    project("found_anyway", "")
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    references._found.clear()
    assert references.importable("found_anyway")


def test_registered_by_value(project):
    """A module registered with cloudpickle as by value goes by value."""
    module = project("registered", "def f(): return 1\n")
    project("registered_not", "")
    assert function_reference(module.f)
    cloudpickle.register_pickle_by_value(module)
    try:
        assert function_reference(module.f) is None
        assert references.registered_by_value("registered.inner")
        assert references.importable("registered_not")
        # It has come back to where it is from.
        assert decode_function(encode_function(module.f)) is module.f
        old, module.f = module.f, Task(len)
        assert decode_function(encode_function(old)) is not old
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_task_functions(project):
    """The name of a task leads to its function; without a task, to itself."""
    project("tasks_here", "def f(): return 1\n")
    assert references.task_function("tasks_here", "f")() == 1
    with pytest.raises(AttributeError, match="no 'gone'"):
        references.task_function("tasks_here", "gone")

    class Hostile:
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert not references.leads_to(Hostile(), len)


def test_a_function_of_no_module():
    """A function may have lost its module's name, or have something odd there."""

    def local():
        return 1

    for name in (None, 5):
        local.__module__ = name
        assert decode_function(encode_function(local))() == 1


def test_a_name_taken_by_something_hostile(monkeypatch):
    """What has taken the place of a function is looked at with care."""

    class Hostile:
        def __getattr__(self, name):
            raise RuntimeError(name)

    module = types.ModuleType("taken")
    monkeypatch.setitem(sys.modules, "taken", module)
    exec("def f(): return 1", vars(module))
    fn, module.f = module.f, Hostile()
    assert decode_function(encode_function(fn))() == 1


def test_decoding_errors():
    """A function that cannot be rebuilt is a decode error."""
    with pytest.raises(codec.DecodeError, match="nowhere"):
        decode_function(b"\x80\x05cnowhere\nthing\n.")


def test_anything_callable():
    """Partials, objects, bound methods and classes travel."""

    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            return self.n + x

        def add(self, x):
            return self.n + x

    for fn in (Adder(2), Adder(2).add, functools.partial(lambda a, b: a + b, 2)):
        assert decode_function(encode_function(fn))(3) == 5


def in_globals(source, **names):
    """Make functions in globals of their own, as those of a program are."""
    space = {"__name__": "__main__", **names}
    exec(source, space)
    return types.SimpleNamespace(space=space, **space)


def test_too_big_globals():
    """More than 1 MB of globals by value is an error that names the biggest."""
    made = in_globals(
        "def f(): return helper(), SMALL\n"
        "def helper(): return TABLE, helper, re, Thing\n"
        "class Thing: pass\n",
        TABLE=list(range(500_000)),
        SMALL=b"x" * 1000,
        re=re,
    )
    with pytest.raises(codec.EncodeError) as caught:
        encode_function(made.f)
    assert caught.value.path == "global 'TABLE' of 'helper'"
    assert "bytes" in caught.value.reason
    with pytest.raises(codec.EncodeError) as caught:
        codec.encode([made.f], "argument 'f'")
    assert caught.value.path == "argument 'f', global 'TABLE' of 'helper'"


def test_big_arguments_and_closures_are_no_globals():
    """Only what comes along unasked counts."""
    table = bytes(2_000_000)

    def f():
        return len(table)

    assert decode_function(encode_function(f))() == 2_000_000
    assert codec.decode(codec.encode([f, bytearray(2_000_000)]))[0]() == 2_000_000


def test_unpicklable_globals():
    """The error names the global and the function that uses it."""
    made = in_globals(
        "def f(): return g()\ndef g():\n    with LOCK: pass\n", LOCK=threading.Lock()
    )
    with pytest.raises(codec.EncodeError) as caught:
        encode_function(made.f)
    assert caught.value.path == "global 'g' of 'f', global 'LOCK' of 'g'"
    assert caught.value.reason == "cannot pickle '_thread.lock' object"


def test_too_big_globals_of_a_class():
    """A class that travels by value is held to the same."""
    made = in_globals(
        "class Thing:\n    def size(self): return len(TABLE)\n",
        TABLE=bytes(2_000_000),
    )
    with pytest.raises(codec.EncodeError) as caught:
        codec.encode(made.Thing(), "argument 'thing'")
    assert "global 'TABLE' of 'Thing.size'" in caught.value.path
    assert caught.value.path.startswith("argument 'thing'")


def cached(made, name="f"):
    """Return the cache's answers: a function that is called after each change."""
    cache = FunctionCache()
    fn = made.space[name]

    def answer():
        digest, data = cache.encoded(fn)
        return digest, decode_function(data)

    answer.cache = cache
    return answer


def change_global(made):
    made.space["N"] = 5


def delete_global(made):
    made.space["N"] = 5
    del made.space["EXTRA"]


def change_default(made):
    made.f.__defaults__ = (4,)


def change_keyword_default(made):
    made.f.__kwdefaults__["k"] = 4


def change_keyword_defaults(made):
    made.f.__kwdefaults__ = {"k": 4}


def change_code(made):
    made.f.__code__ = in_globals("def f(x=1, *, k=0): return x + 4").f.__code__


def change_helper(made):
    made.space["helper"] = in_globals("def helper(): return 3").helper


def change_helper_code(made):
    made.helper.__code__ = in_globals("def helper(): return 3").helper.__code__


def change_helper_global(made):
    made.space["M"] = 3


def change_class_attribute(made):
    made.Thing.attribute = 3


def add_class_attribute(made):
    made.Thing.more = 3


def change_method(made):
    made.Thing.method.__code__ = in_globals("def m(self): return 3").m.__code__


def change_attribute(made):
    made.f.extra = 3


def change_attribute_again(made):
    made.f.known = 4


def change_annotation(made):
    made.f.__annotations__["x"] = str


def change_partial(made):
    made.partial.keywords["y"] = 3


def change_static(made):
    made.Thing.static.__code__ = in_globals("def m(): return 3").m.__code__


def change_property(made):
    made.Thing.prop.fget.__code__ = in_globals("def m(self): return 3").m.__code__


def change_task(made):
    made.task.fn.__code__ = in_globals("def m(): return 3").m.__code__


def change_member(made):
    made.Color.shout.__code__ = in_globals("def m(self): return 3").m.__code__


CHANGES = [value for name, value in sorted(globals().items()) if name[:6] == "change"]
CHANGES += [delete_global, add_class_attribute]
CHANGEABLE = """
import dataclasses, enum, functools, abc, pathlib, typing
class Base(abc.ABC):
    @abc.abstractmethod
    def method(self): ...
class Thing(Base):
    attribute = 1
    def method(self): return N
    @staticmethod
    def static(): return 1
    @classmethod
    def klass(cls): return 1
    @property
    def prop(self): return 1
    @functools.cached_property
    def lazy(self): return 1
class Color(enum.Enum):
    RED = 1
    def shout(self): return 1
@dataclasses.dataclass
class Point:
    x: int = 0
class Pair(typing.NamedTuple):
    x: int = 0
@functools.lru_cache
def memo(): return 1
def helper(): return M
partial = functools.partial(helper, 1, y=2)
task = Task(lambda: N)
RED = Color.RED
def f(x: int = 1, *, k: int = 0):
    "Use all kinds of things."
    if k < 0:
        MISSING
    functools, pathlib.Path, EXTRA, PATH, PATTERN, partial, task, RED, memo
    return x + k + N + helper() + Thing().method() + Point().x + Pair(3).x
f.known = 1
if True:
    EXTRA = (1, frozenset("a"))
"""


def changeable():
    from pathlib import Path

    return in_globals(
        CHANGEABLE, N=1, M=2, PATH=Path("x"), PATTERN=re.compile("x"), Task=Task
    )


def test_an_unchanged_function_is_encoded_once():
    """All kinds of immutable things may be reached, and need no new encoding."""
    made = changeable()
    cache = FunctionCache()
    cache.encoded(made.f)
    cache.encoded(made.f)  # the first one taught copyreg about slots
    assert cache.encoded(made.f) is cache.encoded(made.f)
    assert decode_function(cache.encoded(made.f)[1])() == 1 + 0 + 1 + 2 + 1 + 0 + 3


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_a_changed_function_is_encoded_again(change):
    """Whatever is changed of what a function reaches, it is noticed."""
    made = changeable()
    cache = FunctionCache()
    for _ in range(2):
        first = cache.encoded(made.f)
    assert cache.encoded(made.f) is first
    change(made)
    second = cache.encoded(made.f)
    assert second is not first
    assert second[0] != first[0]
    fresh = decode_function(encode_function(made.f))
    try:
        expected = made.f()
    except NameError:
        with pytest.raises(NameError):
            decode_function(second[1])()
    else:
        assert decode_function(second[1])() == fresh() == expected


def test_closures():
    """A cell that is assigned again, or emptied, is a change."""

    def outer():
        n = 1

        def get():
            return n

        def put(value):
            nonlocal n
            n = value

        def clear():
            nonlocal n
            del n

        return get, put, clear

    get, put, clear = outer()
    cache = FunctionCache()
    first = cache.encoded(get)
    assert cache.encoded(get) is first
    put(2)
    assert decode_function(cache.encoded(get)[1])() == 2
    clear()
    assert cache.encoded(get) is not cache.encoded(get)
    put(3)
    assert decode_function(cache.encoded(get)[1])() == 3


@pytest.mark.parametrize(
    "value",
    [
        [1],
        {"a": 1},
        {1},
        bytearray(b"x"),
        collections.Counter(),
        types.SimpleNamespace(),
    ],
    ids=lambda v: type(v).__name__,
)
def test_mutable_globals(value):
    """A function that reaches something mutable is encoded each time."""
    made = in_globals("def f(): return VALUE", VALUE=value)
    answer = cached(made)
    first, fn = answer()
    assert fn() == value
    assert answer()[0] == first
    if isinstance(value, list):
        value.append(2)
    elif isinstance(value, (dict, collections.Counter)):
        value["b"] = 2
    elif isinstance(value, set):
        value.add(2)
    elif isinstance(value, bytearray):
        value.append(1)
    else:
        value.x = 1
    second, fn = answer()
    assert fn() == value
    assert second != first


def test_mutable_parts_of_classes():
    """So is one that reaches a class with something mutable."""
    made = in_globals("class C:\n    registry = []\ndef f(): return C.registry")
    answer = cached(made)
    first = answer()[0]
    made.C.registry.append(1)
    assert answer()[0] != first


def test_a_reference_that_no_longer_leads_there(project):
    """A function whose name is taken by another goes by value from then on."""
    module = project("patched", "def f(): return 1\n")
    cache = FunctionCache()
    fn = module.f
    assert b"patched" in cache.encoded(fn)[1]
    module.f = len
    assert decode_function(cache.encoded(fn)[1])() == 1


def test_imported_submodules(project):
    """A submodule imported later travels with the function that uses it."""
    made = in_globals("import xml\ndef f(): return xml.etree.ElementTree.__name__")
    sys.modules.pop("xml.etree.ElementTree", None)
    cache = FunctionCache()
    first = cache.encoded(made.f)
    __import__("xml.etree.ElementTree")
    second = cache.encoded(made.f)
    assert second is not first
    assert b"ElementTree" in second[1]


def test_unstable_things(project):
    """Hostile objects and unusual modules only cost time."""

    class Hostile:
        spec = None

        @property
        def fn(self):
            raise RuntimeError

    module = types.ModuleType("by_hand")
    for value in (Hostile(), module):
        made = in_globals("def f(): return VALUE", VALUE=value)
        cache = FunctionCache()
        assert cache.encoded(made.f) is not cache.encoded(made.f)


def test_the_cache_is_bounded():
    """It forgets rather than holds more than 1,024 functions."""
    cache = FunctionCache()
    made = [eval(f"lambda: {i}") for i in range(1_030)]
    for fn in made:
        cache.encoded(fn)
    assert len(cache._entries) <= 1_024
    big = bytes(40_000_000)
    for fn in (lambda: big, lambda: len(big)):
        assert cache.encoded(fn) is cache.encoded(fn)
    assert len(cache._entries) == 1


def test_threads():
    """Threads that ask for one function get the same answer."""
    made = changeable()
    cache = FunctionCache()
    cache.encoded(made.f)
    answers = []

    def work():
        answers.extend(cache.encoded(made.f)[0] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 80
    assert len(set(answers)) == 1


def test_enter_main_is_offered_here():
    """The worker finds it beside the functions."""
    assert functions.enter_main.__module__ == "entangle._worker.mains"
