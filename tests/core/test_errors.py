"""The errors say what happened, keep it as attributes, and pickle."""

import copy
import pickle
import subprocess
import sys

import pytest

from entangle import errors

SAMPLES = [
    errors.EntangleError("plain"),
    errors.CompositionError("no", task="f", origins=["a.py:1", "b.py:2"]),
    errors.UnmetCapabilityError("no", option="timeout", task="f", origins=["a.py:1"]),
    errors.OptionError("no", decorator="process", option="timout"),
    errors.ProcessTimeoutException(node="f", phase="body", seconds=3),
    errors.ProcessTerminatedException(node="f", pid=12, signal=9),
    errors.ProcessTerminatedException(node="f", pid=12, exit_code=3, detail="x"),
    errors.ProcessRetryException(attempts=2, errors=[ValueError("a"), OSError("b")]),
    errors.FlowError([ValueError("a"), OSError("b")], flow="emit", input=3, index=2),
    errors.TaskError("mod.Boom", "text", "Traceback ..."),
    errors.UnpicklableError(path="argument 'a'.lock", reason="a lock", node="f"),
    errors.VersionMismatchError(node="f", place="p", version="3.12", reason="no"),
    errors.CacheKeyError(path="argument 'a'.lock", reason="a lock", node="f"),
    errors.CacheDirectoryError(path="/tmp/x", reason="it is no directory"),
    errors.BudgetExceededError("usd", 5, 4.99, "f was not started"),
    errors.UnknownPriceError("f", "ec2", "an x9.huge", allowed=5, spent=1),
    errors.JobError("no role", node="f", place="fargate", resource="task/1"),
    errors.JobLostError(
        node="f", place="fargate", resource="task/1", reason="spot", exit_code=3
    ),
    errors.PlaceBusyError("Rate exceeded"),
    errors.UntrustedResultError("changed", node="f", place="p", resource="task/1"),
    errors.NestedRunError(),
    errors.PlaceError(place="docker", reason="no python3", said="a\nb"),
    errors.RunOutsideTaskError(),
    errors.WorkerStartError(detail="no fork"),
    errors.InternalError("two and two is five"),
    errors.PlatformError(platform="win32"),
    errors.PictureError("SVG", what="cards", count=9, most=3, calls=12),
    errors.PluginError("no such executor", plugin="onprem"),
    errors.SecretError("env('TOKEN')", "it is not set"),
    errors.SourceError("no such table"),
]


def test_samples_are_complete():
    public = {getattr(errors, name) for name in errors.__all__}
    assert {type(sample) for sample in SAMPLES} == public


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_type_message_attributes_and_notes(error, protocol):
    original = copy.copy(error)
    original.add_note("seen in a test")
    back = pickle.loads(pickle.dumps(original, protocol))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.__notes__ == ["seen in a test"]
    kept, lost = dict(vars(back)), dict(vars(original))
    # Exceptions compare by identity.
    assert list(map(repr, kept.pop("errors", ()))) == list(
        map(repr, lost.pop("errors", ()))
    )
    assert kept == lost
    assert "__notes__" not in vars(error)


def test_everything_has_one_root():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.EntangleError)
    assert issubclass(errors.ProcessTimeoutException, TimeoutError)
    assert issubclass(errors.CompositionError, TypeError)
    assert issubclass(errors.OptionError, ValueError)
    assert issubclass(errors.UnpicklableError, TypeError)


def test_a_flow_error_is_a_group_that_splits():
    error = errors.FlowError([ValueError("a"), OSError("b")], flow="emit", input=3)
    assert str(error) == (
        "2 functions have failed in the flow emit for its input (2 sub-exceptions)"
    )
    some, rest = error.split(OSError)
    for part in (some, rest, pickle.loads(pickle.dumps(error))):
        assert type(part) is errors.FlowError
        assert (part.flow, part.input, part.index) == ("emit", 3, None)
    assert repr(some.exceptions) == "(OSError('b'),)"


def test_a_subclass_with_its_own_constructor_pickles():
    error = Custom(3)
    assert pickle.loads(pickle.dumps(error)).number == 3


class Custom(errors.EntangleError):
    def __init__(self, number):
        super().__init__(f"number {number}")
        self.number = number


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("body", "ran for longer than its timeout of 3 s"),
        ("wait", "arguments of f were not all there after its wait of 3 s"),
        ("start", "no place took it within its start of 3 s"),
        ("run", "the run of f was not over after its timeout of 3 s"),
        ("other", "f took longer than 3 s"),
    ],
)
def test_timeouts_say_what_took_too_long(phase, words):
    error = errors.ProcessTimeoutException(node="f", phase=phase, seconds=3.0)
    assert words in str(error)
    assert (error.node, error.phase, error.seconds) == ("f", phase, 3.0)


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"signal": 9}, "was killed by SIGKILL (9)"),
        ({"signal": 250}, "was killed by signal 250"),
        ({"exit_code": 3}, "exited with code 3"),
        ({"signal": 9, "out_of_memory": True}, "memory ran out"),
        ({"detail": "while idle"}, "had to be ended (while idle)"),
    ],
)
def test_deaths_say_how(known, words):
    error = errors.ProcessTerminatedException(node="f", pid=12, **known)
    assert words in str(error)
    assert "worker process 12 that ran f" in str(error)


def test_retries_list_kinds_and_the_last_error():
    first, last = ValueError("a"), KeyError("b")
    error = errors.ProcessRetryException(attempts=2, errors=[first, last], node="f")
    assert error.errors == (first, last)
    assert (
        str(error)
        == "2 attempts of f failed (ValueError, KeyError); the last: KeyError: 'b'"
    )
    assert str(errors.ProcessRetryException(attempts=1, errors=[])) == (
        "1 attempt failed (no errors kept)"
    )


def test_retries_survive_errors_that_cannot_be_shown():
    class ShyError(Exception):
        def __str__(self):
            raise RuntimeError

    error = errors.ProcessRetryException(attempts=1, errors=[ShyError()])
    assert "ShyError: (its message cannot be shown)" in str(error)
    quiet = errors.ProcessRetryException(attempts=1, errors=[ValueError()])
    assert str(quiet).endswith("the last: ValueError")


def test_task_error_shows_the_remote_traceback():
    assert (
        str(errors.TaskError("m.E", "boom", "Traceback: x"))
        == "m.E: boom\n\nTraceback: x"
    )
    assert str(errors.TaskError("m.E", "")) == "m.E"


@pytest.mark.parametrize(
    "module", ["process", "thread", "workflow", "task", "local", "scheduler"]
)
def test_windows_is_refused_at_import(module):
    program = (
        "import sys; sys.platform = 'win32'\n"
        f"try:\n    import entangle.{module}\n"
        "except ImportError as error:\n    print(type(error).__name__, error.platform)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "PlatformError win32\n", done.stderr
