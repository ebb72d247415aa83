"""Any exception arrives: as itself, or as a text that says what it was."""

# The classes here are exceptions of users, by any name.
# ruff: noqa: N818

import asyncio
import concurrent.futures
import json
import pickle
import sqlite3
import subprocess
import sys
import threading
import traceback
import urllib.error
import xml.parsers.expat
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._worker import codec, exception_parts, failures, tracebacks
from entangle._worker.failures import RemoteError, decode_failure, encode_failure


@pytest.fixture(autouse=True, scope="module")
def as_shipped():
    """No core has put its own error in: another module's pool may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "task_error", failures.RemoteError)
        yield


def raised(body, *args):
    """Return what the body raises."""
    try:
        body(*args)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def through(error):
    """Encode and decode."""
    return decode_failure(encode_failure(error))


def kept(error):
    """Return the attributes of an exception that are its own."""
    ours = {failures.TRACEBACK, "__notes__"}
    return {k: v for k, v in vars(error).items() if k not in ours}


BUILT_IN = [
    lambda: Path("/nonexistent/file").read_bytes(),
    lambda: str(b"\xff", "utf-8"),
    lambda: bytes("\ud800", "utf-8"),
    lambda: compile("a b", "f.py", "exec"),
    lambda: compile("if x:\n y\n  z", "f.py", "exec"),
    lambda: __import__("no_such_module.x"),
    lambda: exec("from json import no_such_name"),
    lambda: {}["key"],
    [].pop,
    lambda: 1 / 0,
    lambda: int("x"),
    lambda: object().attribute,
    lambda: exec("undefined"),
    lambda: json.loads("{"),
    lambda: subprocess.run(["false"], check=True),
    lambda: (_ for _ in ()).throw(BlockingIOError(11, "no", 5)),
    lambda: (_ for _ in ()).throw(OSError(2, "no", "a", None, "b")),
    lambda: (_ for _ in ()).throw(OSError("just text")),
    lambda: (_ for _ in ()).throw(MemoryError()),
    lambda: (_ for _ in ()).throw(RecursionError("deep")),
    lambda: (_ for _ in ()).throw(UnicodeDecodeError("x", b"abc", 1, 2, "why")),
    lambda: (_ for _ in ()).throw(urllib.error.URLError("reason")),
    lambda: sqlite3.connect(":memory:").execute("junk"),
    lambda: xml.parsers.expat.ParserCreate().Parse("<&", 1),
]


@pytest.mark.parametrize("number", range(len(BUILT_IN)))
def test_built_in_exceptions(number):
    """Type, arguments, text, attributes and C-level members all arrive."""
    error = raised(BUILT_IN[number])
    back = through(error)
    assert type(back) is type(error)
    assert back.args == error.args
    assert str(back) == str(error)
    assert kept(back) == kept(error)
    base = exception_parts.builtin_base(type(error))
    members = dict(exception_parts.members_of(error, base))
    assert dict(exception_parts.members_of(back, base)) == members
    assert "test_codec_failures.py" in getattr(back, failures.TRACEBACK)


def test_members_by_name():
    """The ones that people use, spelled out."""
    error = through(raised(BUILT_IN[0]))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename) == (2, "/nonexistent/file")
    error = through(raised(BUILT_IN[3]))
    assert (error.lineno, error.filename, error.text) == (1, "f.py", "a b\n")
    error = through(ImportError("m", name="n", path="p"))
    assert (error.msg, error.name, error.path) == ("m", "n", "p")
    error = through(raised(BUILT_IN[11]))
    assert error.name == "attribute"
    assert error.obj is None
    error = OSError(1, "x")
    error.errno = 77
    assert through(error).errno == 77


class Custom(Exception):
    made = 0

    def __init__(self, code, *, detail):
        type(self).made += 1
        super().__init__(f"code {code}")
        self.code = code
        self.detail = detail


class Slotted(Custom):
    __slots__ = ("__private", "unset", "visible")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.__private, self.visible = 1, [2]

    def private(self):
        return self.__private


class WithNew(ValueError):
    def __new__(cls, first, second):
        return super().__new__(cls, first)

    def __init__(self, first, second):
        self.second = second


class Guarded(OSError):
    """Refuses whatever pickle or a debugger may try."""

    def __init__(self, number):
        OSError.__init__(self, number, "guarded")

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def __reduce__(self):
        raise RuntimeError("reduce")

    def __reduce_ex__(self, protocol):
        raise RuntimeError("reduce_ex")

    def __getstate__(self):
        raise RuntimeError("getstate")

    def __setstate__(self, state):
        raise RuntimeError("setstate")


def test_custom_constructors_are_not_called():
    """An exception is rebuilt whatever its constructor takes or does."""
    error = Custom(3, detail={"a": [1]})
    made = Custom.made
    back = through(error)
    assert Custom.made == made
    assert type(back) is Custom
    assert (back.code, back.detail, back.args) == (3, {"a": [1]}, ("code 3",))
    assert back.detail is not error.detail

    back = through(Slotted(1, detail=None))
    assert (back.private(), back.visible, back.code) == (1, [2], 1)
    assert not hasattr(back, "unset")

    back = through(WithNew(1, 2))
    assert (back.args, back.second) == (WithNew(1, 2).args, 2)

    back = through(Guarded(5))
    assert type(back) is Guarded
    assert (back.errno, back.strerror) == (5, "guarded")


def test_local_classes():
    """A class that no import finds is the same class when it comes back."""

    class Local(KeyError):
        def __init__(self, a, b):
            super().__init__(a)
            self.b = b

    back = through(Local(1, 2))
    assert type(back) is Local
    assert back.b == 2


@given(st.lists(st.one_of(st.integers(), st.text(), st.none(), st.binary())))
@settings(max_examples=50, deadline=None)
def test_arguments(arguments):
    """Whatever the arguments are."""
    for kind in (
        ValueError,
        KeyError,
        OSError,
        SyntaxError,
        UnicodeDecodeError,
        Custom,
    ):
        error = exception_parts.builtin_base(kind).__new__(kind)
        error.args = tuple(arguments)
        assert through(error).args == error.args


def test_attributes_that_do_not_pickle():
    """They stay behind, the rest arrives, a note says so."""
    error = Custom(1, detail=threading.Lock())
    error.me = error
    back = through(error)
    assert type(back) is Custom
    assert back.code == 1
    assert back.me is back
    assert not hasattr(back, "detail")
    assert back.__notes__ == [
        "attribute 'detail' stayed behind: cannot pickle '_thread.lock' object"
    ]


def test_arguments_that_do_not_pickle():
    """Without its arguments an exception isn't itself: its text arrives."""
    back = through(ValueError(threading.Lock()))
    assert type(back) is RemoteError
    assert back.type_name == "ValueError"
    assert "lock" in back.message
    assert back.traceback_text == f"ValueError: {back.message}\n"
    assert str(back) == f"ValueError: {back.message}"
    again = pickle.loads(pickle.dumps(back))
    assert vars(again) == vars(back)


def explode(*args):
    raise OSError("not here")


class Exploding:
    def __reduce__(self):
        return explode, ()


def test_what_cannot_be_unpickled():
    """What pickles there and fails here arrives as text, at any place."""
    error = ValueError(Exploding())
    error.__cause__ = KeyError("fine")
    error.add_note("a note")
    back = through(error)
    assert type(back) is RemoteError
    assert back.type_name == "ValueError"
    assert type(back.__cause__) is KeyError
    assert back.__notes__ == ["a note"]

    error = KeyError("fine")
    error.__cause__ = ValueError(Exploding())
    back = through(error)
    assert type(back) is KeyError
    assert type(back.__cause__) is RemoteError


class FailingText(Exception):
    def __str__(self):
        raise SystemExit("no")


class Fragile(Exception):
    """Its text needs an attribute that doesn't travel."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def __str__(self):
        return f"locked: {self.lock.locked()}"


def test_texts_that_fail():
    """A failing __str__ harms nothing; one that fails only here makes it a text."""
    back = through(FailingText(1))
    assert type(back) is FailingText
    assert back.args == (1,)
    back = through(FailingText(threading.Lock()))
    assert type(back) is RemoteError
    assert "__str__ failed" in back.message
    back = through(Fragile())
    assert type(back) is RemoteError
    assert back.message == "locked: False"


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopIteration(4),
        StopAsyncIteration(),
        asyncio.CancelledError(),
        concurrent.futures.CancelledError("x"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_exceptions_that_steer(error):
    """They would steer the caller's program, so they arrive as causes only."""
    back = through(error)
    assert type(back) is RemoteError
    assert back.type_name.endswith(type(error).__name__)
    assert type(back.__cause__) is type(error)
    assert back.__cause__.args == error.args
    # As a value or a cause they are what they are.
    assert type(codec.decode(codec.encode([error]))[0]) is type(error)
    outer = ValueError()
    outer.__cause__ = error
    assert type(through(outer).__cause__) is type(error)


def test_steering_exceptions_that_cannot_be_rebuilt():
    """Then there is only the text."""
    back = through(SystemExit(threading.Lock()))
    assert type(back) is RemoteError
    assert back.__cause__ is None
    assert through(KeyboardInterrupt()).traceback_text == "KeyboardInterrupt\n"


def test_other_base_exceptions_are_themselves():
    """A BaseException of the user's own arrives as itself."""

    class Abort(BaseException):
        pass

    assert type(through(Abort(1))) is Abort


def test_the_hook(monkeypatch):
    """What cannot be rebuilt is made by the hook that is installed."""
    monkeypatch.setattr(
        failures, "task_error", lambda *args: RuntimeError("ours", *args)
    )
    back = through(SystemExit(1))
    assert back.args == ("ours", "SystemExit", "1", "SystemExit: 1\n")
    assert decode_failure(b"junk").args[1] == "unknown"


def test_causes_and_contexts():
    """The chain arrives, with what each was: cause, context, suppressed."""

    def body():
        try:
            {}["x"]
        except KeyError as error:
            raise ValueError("outer") from error

    back = through(raised(body))
    assert type(back.__cause__) is KeyError
    assert back.__context__ is back.__cause__
    assert back.__suppress_context__

    def suppressed():
        try:
            {}["x"]
        except KeyError:
            raise ValueError("outer") from None

    back = through(raised(suppressed))
    assert back.__cause__ is None
    assert type(back.__context__) is KeyError
    assert back.__suppress_context__


def test_cycles():
    """Exceptions that lead to each other, in any way."""
    one, two = ValueError(1), KeyError(2)
    one.__cause__, two.__context__ = two, one
    one.others = {"all": [one, two]}
    two.args = (one,)
    back = through(one)
    assert back.__cause__.__context__ is back
    assert back.others["all"] == [back, back.__cause__]
    assert back.__cause__.args[0] is back


def chain(length):
    error = None
    for i in range(length):
        outer = ValueError(i)
        outer.__cause__ = error
        error = outer
    return error


def test_long_chains():
    """A thousand causes arrive; of endless ones the first two thousand."""
    for length, expected in ((1_000, 1_000), (3_000, 2_000)):
        back = through(chain(length))
        count = 0
        while back is not None:
            assert back.args == (length - count - 1,)
            count += 1
            back = back.__cause__
        assert count == expected


def test_more_exceptions_than_are_written():
    """An exception beyond the most that are written is a value of its own."""
    error = chain(failures.MOST_EXCEPTIONS)
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    deepest.args = (KeyError("beyond"),)
    back = through(error)
    while back.__cause__ is not None:
        back = back.__cause__
    assert type(back.args[0]) is KeyError
    wide = BaseExceptionGroup("many", [ValueError(i) for i in range(2_500)])
    assert type(through(wide)) is RemoteError


class OwnGroup(ExceptionGroup):
    def __new__(cls, code, members):
        self = super().__new__(cls, f"code {code}", members)
        self.code = code
        return self

    def derive(self, members):
        return OwnGroup(self.code, members)


def test_groups():
    """Groups arrive with all their members, nested ones and shared ones too."""
    shared = OSError(2, "no", "file")
    shared.__cause__ = KeyError(1)
    inner = OwnGroup(7, [shared, ValueError(2)])
    outer = ExceptionGroup("outer", [inner, shared])
    shared.group = outer
    back = through(outer)
    assert type(back) is ExceptionGroup
    assert back.message == "outer"
    assert back.exceptions[0].exceptions[0] is back.exceptions[1]
    assert type(back.exceptions[0]) is OwnGroup
    assert back.exceptions[0].code == 7
    assert back.exceptions[1].group is back
    assert back.exceptions[1].filename == "file"
    assert type(back.exceptions[1].__cause__) is KeyError
    assert back.args == ("outer", [*back.exceptions])
    assert back.split(ValueError)[0].exceptions[0].code == 7


def test_groups_with_members_that_cannot_be_rebuilt():
    """The group remains, with the text in the member's place."""
    group = ExceptionGroup("g", [ValueError(threading.Lock()), KeyError(1)])
    back = through(group)
    # The group's own arguments hold the member, by number.
    assert type(back) is ExceptionGroup
    assert [type(e) for e in back.exceptions] == [RemoteError, KeyError]
    base = BaseExceptionGroup("b", [KeyboardInterrupt(), ValueError()])
    assert [type(e) for e in through(base).exceptions] == [
        KeyboardInterrupt,
        ValueError,
    ]
    group = ExceptionGroup("g", [ValueError(1)])
    group.args = (threading.Lock(),)
    assert type(through(group)) is RemoteError


def test_layouts_of_others(monkeypatch):
    """Exceptions that C code makes are rebuilt by their own reduction."""
    monkeypatch.setattr(exception_parts, "builtin_base", lambda cls: None)
    error = ValueError(1)
    error.x = KeyError(2)
    error.__cause__ = OSError(3)
    back = through(error)
    assert type(back) is ValueError
    assert back.args == (1,)
    assert type(back.x) is KeyError
    assert type(back.__cause__) is OSError
    # Of two that need each other to be made, one is a text.
    error.x.error = error
    back = through(error)
    assert {type(back), type(back.x)} == {ValueError, RemoteError}

    class Odd(Exception):
        def __reduce__(self):
            return str, ("not an exception",)

    assert type(through(Odd())) is RemoteError


def test_builtin_bases():
    """The object layout decides, not the name."""
    base = exception_parts.builtin_base
    assert base(ValueError) is ValueError
    assert base(Custom) is Exception
    assert base(OwnGroup) is BaseExceptionGroup
    assert base(sqlite3.Error) is Exception
    assert base(SimpleNamespace) is None

    class Refusing(Exception):
        pass

    # A class whose objects another C constructor must make.
    class Mixed(OSError, Refusing):
        pass

    assert base(Mixed) is OSError


def test_notes():
    """Notes arrive, whatever was put there, before the traceback's."""
    error = raised(lambda: 1 / 0)
    error.add_note("first")
    error.__notes__.append(5)
    notes = through(error).__notes__
    assert notes[:2] == ["first", "5"]
    assert notes[2].startswith("Traceback in the task (most recent call last):\n")
    error = ValueError()
    error.__notes__ = "text"
    assert through(error).__notes__ == "text"

    class Bad:
        def __str__(self):
            raise RuntimeError

    error.__notes__ = [Bad()]
    assert through(error).__notes__ == ["<Bad>"]


def test_notes_that_are_no_list():
    """Odd notes are kept beside the traceback's."""
    error = raised(lambda: 1 / 0)
    error.__notes__ = ("a", "b")
    assert through(error).__notes__[:2] == ["a", "b"]
    error.__notes__ = 5
    assert through(error).__notes__ == 5


def test_tracebacks():
    """The far side's frames arrive as a text, in one note, over any hops."""

    def inner():
        raise ValueError("x")

    first = through(raised(inner))
    text = getattr(first, failures.TRACEBACK)
    assert "in inner" in text
    assert "in raised" in text
    assert first.__traceback__ is None

    def outer():
        raise first

    second = through(raised(outer))
    text = getattr(second, failures.TRACEBACK)
    assert text.index("in outer") < text.index("in inner")
    assert len(second.__notes__) == 1
    printed = "".join(traceback.format_exception(second))
    assert printed.startswith("ValueError: x\nTraceback in the task (most recent")
    # As a value, it stays as it is.
    third = codec.decode(codec.encode([second]))[0]
    assert third.__notes__ == second.__notes__
    assert getattr(third, failures.TRACEBACK) == text
    setattr(third, failures.TRACEBACK, 5)
    assert not hasattr(codec.decode(codec.encode([third]))[0], failures.TRACEBACK)


def test_a_stand_in_carries_its_traceback_itself():
    """Its text has the frames, so no note repeats them."""

    def body():
        raise ValueError(threading.Lock())

    back = through(raised(body))
    assert back.traceback_text.startswith("Traceback (most recent call last):\n")
    assert "in body" in back.traceback_text
    assert not hasattr(back, "__notes__")


def fake_frames(code, name="entangle.made_up"):
    space = {"__name__": name}
    exec(compile(code, "made_up.py", "exec"), space)
    return space


def test_our_own_frames_are_left_out(monkeypatch):
    """Unless they are asked for, or there are no others."""
    ours = fake_frames("def run(f): f()\ndef fail(): 1 / 0")

    def theirs():
        return 1 / 0

    monkeypatch.delenv("ENTANGLE_FULL_TRACEBACK", raising=False)
    text = tracebacks.frames_text(raised(ours["run"], theirs).__traceback__)
    assert "made_up.py" not in text
    assert "in theirs" in text
    only = raised(ours["fail"]).__traceback__.tb_next
    assert "in fail" in tracebacks.frames_text(only)
    monkeypatch.setenv("ENTANGLE_FULL_TRACEBACK", "1")
    text = tracebacks.frames_text(raised(ours["run"], theirs).__traceback__)
    assert "made_up.py" in text
    assert tracebacks.frames_text(None) == ""


def test_the_loop_that_we_await_on_is_left_out(monkeypatch):
    """But not a loop of the user's own."""

    async def theirs():
        return 1 / 0

    def with_a_loop():
        asyncio.run(theirs())

    monkeypatch.delenv("ENTANGLE_FULL_TRACEBACK", raising=False)
    trace = raised(lambda: asyncio.run(theirs())).__traceback__
    loop = next(frame for frame in walked(trace) if "asyncio" in file_of(frame))
    text = tracebacks.frames_text(loop)
    assert "in theirs" in text
    assert "asyncio" not in text.replace("asyncio.run(theirs())", "")
    text = tracebacks.frames_text(raised(with_a_loop).__traceback__)
    assert text.index("in with_a_loop") < text.index("runners.py")


def walked(trace):
    while trace is not None:
        yield trace
        trace = trace.tb_next


def file_of(trace):
    return trace.tb_frame.f_code.co_filename


def test_recursion_stays_short():
    """Equal frames are counted; of different ones the middle is left out."""

    def again():
        again()

    text = getattr(through(raised(again)), failures.TRACEBACK)
    assert "Previous line repeated" in text
    assert len(text.splitlines()) < 20

    def ping():
        pong()

    def pong():
        ping()

    text = getattr(through(raised(ping)), failures.TRACEBACK)
    assert "frames left out]" in text
    assert len(text.splitlines()) < 320
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(5_000)
    try:
        text = getattr(through(raised(ping)), failures.TRACEBACK)
    finally:
        sys.setrecursionlimit(limit)
    assert "frames left out]" in text
    assert len(text.splitlines()) < 320


def test_tracebacks_that_cannot_be_formatted(monkeypatch):
    """A loader that fails to give the source is no second failure."""
    monkeypatch.setattr(tracebacks, "_formatted", explode)
    text = tracebacks.frames_text(raised(lambda: 1 / 0).__traceback__)
    assert text == "  [no traceback: OSError]\n"


def test_encoding_never_raises(monkeypatch):
    """Not even where looking at the exception fails."""
    monkeypatch.setattr(failures._Writer, "_record", explode)
    back = decode_failure(encode_failure(Custom(1, detail=2)))
    assert type(back) is RemoteError
    assert back.message == "code 1"
    assert back.__notes__ == ["the failure could not be encoded: OSError"]


def test_hostile_classes():
    """Metaclasses and properties that lie or fail."""

    class Meta(type):
        def __getattribute__(cls, name):
            if name in {"__name__", "__qualname__", "__module__"}:
                raise RuntimeError(name)
            return super().__getattribute__(name)

    class Hostile(Exception, metaclass=Meta):
        @property
        def __dict__(self):
            raise RuntimeError

        @property
        def __cause__(self):
            raise RuntimeError

        def __getattribute__(self, name):
            raise RuntimeError(name)

    back = through(Hostile(1))
    assert type(back) in {Hostile, RemoteError}
    if type(back) is RemoteError:
        assert back.type_name.endswith("Hostile")

    class Odd(Exception):
        __module__ = 5

    assert type(through(Odd())) is Odd
    assert failures._type_name(Odd).endswith("Odd")


def test_exceptions_as_values():
    """Exceptions inside values keep cause, notes and identity within one value."""
    error = Custom(1, detail=2)
    error.__cause__ = KeyError(3)
    one, two = codec.decode(codec.encode([error, error]))
    assert one is two
    assert type(one) is Custom
    assert type(one.__cause__) is KeyError
    assert not hasattr(one, "__notes__")


def test_an_exception_within_what_it_holds():
    """A value that holds an exception that holds the value ends somewhere."""
    holder = SimpleNamespace()
    holder.error = ValueError(holder)
    back = codec.decode(codec.encode(holder))
    assert back.error.args[0].error is back.error


def test_read_only_members():
    """Members that another Python doesn't have, or can't be set, are passed over."""
    error = ValueError()
    exception_parts.restore(
        error, ValueError, (1,), {"nothing": 1, "__cause__": 5}, {}, {}
    )
    assert error.args == (1,)
    assert exception_parts.builtin_base(ValueError) is ValueError
