"""Classes by value: one definition, never overwritten by what comes back."""

# The classes here are exceptions of users, by any name.
# ruff: noqa: N818

import dataclasses
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import cloudpickle
import pytest

from entangle._worker import classes, codec, failures, functions, mains


@pytest.fixture(autouse=True, scope="module")
def as_shipped():
    """No core has put its own error in: another module's pool may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "task_error", failures.RemoteError)
        yield


SOURCES = str(Path(codec.__file__).parents[2])
FAR = """
import pickle, sys
from entangle._worker import codec, failures, functions
answers = []
calls, main = pickle.load(sys.stdin.buffer)
functions.enter_main(main)
for function, data, buffers in calls:
    try:
        args = codec.decode(codec.Blob(data, buffers))
        blob = codec.encode(functions.decode_function(function)(*args))
        answers.append((blob.data, [bytes(b) for b in blob.buffers]))
    except BaseException as error:
        answers.append((failures.encode_failure(error), None))
pickle.dump(answers, sys.stdout.buffer)
"""
# What a program needs to call its functions in another process.
NEAR = f"""
import pickle, subprocess, sys
from entangle._worker import codec, failures, functions
FAR = {FAR!r}
def far(*calls, main=None, python=sys.executable):
    messages = []
    for fn, *args in calls:
        blob = codec.encode(tuple(args))
        buffers = [bytes(b) for b in blob.buffers]
        messages.append((functions.encode_function(fn), blob.data, buffers))
    done = subprocess.run(
        [python, "-W", "error", "-c", FAR],
        input=pickle.dumps((messages, main), 4), stdout=subprocess.PIPE, check=True
    )
    values = []
    for data, buffers in pickle.loads(done.stdout):
        if buffers is None:
            values.append(failures.decode_failure(data))
        else:
            values.append(codec.decode(codec.Blob(data, buffers)))
    return values
"""


def run(tmp_path, source, python=sys.executable, path=SOURCES, stdin=None):
    """Run a program that calls `far`; it says what is wrong by failing."""
    (tmp_path / "near.py").write_text(NEAR)
    program = tmp_path / "program.py"
    program.write_text("from near import far\n" + source)
    environment = {**os.environ, "PYTHONPATH": path}
    command = [python, "-W", "error", *([str(program)] if stdin is None else ["-"])]
    done = subprocess.run(
        command,
        env=environment,
        cwd=tmp_path,
        input=None if stdin is None else "from near import far\n" + source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


IDENTITY = """
import abc, dataclasses, enum, typing
built = []

class Base:
    def __init_subclass__(cls):
        built.append(cls.__name__)

class Thing(Base):
    count = 0
    def __init__(self, x): self.x = x
    def method(self): return 1

@dataclasses.dataclass
class Point:
    x: int
    y: float = 2.0

class Color(enum.Enum):
    RED = 1
    BLUE = 2

class Flag(enum.IntFlag):
    A = 1
    B = 2

class Pair(typing.NamedTuple):
    a: int

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Square(Shape):
    def area(self): return 4

class Failure(Exception):
    def __init__(self, a, b):
        super().__init__(a)
        self.b = b

def work(thing, point):
    Thing.count = 99
    Thing.method = lambda self: 2
    Color.RED.extra = 1
    assert Color(1) is Color.RED
    return [Thing(thing.x + 1), point, Color.RED, Flag.A | Flag.B, Pair(3), Square(),
            Thing, Point(5), [type(thing) is Thing, built]]

def fail():
    raise Failure(1, 2)

for _ in range(2):
    back, error = far((work, Thing(1), Point(2)), (fail,))
    thing, point, red, flags, pair, square, cls, other, more = back
    assert type(thing) is Thing and thing.x == 2, thing
    assert Thing.count == 0 and thing.method() == 1
    assert point == Point(2) and type(point) is Point
    assert other == Point(5)
    assert red is Color.RED
    assert flags == Flag.A | Flag.B and type(flags) is Flag
    assert pair == Pair(3) and type(pair) is Pair
    assert isinstance(square, Shape) and square.area() == 4
    assert cls is Thing
    assert more[0] is True
    assert built == ["Thing"], built
    assert type(error) is Failure and error.b == 2, error
    assert "in fail" in error.__entangle_traceback__
print("ok")
"""


@pytest.mark.process
@pytest.mark.parametrize("stdin", [None, True])
def test_classes_of_a_program(tmp_path, stdin):
    """Instances and errors come back as those of the program's own classes."""
    assert run(tmp_path, IDENTITY, stdin=stdin) == "ok\n"


INSIDE = """
import __main__, multiprocessing, os, pickle, sys

class Thing:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return self.x == other.x
    class Inner: pass

def double(thing): return Thing(thing.x * 2)

def work():
    assert pickle.loads(pickle.dumps(Thing(3))) == Thing(3)
    assert type(pickle.loads(pickle.dumps(Thing.Inner()))) is Thing.Inner
    assert pickle.loads(pickle.dumps(double)) is double
    assert sys.modules["__main__"].Thing is Thing is __main__.Thing
    assert __main__.__file__.endswith("program.py")
    assert __name__ == "__main__"
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.map(double, [Thing(1), Thing(2)])

if True:  # no guard
    (answer,) = far((work,), main=__file__)
    assert answer == [Thing(2), Thing(4)], answer
    print("ok")
"""


@pytest.mark.process
def test_plain_pickle_inside_a_task(tmp_path):
    """In a task, plain pickle and multiprocessing find the program's classes."""
    assert run(tmp_path, INSIDE) == "ok\n"


BY_VALUE = """
import sys, types, cloudpickle
notebook = types.ModuleType("notebook_cell")
exec('''
class Cell:
    def __init__(self): self.x = 1
def make(): return Cell()
def inside(cell):
    import pickle, sys
    assert type(pickle.loads(pickle.dumps(cell))) is Cell
    assert sys.modules["notebook_cell"].Cell is Cell
    return type(cell)()
''', notebook.__dict__)
sys.modules["notebook_cell"] = notebook
made, back, local = far(
    (notebook.make,), (notebook.inside, notebook.Cell()), (lambda: type("Local", (), {})(),)
)
assert type(made) is notebook.Cell, made
assert type(back) is notebook.Cell, back
assert type(local).__name__ == "Local", local
del sys.modules["notebook_cell"]
# A class of the far side can go on to another.
(again,) = far((lambda x: (x, type(x)), local))
assert type(again[0]) is again[1] is type(local)
print("ok")
"""


@pytest.mark.process
def test_modules_that_exist_here_only(tmp_path):
    """A module made by hand is stood in for on the far side."""
    assert run(tmp_path, BY_VALUE) == "ok\n"


UPDATED = """
class Thing:
    limit = 1
def get(thing): return Thing.limit, type(thing).limit
def put(thing):
    Thing.limit = 50
    return thing
def change_and_get(values):
    return values

first = Thing()
import pickle
from entangle._worker import codec, functions
calls = []
# The owner's own changes reach a process that has the class already.
def message(fn, *args):
    blob = codec.encode(args)
    return functions.encode_function(fn), blob.data, []
one = message(get, first)
two = message(put, first)
Thing.limit = 2
three = message(get, first)
import subprocess, sys
from near import FAR
done = subprocess.run([sys.executable, "-c", FAR], input=pickle.dumps(([one, two, three], None)),
                      stdout=subprocess.PIPE, check=True)
answers = [codec.decode(codec.Blob(d, b)) for d, b in pickle.loads(done.stdout)]
assert answers[0] == (1, 1) and answers[2] == (2, 2), answers
assert Thing.limit == 2
print("ok")
"""


@pytest.mark.process
def test_changes_by_the_owner(tmp_path):
    """What the owner changes arrives; what a task changes stays with it."""
    assert run(tmp_path, UPDATED) == "ok\n"


REFERENCED = """
import helper
back = far((helper.task.fn, helper.Thing(1)), (helper.fail.fn, 5), (helper.task.fn, 2))
assert type(back[0]) is helper.Thing and back[0].x == 2, back
assert type(back[1]) is helper.Failure and back[1].code == 5, back
assert type(back[2]) is AttributeError and "helper.py" in back[2].__entangle_traceback__
print("ok")
"""
HELPER = """
class Task:
    def __init__(self, fn): self.fn, self.spec = fn, ()
class Thing:
    def __init__(self, x): self.x = x
class Failure(Exception):
    def __init__(self, *, code):
        super().__init__(code)
        self.code = code
CACHE = open(__file__)
@Task
def task(thing): return Thing(thing.x + 1)
@Task
def fail(code): raise Failure(code=code)
"""


@pytest.mark.process
def test_functions_of_importable_modules(tmp_path):
    """They are imported there, through their tasks, whatever their globals are."""
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "near.py").write_text(NEAR)
    program = tmp_path / "program.py"
    program.write_text("from near import far\n" + REFERENCED)
    path = os.pathsep.join((SOURCES, str(tmp_path)))
    done = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr


RETURNED = """
COUNTS = []
def count(): COUNTS.append(1)
class Thing:
    def method(self): return 1
def give(): count(); return give, Thing.method, count, lambda: len(COUNTS)
(back,) = far((give,))
assert back[0] is give and back[1] is Thing.method and back[2] is count
assert back[3]() == 1 and COUNTS == []  # a function of the far side has its globals
old = give
def give(): return 2
del give.__annotations__
assert far((lambda: old,))[0] is not give
class Task:
    def __init__(self, fn): self.fn, self.spec = fn, ()
@Task
def task(): return 3
assert far((lambda: task.fn,))[0] is task.fn
print("ok")
"""


@pytest.mark.process
def test_functions_of_a_program(tmp_path):
    """A function that comes back is the program's own."""
    assert run(tmp_path, RETURNED) == "ok\n"


def other_python(version):
    """Find an interpreter of a version: on the path, or among those of pyenv."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in (
        shutil.which(f"python{version}"),
        *sorted(root.glob(f"versions/{version}.*/bin/python")),
    ):
        if python is not None:
            asked = subprocess.run([python, "-V"], check=False, capture_output=True)
            if not asked.returncode:
                return str(python)
    return None


OTHER_PYTHONS = ("3.9", "3.10", "3.12", "3.13", "3.14")


@pytest.mark.process
@pytest.mark.parametrize("version", OTHER_PYTHONS)
def test_other_pythons(tmp_path, version):
    """These modules work in Pythons that the rest of Entangle does not know."""
    python = other_python(version)
    if python is None:
        pytest.skip(f"no python{version} here")
    # Nothing else of this Python's packages.
    packages = tmp_path / "packages"
    (packages / "entangle").mkdir(parents=True)
    shutil.copytree(Path(codec.__file__).parent, packages / "entangle" / "_worker")
    shutil.copytree(Path(cloudpickle.__file__).parent, packages / "cloudpickle")
    path = str(packages)
    assert run(tmp_path, IDENTITY, python, path) == "ok\n"
    assert run(tmp_path, BY_VALUE, python, path) == "ok\n"
    assert run(tmp_path, UPDATED, python, path) == "ok\n"
    assert run(tmp_path, RETURNED, python, path) == "ok\n"


@pytest.fixture
def forget():
    """Let this process take classes for those of others, and have no stand-ins."""
    before = dict(sys.modules)
    yield lambda cls: cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.pop(
        cloudpickle.cloudpickle._get_or_create_tracker_id(cls)
    )
    mains._modules.clear()
    mains._others.clear()
    cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES.clear()
    for name in set(sys.modules) - set(before):
        if getattr(sys.modules[name], "__spec__", None) is None:
            del sys.modules[name]
    sys.modules["__main__"] = before["__main__"]


def make(**attributes):
    return type("Made", (), attributes)


def test_a_class_of_another_process(forget):
    """Built once, passed on as it came, updated by its owner only."""
    cls = make(limit=1)
    first = codec.encode(cls)
    cls.limit = 2
    second = codec.encode(cls)
    assert codec.decode(first) is cls
    assert cls.limit == 2
    forget(cls)
    theirs = codec.decode(first)
    assert theirs is not cls
    assert theirs.limit == 1
    theirs.limit = 77
    assert codec.decode(first).limit == 77
    assert codec.decode(second) is theirs
    assert theirs.limit == 2
    theirs.limit = 78
    passed_on = codec.encode([theirs, theirs()])
    assert codec.decode(passed_on)[0] is theirs
    assert theirs.limit == 78
    # Somebody else's old copy changes nothing; and who has none gets the owner's.
    assert codec.decode(codec.encode(theirs)) is theirs
    cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    third = codec.decode(passed_on)[0]
    assert third is not theirs
    assert third.limit == 2


def test_subclasses_of_a_class_of_another_process(forget):
    """A definition refers to the classes of others by their own definitions."""
    base = make(limit=1)
    data = codec.encode(base)
    forget(base)
    theirs = codec.decode(data)
    mine = type("Mine", (theirs,), {})
    definition = classes.define(mine)
    assert len(definition.ids) == 1
    assert codec.decode(codec.encode(mine())).limit == 1


def test_definitions_reach_each_other():
    """Classes that know each other share one definition in one value."""
    space = {"__name__": "__main__"}
    exec(
        "class A:\n def other(self): return B()\n"
        "class B:\n def other(self): return A()\n",
        space,
    )
    one = codec.encode([space["A"]()])
    both = codec.encode([space["A"](), space["B"]()])
    assert len(both.data) < len(one.data) + 200
    assert len(classes.define(space["A"]).ids) == 2


def test_unchanged_classes_are_defined_once():
    """The definition is kept, until something in the class changes."""
    cls = make(x=1)
    first = classes.define(cls)
    assert classes.define(cls) is first
    cls.x = 2
    second = classes.define(cls)
    assert second.digest != first.digest
    cls.items = []
    third = classes.define(cls)
    # Encoded again, to the same bytes.
    assert classes.define(cls) is third
    cls.items.append(1)
    assert classes.define(cls).digest != third.digest


def test_definitions_are_bounded(monkeypatch):
    """No more classes are held than is useful."""
    monkeypatch.setattr(classes, "_MOST_DEFINITIONS", 3)
    for _ in range(5):
        classes.define(make())
    assert len(classes._owned) <= 3


def test_another_class_at_the_same_address(monkeypatch):
    """A class is not taken for one that was where it is now."""
    one, two = make(x=1), make(x=2)
    classes.define(one)
    monkeypatch.setitem(classes._owned, id(two), classes._owned[id(one)])
    assert classes.define(two).digest != classes.define(one).digest


class Explodes:
    armed = False

    def __reduce__(self):
        return explode, ()


def explode():
    if Explodes.armed:
        raise ValueError("not now")
    return 5


def test_half_a_class_is_never_found(forget):
    """A definition that fails half-way leaves nothing behind."""
    cls = make(bad=Explodes())
    blob = codec.encode(cls)
    forget(cls)
    Explodes.armed = True
    try:
        with pytest.raises(codec.DecodeError, match="not now"):
            codec.decode(blob)
    finally:
        Explodes.armed = False
    assert codec.decode(blob).bad == 5
    assert not classes._unfinished
    assert not classes._building


def test_a_damaged_reference():
    """A definition that lacks the class it is for is an error."""
    definition = classes.define(make())
    with pytest.raises(LookupError, match="without the class"):
        classes.arrived("unknown", definition)


class Slow:
    """Takes its time to be rebuilt."""

    begun = threading.Event()
    go_on = threading.Event()

    def __reduce__(self):
        return slow, ()


def slow():
    Slow.begun.set()
    Slow.go_on.wait(10)
    return 5


def test_a_class_under_construction(forget):
    """Another thread waits until the class is complete."""
    cls = make(slow=Slow(), zz=1)
    blob = codec.encode(cls)
    forget(cls)
    seen = []
    first = threading.Thread(target=lambda: seen.append(codec.decode(blob)))
    second = threading.Thread(target=lambda: seen.append(codec.decode(blob).zz))
    first.start()
    assert Slow.begun.wait(10)
    second.start()
    assert not seen
    Slow.go_on.set()
    first.join()
    second.join()
    assert 1 in seen
    assert seen[0] == 1 or seen[0].zz == 1


def test_enumerations_of_another_process(forget):
    """They are built once as well."""
    import enum

    color = enum.Enum("Color", "RED BLUE")
    color.__module__ = "__main__"
    blob = codec.encode([color.RED, color])
    assert codec.decode(blob)[0] is color.RED
    forget(color)
    red, theirs = codec.decode(blob)
    assert theirs is not color
    assert red is theirs.RED
    assert codec.decode(blob)[0] is red


def test_definitions_pickle_as_they_are():
    """A definition may be kept."""
    definition = classes.define(make())
    again = pickle.loads(pickle.dumps(definition))
    assert (again.digest, again.ids) == (definition.digest, definition.ids)


def test_classes_of_c_code():
    """A class of C code whose name leads nowhere is refused."""
    with pytest.raises(codec.EncodeError, match="dict_itemiterator"):
        codec.encode(type(iter({}.items())))


def test_a_main_module(forget):
    """What arrives by value is put where plain pickle looks for it."""
    main = functions.enter_main("/some/program.py")
    assert isinstance(main, ModuleType)
    assert sys.modules["__main__"] is main
    assert main.__file__ == "/some/program.py"
    assert main.__dict__["__builtins__"]
    assert not hasattr(functions.enter_main(), "__file__")
    main = sys.modules["__main__"]

    space = {"__name__": "__main__"}
    exec("def f(): return C()\nclass C:\n  class Inner: pass\n", space)
    blob = codec.encode([space["f"], space["C"], space["C"].Inner, lambda: 1])
    forget(space["C"])
    f, cls, inner, _ = codec.decode(blob)
    assert main.f is f
    assert main.C is cls
    assert type(pickle.loads(pickle.dumps(cls()))) is cls
    assert type(pickle.loads(pickle.dumps(inner()))) is inner


def test_modules_that_are_not_ours(forget):
    """Modules that exist, or can be imported, are left alone."""
    functions.enter_main()
    for name in ("json", "json.decoder", "colorsys"):
        space = {"__name__": name}
        exec("def surely_not_there(): pass", space)
        codec.decode(codec.encode(space["surely_not_there"]))
        assert not hasattr(sys.modules.get(name), "surely_not_there")
    for name in ("no_such_package.inner", "made_up"):
        space = {"__name__": name}
        exec("def there(): return 1\nclass Thing: pass", space)
        codec.decode(codec.encode(space["there"]))
        codec.decode(codec.encode(space["there"]))
        assert sys.modules[name].there() == 1
        # Back it goes by value: who sent it may not know it by name.
        assert functions.function_reference(sys.modules[name].there) is None
    space = {"__name__": None}
    exec("def there(): return 1", space)
    assert codec.decode(codec.encode(space["there"]))() == 1


def test_dataclasses_keep_their_fields(forget):
    """Field sentinels and defaults survive the way there and back."""

    @dataclasses.dataclass(order=True)
    class Item:
        x: int
        tags: list = dataclasses.field(default_factory=list)

    blob = codec.encode(Item(3))
    forget(Item)
    theirs = codec.decode(blob)
    assert dataclasses.asdict(theirs) == {"x": 3, "tags": []}
    assert dataclasses.replace(theirs, x=4) > theirs


def test_failures_of_a_class_that_cannot_travel():
    """An exception whose class holds a lock arrives as a text."""

    class Bad(Exception):
        lock = threading.Lock()

    back = failures.decode_failure(failures.encode_failure(Bad(1)))
    assert type(back) is failures.RemoteError
    assert back.type_name.endswith("Bad")
