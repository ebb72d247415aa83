"""Calls as bytes: packed here, run in another process, delivered here."""

import threading

import pytest

from entangle.backend import Call, deliver, pack_call, run_payload
from entangle.errors import TaskError, UnpicklableError
from entangle.process import process
from entangle.testing import RecordedCall
from entangle.thread import thread

pytestmark = pytest.mark.process

np = pytest.importorskip("numpy")


def there(payload, path):
    """Run a payload, and note when the body was about to be entered."""
    return run_payload(payload, entered=lambda: open(path, "a").close())


def back(tmp_path, function, *args, **kwargs):
    """Return a call that has been there and back."""
    call = RecordedCall(function, *args, **kwargs)
    path = tmp_path / "entered"
    deliver(call, process(there)(pack_call(call), str(path))())
    return call.end(0.0)


def test_values(tmp_path):
    assert back(tmp_path, max, 3, 4).detail == 4
    assert back(tmp_path, lambda a, *, b: [a, b], 1, b=2).detail == [1, 2]
    assert (tmp_path / "entered").exists()


def test_arrays_are_as_writable_as_they_were(tmp_path):
    array, fixed = np.arange(5.0), np.arange(3.0)
    fixed.flags.writeable = False

    def look(one, other):
        return one * 2, one.flags.writeable, other.flags.writeable

    doubled, one, other = back(tmp_path, look, array, fixed).detail
    assert list(doubled) == [0, 2, 4, 6, 8]
    assert (one, other) == (True, False)
    doubled[0] = 7


def test_errors(tmp_path):
    def fail():
        raise LookupError("no", 7)

    end = back(tmp_path, fail)
    assert (end.kind, type(end.detail), end.detail.args) == (
        "failed",
        LookupError,
        ("no", 7),
    )


def test_coroutines():
    async def double(number):
        return 2 * number

    call = Call(double, (4,), options=thread(double).options)
    answer = process(run_payload)(pack_call(call))()
    told = RecordedCall(double)
    deliver(told, answer)
    assert told.end(0.0).detail == 8


def test_nodes(tmp_path):
    from entangle._graph.node import Node

    def build(number):
        from entangle.thread import thread

        return [thread(abs)(number)]

    (node,) = back(tmp_path, build, -3).detail
    assert type(node) is Node
    assert node() == 3


def test_what_cannot_be_packed():
    with pytest.raises(UnpicklableError, match="lock"):
        pack_call(Call(len, ([threading.Lock()],)))


def test_an_answer_that_is_damaged():
    for answer in (b"", b"\x80", b"no answer"):
        call = RecordedCall(len)
        deliver(call, answer)
        assert type(call.end(0.0).detail) is TaskError
        assert "damaged" in str(call.end(0.0).detail)


def test_a_value_that_cannot_be_rebuilt_here(tmp_path):
    class Odd:
        def __reduce__(self):
            return int, ("no number",)

    end = back(tmp_path, lambda: Odd())
    assert type(end.detail) is TaskError
    assert "rebuilt" in str(end.detail)
