"""What a body raises arrives as itself, everywhere."""

import asyncio
import concurrent.futures
import os
import pickle

import pytest

from entangle.errors import (
    EntangleError,
    OptionError,
    ProcessRetryException,
    ProcessTerminatedException,
    TaskError,
    UnmetCapabilityError,
)
from entangle.task import gather
from entangle.thread import thread


class Refusal(Exception):  # noqa: N818 - a user's name
    """Takes other arguments than it passes on, so it can't be rebuilt by calling."""

    def __init__(self, code, *, why):
        super().__init__(f"{why} ({code})")
        self.code = code
        self.why = why


def refuse(code):
    error = Refusal(code, why="no")
    error.add_note("a note of the task's")
    raise error


def chain():
    try:
        {}["missing"]
    except KeyError as first:
        raise RuntimeError("second") from first


def handled():
    try:
        {}["missing"]
    except KeyError:
        raise RuntimeError("second")  # noqa: B904 - the context is the point


def group():
    raise ExceptionGroup("several", [ValueError(1), KeyError(2)])


def missing():
    open("/no/such/file")  # noqa: SIM115


def raise_(error):
    raise error


def unpicklable():
    error = ValueError("with a guest")
    error.guest = open(os.devnull)  # noqa: SIM115
    error.kept = 3
    error.guest.close()
    error.guest = (item for item in ())
    raise error


def deep(n=0):
    return deep(n + 1) + 1


def fail(text="no"):
    raise ValueError(text)


def leave(code):
    os._exit(code)


def one():
    return 1


def first(value, *_):
    return value


def test_type_arguments_and_attributes(place):
    if place.foreign and place.own_process:
        pytest.skip("concurrent.futures breaks the whole pool")
    with pytest.raises(Refusal, match=r"^no \(7\)") as caught:
        place.task(refuse)(7)()
    assert (caught.value.code, caught.value.why) == (7, "no")
    assert "a note of the task's" in caught.value.__notes__


def test_the_note_names_node_and_path(place):
    failing = place.task(fail)
    use = thread(first)
    with pytest.raises(ValueError, match=r"^no") as caught:
        use([1, use(failing())])()
    (note,) = [n for n in caught.value.__notes__ if n.startswith("in node")]
    lines = note.splitlines()
    assert lines[0].startswith(f"in node fail ({__file__}:")
    assert [line.split(" (")[0] for line in lines[1:]] == [
        "  needed by first",
        "  needed by first",
    ]


def test_the_bodys_lines_are_shown(place):
    with pytest.raises(ValueError, match=r"^no") as caught:
        place.task(fail)()()
    shown = "".join(
        [*getattr(caught.value, "__notes__", ()), repr(caught.value.__cause__)]
    )
    names = {entry.name for entry in caught.traceback}
    assert "fail" in names or ", in fail" in shown


def test_builtin_errors_keep_what_they_know(place):
    with pytest.raises(FileNotFoundError) as caught:
        place.task(missing)()()
    assert caught.value.filename == "/no/such/file"
    assert caught.value.errno == 2


def test_cause(place):
    with pytest.raises(RuntimeError, match="second") as caught:
        place.task(chain)()()
    if not place.foreign:
        assert isinstance(caught.value.__cause__, KeyError)
        assert caught.value.__cause__.args == ("missing",)
        assert caught.value.__suppress_context__


def test_context(place):
    with pytest.raises(RuntimeError, match="second") as caught:
        place.task(handled)()()
    if not place.foreign:
        assert isinstance(caught.value.__context__, KeyError)
        assert caught.value.__cause__ is None


def test_groups(place):
    with pytest.raises(ExceptionGroup) as caught:
        place.task(group)()()
    assert [type(each) for each in caught.value.exceptions] == [ValueError, KeyError]


def test_an_error_that_does_not_pickle(place):
    if place.name == "loky":
        pytest.skip("it breaks the pool of the module")
    with pytest.raises(Exception, match=r"with a guest|pickle") as caught:
        place.task(unpicklable)()()
    if not place.foreign:
        assert type(caught.value) is ValueError
        assert caught.value.kept == 3


STEERING = (
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    concurrent.futures.CancelledError(),
    StopAsyncIteration(),
)


def test_what_would_steer_the_caller_is_wrapped(place):
    if place.foreign:
        pytest.skip("what a foreign executor makes of it is its affair")
    task = place.task(raise_)
    for error in STEERING:
        if place.inline and isinstance(error, KeyboardInterrupt):
            with pytest.raises(KeyboardInterrupt):
                task(error)()
            continue
        with pytest.raises(TaskError) as caught:
            task(error)()
        assert caught.value.type_name.endswith(type(error).__name__)


def test_stop_iteration_is_wrapped(place):
    if place.foreign and place.own_process:
        pytest.skip("what a foreign executor makes of it is its affair")
    expected = RuntimeError if place.is_async else TaskError
    with pytest.raises(expected, match="StopIteration"):
        place.task(raise_)(StopIteration(1))()


def test_recursion_without_end(place):
    if place.name == "async @thread":
        pytest.skip("the same as @thread")
    with pytest.raises(RecursionError):
        place.task(deep)()()
    assert place.task(one)()() == 1


def test_errors_in_place(place):
    failing, working = place.task(fail), place.task(one)
    bad, good = gather(failing("bad"), working(), return_exceptions=True)()
    assert (repr(bad), good) == ("ValueError('bad')", 1)


def test_the_first_failure_wins_and_the_place_goes_on(place):
    failing, working = place.task(fail), place.task(one)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"^no"):
            gather(working(), failing(), working())()
    assert working()() == 1


def test_another_attempt(place, tmp_path):
    trail = tmp_path / "attempts"

    def twice(path):
        with path.open("a") as file:
            file.write(".")
        if path.stat().st_size < 3:
            raise OSError("not yet")
        return path.stat().st_size

    assert place.task(twice, retry=2)(trail)() == 3
    assert place.task(twice, retry=2, retry_on=OSError)(trail)() == 4


def test_attempts_used_up(place):
    with pytest.raises(ValueError, match=r"^no") as caught:
        place.task(fail, retry=2)()()
    cause = caught.value.__cause__
    assert isinstance(cause, ProcessRetryException)
    assert cause.attempts == 3
    assert [repr(each) for each in cause.errors] == ["ValueError('no')"] * 3
    with pytest.raises(ProcessRetryException) as caught:
        place.task(fail, retry=1, retry_error=True)()()
    assert caught.value.attempts == 2


def test_what_is_not_worth_another_attempt(place):
    with pytest.raises(ValueError, match=r"^no") as caught:
        place.task(fail, retry=2, retry_on=OSError)()()
    assert not isinstance(caught.value.__cause__, ProcessRetryException)


def test_death_of_the_process(place):
    if not place.own_process:
        pytest.skip("that would be ours")
    dying, working = place.task(leave), place.task(one)
    if place.foreign:
        if place.name == "loky":
            pytest.skip("it would break the pool of the module")
        with pytest.raises(concurrent.futures.BrokenExecutor):
            dying(3)()
        return
    with pytest.raises(ProcessTerminatedException) as caught:
        dying(3)()
    assert caught.value.exit_code == 3
    assert caught.value.pid != os.getpid()
    assert working()() == 1
    bad, good = gather(dying(4), working(), return_exceptions=True)()
    assert (bad.exit_code, good) == (4, 1)


ASKED = {
    "timeout": 5.0,
    "fresh": True,
    "preload": ["json"],
    "env": {"GREETING": "hello"},
    "cwd": "/",
    "nice": 1,
}


@pytest.mark.parametrize("option", ASKED)
def test_options_are_honoured_or_refused(place, option):
    asked = {option: ASKED[option]}

    def look():
        return os.environ.get("GREETING"), os.getcwd(), os.nice(0)

    if option not in place.options:
        with pytest.raises((UnmetCapabilityError, OptionError)) as caught:
            place.task(look, **asked)
        assert caught.value.option == option
        assert option in str(caught.value)
        return
    if place.name == "@process(fresh)" and option == "fresh":
        pytest.skip("given already")
    task = place.task(look, **asked)
    if place.inline:
        if option == "preload":
            pytest.skip("nothing to relax: every module is at hand")
        with pytest.warns(RuntimeWarning, match=option):
            task()()
        return
    greeting, cwd, niceness = task()()
    assert greeting == ("hello" if option == "env" else os.environ.get("GREETING"))
    assert cwd == ("/" if option == "cwd" else os.getcwd())
    assert niceness == os.nice(0) + (option == "nice")


def test_errors_of_ours_pickle(place):
    with pytest.raises(ValueError, match=r"^no") as caught:
        place.task(fail, retry=1)()()
    again = pickle.loads(pickle.dumps(caught.value.__cause__))
    assert isinstance(again, EntangleError)
    assert again.attempts == 2


def test_errors_that_are_delivered_say_where_they_come_from(place):
    def fail(number):
        raise LookupError(number)

    task = place.task(fail)
    first, second = gather(task(1), gather(task(2)), return_exceptions=True)()
    assert [str(first), str(second)] == ["1", "2"]
    (note,) = [note for note in first.__notes__ if note.startswith("in node")]
    assert "fail (" in note
    (note,) = [note for note in second.__notes__ if note.startswith("in node")]
    assert "needed by gather" in note
