"""The digest of a function changes with what it does, and with nothing else."""

import importlib
import logging
import os
import subprocess
import sys
import threading

import pytest

from entangle._cache import definitions
from entangle._cache.definitions import digest_of
from entangle._cache.tokens import UnkeyableError
from entangle.errors import OptionError

BASE = """
import dataclasses, enum, functools, logging, re
from abc import ABC, abstractmethod

SCALE = 2
TABLE = {"a": [1, 2]}
PATTERN = re.compile("a+")
log = logging.getLogger("x")
LATER = None

class Shape(ABC):
    sides = 0

    @abstractmethod
    def area(self): ...

    @property
    def name(self):
        return prefix() + "shape"

class Square(Shape):
    sides = 4

    def __init__(self, a):
        self.a = a

    def area(self):
        return self.a ** 2

    @classmethod
    def unit(cls):
        return cls(1)

    @staticmethod
    def corners():
        return 4

    @functools.cached_property
    def half(self):
        return self.a / 2

class Color(enum.Enum):
    RED = 1
    GREEN = 2

    def label(self):
        return self.name.lower()

@dataclasses.dataclass
class Point:
    x: int
    y: int = 3
    z: list = dataclasses.field(default_factory=list)

def prefix():
    return "a "

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

def traced(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@traced
def decorated(x):
    return x + 1

@functools.lru_cache(None)
def remembered(x):
    return x + 2

def with_default(x, y=[1], *, z=SCALE):
    return x, y, z

def made(n):
    def inner(x):
        return x * n
    return inner

inner = made(3)

def total(x):
    '''Add it all up.'''
    log.info("adding")
    square = Square.unit()
    point = Point(1)
    return (
        x * SCALE + square.area() + even(x) + decorated(x) + remembered(x)
        + inner(x) + len(TABLE) + Color.RED.value + point.y
        + bool(PATTERN.match("a")) + len(with_default(1))
    )
"""

# What is changed, and whether that makes another function of `total`.
EDITS = {
    "nothing": ("", "", False),
    "a comment": ("    log.info", "    # says it\n    log.info", False),
    "line breaks": ("(\n        x * SCALE + square", "(x * SCALE\n    + square", False),
    "the docstring": ("Add it all up.", "Sum.", False),
    "a blank line": ("SCALE = 2", "\n\n\nSCALE = 2", False),
    "what is not reached": ("LATER = None", "LATER = 5", False),
    "the body": ("x * SCALE", "x + SCALE", True),
    "a constant": ('PATTERN.match("a")', 'PATTERN.match("b")', True),
    "a global number": ("SCALE = 2", "SCALE = 2.0", True),
    "inside of a global": ('{"a": [1, 2]}', '{"a": [1, 3]}', True),
    "a global pattern": ('"a+"', '"a*"', True),
    "a logger's name": ('getLogger("x")', 'getLogger("y")', True),
    "a method": ("self.a ** 2", "self.a ** 3", True),
    "a class attribute": ("sides = 4", "sides = 5", True),
    "a base's attribute": ("sides = 0", "sides = 1", True),
    "what a base's property calls": ('return "a "', 'return "b "', True),
    "a classmethod": ("cls(1)", "cls(2)", True),
    "a staticmethod": ("return 4", "return 5", True),
    "a cached property": ("self.a / 2", "self.a / 3", True),
    "a member of an enumeration": ("RED = 1", "RED = 5", True),
    "a member of an enumeration more": ("GREEN = 2", "GREEN = 2; BLUE = 3", True),
    "a method of an enumeration": ("lower()", "upper()", True),
    "a field's default": ("y: int = 3", "y: int = 4", True),
    "a field's type": ("x: int", "x: str", True),
    "a field's factory": ("default_factory=list", "default_factory=set", True),
    "in a circle": ("n != 0", "n > 0", True),
    "a decorator's wrapper": (
        "return function(*args)",
        "return -function(*args)",
        True,
    ),
    "under a decorator": ("return x + 1", "return x + 11", True),
    "under lru_cache": ("return x + 2", "return x + 22", True),
    "a default": ("y=[1]", "y=[2]", True),
    "a keyword's default": ("z=SCALE", "z=7", True),
    "a closure's value": ("made(3)", "made(4)", True),
    "a closure's code": ("return x * n", "return x + n", True),
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return what makes a module of a text, each time in a new file."""
    monkeypatch.syspath_prepend(str(tmp_path))
    count = iter(range(1000))
    names = []

    def make(text, name=None):
        # Names that differ would be seen in what is reached by name.
        name = name or f"made_{next(count)}"
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield make
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("edit", EDITS)
def test_edits(edit, module):
    old, new, another = EDITS[edit]
    assert old in BASE
    before = digest_of(module(BASE).total)
    after = digest_of(module(BASE.replace(old, new, 1)).total)
    assert (before != after) == another


def test_bytecode_knows_as_much_where_there_is_no_source():
    """As for ``python -c`` and ``exec``, but that line breaks may count there."""

    def found(text):
        space = {"__name__": "nowhere"}
        exec(compile(text, "<nowhere>", "exec"), space)
        return digest_of(space["total"])

    base = found(BASE)
    assert base == found(BASE)
    for edit, (old, new, another) in EDITS.items():
        if edit not in {"line breaks", "the docstring"}:
            assert (found(BASE.replace(old, new, 1)) != base) == another, edit


def test_a_file_that_was_changed_since_it_was_imported_is_not_believed(
    module, tmp_path
):
    made = module("def f(x):\n    return x + 1\n")
    before = digest_of(made.f)
    path = tmp_path / f"{made.__name__}.py"
    fresh = module("def f(x):\n    return x + 1\n")
    path.write_text("def f(x):\n    return x + 2\n")
    import linecache

    linecache.checkcache(str(path))
    definitions._known.clear()
    changed = digest_of(made.f)
    assert changed == digest_of(made.f)
    assert changed != digest_of(module("def f(x):\n    return x + 2\n").f)
    assert before == digest_of(fresh.f)


def test_a_change_while_the_program_runs_is_seen(module):
    made = module(BASE)
    seen = [digest_of(made.total)]

    def changed():
        seen.append(digest_of(made.total))
        assert seen.count(seen[-1]) == 1

    made.SCALE = 3
    changed()
    made.TABLE["a"].append(3)
    changed()
    made.Square.area = lambda self: 0
    changed()
    made.Point.extra = 1
    changed()
    made.even.__code__ = (lambda n: True).__code__
    changed()
    made.with_default.__defaults__ = ([5],)
    changed()
    made.with_default.__defaults__[0].append(1)
    changed()
    made.inner.__closure__[0].cell_contents = 7
    changed()
    del made.TABLE["a"][2:]
    made.SCALE = 2
    changed()


def test_what_was_found_is_not_looked_for_again(module, monkeypatch):
    made = module(BASE)
    before = digest_of(made.total)

    def refuse(*_):
        raise AssertionError("looked into again")

    monkeypatch.setattr(definitions._Search, "run", refuse)
    assert digest_of(made.total) == before


def test_attributes_of_modules_are_followed(module):
    helper = module(
        "VALUE = 1\nLOCK = __import__('threading').Lock()\ndef f():\n    return VALUE\n"
    )
    name = helper.__name__
    user = module(f"import {name}\ndef use():\n    return {name}.f()\n")
    alias = module(f"import {name}\ndef use():\n    m = {name}\n    return m.f()\n")
    before = digest_of(user.use), digest_of(alias.use)
    helper.VALUE = 2
    after = digest_of(user.use), digest_of(alias.use)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_modules_of_libraries_are_known_by_version(module, monkeypatch):
    from entangle._cache import origins

    user = module("import numpy\ndef use(x):\n    return numpy.sum(x)\n")
    before = digest_of(user.use)
    origins.version.cache_clear()
    monkeypatch.setattr("numpy.__version__", "99.0")
    definitions._known.clear()
    try:
        assert digest_of(user.use) != before
    finally:
        origins.version.cache_clear()


def test_imports_inside_of_functions_count_as_files(module, tmp_path):
    text = "def use():\n    from deep_helper import f\n    return f()\n"
    (tmp_path / "deep_helper.py").write_text(
        "from deeper import g\ndef f():\n    return g()\n"
    )
    (tmp_path / "deeper.py").write_text("def g():\n    return 1\n")
    user = module(text)
    before = digest_of(user.use)
    assert "deep_helper" not in sys.modules
    (tmp_path / "deeper.py").write_text("def g():\n    return 1  # the same\n")
    definitions._known.clear()
    assert digest_of(user.use) == before
    (tmp_path / "deeper.py").write_text("def g():\n    return 22\n")
    definitions._known.clear()
    assert digest_of(user.use) != before


UNKEYABLE = {
    "import threading\nLOCK = threading.Lock()\ndef f():\n    with LOCK: pass\n": (
        "global 'LOCK' of 'f'",
        ("LOCK",),
    ),
    "import threading\nT = {'a': [threading.Lock()]}\ndef g():\n    return T\ndef f():\n    return g()\n": (
        "global 'T' of 'g'['a'][0]",
        ("T",),
    ),
    "BIG = bytes(1_000_001)\ndef f():\n    return BIG\n": (
        "global 'BIG' of 'f'",
        ("BIG",),
    ),
    "import threading\nclass A:\n    lock = threading.Lock()\ndef f():\n    return A\n": (
        "attribute 'lock' of class 'A'",
        None,
    ),
    "def m():\n    v = open('/dev/null')\n    v.close()\n    def f():\n        return v\n    return f\nf = m()\n": (
        "closure variable 'v' of 'm.<locals>.f'",
        ("v",),
    ),
}


@pytest.mark.parametrize("text", UNKEYABLE, ids=lambda text: text.split("\n")[1])
def test_what_has_no_token_is_named_and_can_be_ignored(text, module):
    path, ignored = UNKEYABLE[text]
    made = module(text)
    with pytest.raises(UnkeyableError) as caught:
        digest_of(made.f)
    assert caught.value.path == path
    if ignored is not None:
        assert digest_of(made.f, ignored)


def test_globals_of_other_modules_are_ignored_by_their_module(module):
    helper = module(
        "import threading\nLOCK = threading.Lock()\ndef f():\n    return LOCK\n"
    )
    name = helper.__name__
    user = module(f"import {name}\ndef use():\n    return {name}.f()\n")
    with pytest.raises(UnkeyableError):
        digest_of(user.use)
    assert digest_of(user.use, (f"{name}.LOCK",))
    with pytest.raises(OptionError, match="no global of that module"):
        digest_of(user.use, (f"{name}.LOCK", "other.LOCK"))


def test_what_is_nothing_of_ours_is_no_project(module):
    for function in (logging.getLogger, threading.Thread, importlib.import_module):
        assert digest_of(function)


def test_definitions_of_a_program_have_one_digest_under_all_seeds(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        BASE + "\nfrom entangle._cache.definitions import digest_of\n"
        "class Meta(type):\n    def __hash__(cls): return hash(cls.__name__)\n"
        "MADE = {Meta(f'K{n}', (), {'n': n}) for n in range(6)}\n"
        "WORDS = {'a', 'b', 'c'}\nKINDS = {Square, Point, Color, int, str}, MADE\n"
        "def f(x):\n    return x in {'x', 'y', 'z'}, WORDS, KINDS, total(x)\n"
        "print(digest_of(f).hex())\n"
    )
    for command in ([program], ["-c", program.read_text()]):
        found = {
            subprocess.run(
                [sys.executable, *command],
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("0", "1", "77")
        }
        assert len(found) == 1


KINDS = """
import abc, collections, contextlib, dataclasses, enum, functools, logging
import operator, random, re, string, threading, types
from typing import *

T = TypeVar("T")
class G(Generic[T]):
    def get(self) -> T: ...
class NT(NamedTuple):
    a: int
    b: str = "x"
class TD(TypedDict):
    a: int
class P(Protocol):
    def m(self) -> int: ...
@runtime_checkable
class P2(Protocol):
    def m(self) -> int: ...
@dataclasses.dataclass(slots=True, frozen=True, order=True)
class DS:
    a: int
    b: frozenset = frozenset("abc")
class M(type):
    def __call__(cls,*a): return super().__call__(*a)
class WM(metaclass=M): x={1,2,3}
class Fl(enum.Flag): A=1; B=2
class IE(enum.IntEnum): A=1; B=2
class SE(enum.StrEnum): A="a"; B=enum.auto()
class WithLock:
    def __init__(self): self.l=threading.Lock()
class WS:
    __slots__=("a","__dict__")
class Desc:
    def __set_name__(self,o,n): self.n=n
    def __get__(self,i,o): return 1
class WD: d=Desc()
class Sub(WD, abc.ABC):
    @property
    @abc.abstractmethod
    def q(self): ...
    def __init_subclass__(cls, **k): ...
    @functools.singledispatchmethod
    def s(self,x): ...
    @s.register
    def _(self,x:int): return 1
    p=functools.partialmethod(lambda self,a: a, 3)
@functools.singledispatch
def sd(x): return 1
@sd.register(int)
def _i(x): return 2
@contextlib.contextmanager
def cm(): yield 1
ALIAS = list[int]; OPT = Optional[dict[str,int]]; ANN=Annotated[int,"x"]
NEW = NewType("NEW", int)
PART=functools.partial(max, key=operator.itemgetter(1))
DD=collections.defaultdict(list,{1:[2]})
RNG=random.Random(3)
LOG=logging.getLogger(__name__)
MP=types.MappingProxyType({"a":1})
def f(x):
    async def co():
        return G, NT
    cm(); sd(1)
    return G, NT, TD, P, P2, DS, WM, Fl, IE, SE, WithLock, WS, WD, Sub, ALIAS, OPT, ANN, NEW, PART, DD, RNG, LOG, cm, sd, [y for y in string.ascii_letters if y in {"a","b"}], T, MP, re.compile
"""


def test_all_kinds_of_definitions_are_the_same_under_all_seeds(tmp_path):
    program = tmp_path / "kinds.py"
    program.write_text(
        KINDS + "\nfrom entangle._cache.definitions import digest_of\n"
        "first = digest_of(f)\nsd(1), sd('x'), IE.A | IE.B, P2.__subclasshook__(int)\n"
        "assert digest_of(f) == first\nprint(first.hex())\n"
    )
    found = {
        subprocess.run(
            [sys.executable, program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(found) == 1


def test_what_librarys_decorators_were_given_counts(module):
    text = """
import contextlib, functools
def one(): yield 1
def two(): yield 2
made = contextlib.contextmanager(one)
@functools.singledispatch
def sd(x): return 1
@sd.register(int)
def of_int(x): return 2
part = functools.partial(max, 3)
def f():
    return made(), sd(1), part
"""
    before = digest_of(module(text).f)
    assert digest_of(module(text).f) == before
    for old, new in (
        ("(one)", "(two)"),
        ("return 2", "return 3"),
        ("max, 3", "max, 4"),
    ):
        assert digest_of(module(text.replace(old, new, 1)).f) != before, old
