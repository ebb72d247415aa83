"""A worker runs calls in order and answers each of them, whatever happens in it."""

import asyncio
import contextlib
import io
import mmap
import os
import pickle
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from worker_kit import PAGE, Caller, double, values

from entangle._worker import (
    attach,
    brood,
    codec,
    context,
    frames,
    functions,
    mains,
    page,
)
from entangle._worker import main as worker


@pytest.fixture
def caller():
    made = Caller()
    yield made
    made.close()


@contextlib.contextmanager
def worker_with(**settings):
    made = Caller(**settings)
    try:
        yield made
    finally:
        made.close()


def same(value=None, **more):
    return (value, more) if more else value


def fail(text):
    raise LookupError(text)


# -- calls


def test_calls_are_answered_in_order(caller):
    number = caller.function(double)
    entries = [(n, number, (n,), None, 0) for n in range(1, 6)]
    caller.send(frames.CALLS, pickle.dumps(entries))
    assert [caller.answer() for _ in entries] == [(n, 2 * n) for n in range(1, 6)]


def test_keyword_arguments(caller):
    assert caller.value(same, 1, kwargs={"x": 2}) == (1, {"x": 2})


def test_functions_by_value(caller):
    step = 5
    assert caller.value(lambda value: value + step, 1) == 6


def test_exit_ends_it(caller):
    caller.send(frames.EXIT)
    caller.thread.join(10)
    assert not caller.thread.is_alive()
    assert caller.error is None


def test_the_page_tells_what_was_entered_and_when(caller):
    before = time.monotonic_ns()
    number = caller.call(double, 1)
    caller.answer()
    entered, moment = page.begun(caller.page)
    assert entered == number
    assert before < moment < time.monotonic_ns()


def test_answers_say_how_long_the_body_took(caller):
    caller.call(time.sleep, 0.05)
    ((_, took, _),) = values(caller.receive().body)
    assert 50e6 <= took < 5e9


def test_the_start_is_told_when_asked_for(caller):
    number = caller.call(double, 4, flags=worker.NOTIFY)
    started = caller.receive()
    assert started.kind == frames.STARTED
    assert worker.ANSWER.unpack(started.body)[0] == number
    assert caller.answer() == (number, 8)


def test_coroutines_are_awaited(caller):
    async def later(value):
        await asyncio.sleep(0)
        return value

    assert caller.value(later, 3, flags=worker.ASYNC) == 3


def test_big_and_rich_results(caller):
    array = np.arange(100_000)
    got = caller.value(lambda: np.arange(100_000))
    assert np.array_equal(got, array)
    assert got.flags.writeable


def test_returned_nodes_are_packed(caller):
    from entangle.process import process

    task = process(double)
    caller.call(lambda: [task(2)])
    frame = caller.receive()
    assert frame.kind == frames.GRAPH


def test_results_where_no_graph_is_loaded(caller, monkeypatch):
    monkeypatch.delitem(sys.modules, "entangle._graph.node", raising=False)
    assert caller.value(lambda: {1: [2]}) == {1: [2]}


# -- failures


def test_a_body_that_raises(caller):
    error = caller.value(fail, "why")
    assert isinstance(error, LookupError)
    assert error.args == ("why",)
    assert caller.value(double, 2) == 4


@pytest.mark.parametrize(
    "raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
def test_a_body_that_raises_what_ends_programs(caller, raised):
    def leave():
        raise raised

    caller.call(leave)
    assert caller.receive().kind == frames.FAILED
    assert caller.value(double, 2) == 4


def test_a_result_that_does_not_pickle(caller):
    error = caller.value(lambda: threading.Lock())
    assert isinstance(error, codec.EncodeError)
    assert caller.value(double, 2) == 4


def test_a_function_that_is_unknown(caller):
    assert isinstance(caller.value(77), KeyError)


def test_a_function_that_cannot_be_rebuilt(caller):
    caller.send(frames.FUNCTION, worker.NUMBER.pack(1) + b"no pickle")
    for _ in range(2):
        assert isinstance(caller.value(1), pickle.UnpicklingError)


# -- arguments


def test_rich_arguments_are_the_calls_own(caller):
    array = np.arange(10_000)
    number = caller.rich_call(same, array, x=[array])
    answered, (value, more) = caller.answer()
    assert answered == number
    assert value is more["x"][0]
    assert np.array_equal(value, array)


def test_shared_values_are_decoded_for_each_call(caller):
    blob = codec.encode([1, 2])
    parcel = attach.Parcel(blob.data, blob.buffers, 5)

    def grow(values):
        values.append(3)
        return values

    caller.rich_call(grow, parcel)
    caller.rich_call(grow, parcel, ahead=False)
    assert caller.answer()[1] == [1, 2, 3]
    assert caller.answer()[1] == [1, 2, 3]
    caller.send(frames.FORGET, pickle.dumps(((), [5, 6])))
    caller.rich_call(grow, parcel, ahead=False)
    assert isinstance(caller.answer()[1], KeyError)


def test_forgotten_functions_are_gone(caller):
    number = caller.function(double)
    assert caller.value(number, 1) == 2
    caller.send(frames.FORGET, pickle.dumps(([number, 99], ())))
    assert isinstance(caller.value(number, 1), KeyError)


# -- tokens


def grant(caller, *numbers):
    os.write(caller.grants, b"".join(map(worker.NUMBER.pack, numbers)))


def batch(caller, *numbers):
    """Ask for calls that double their own number, all with tokens."""
    fn = caller.function(double)
    entries = [(n, fn, (n,), None, worker.TOKEN) for n in numbers]
    caller.send(frames.CALLS, pickle.dumps(entries))


def test_calls_whose_tokens_are_there_run(caller):
    grant(caller, 1, 2, 3)
    batch(caller, 1, 2, 3)
    assert [caller.answer() for _ in range(3)] == [(1, 2), (2, 4), (3, 6)]


def test_calls_that_were_taken_back_do_not_run(caller):
    batch(caller, 1, 2)
    caller.number = 20
    assert caller.value(double, 1) == 2
    grant(caller, 4)
    batch(caller, 3, 4)
    assert caller.answer() == (4, 8)
    caller.number = 10
    assert caller.value(double, 1) == 2


def test_no_token_from_a_caller_that_is_gone(caller):
    grants, caller.grants = caller.grants, os.dup(0)
    os.close(grants)
    batch(caller, 1)
    caller.number = 1
    assert caller.value(double, 1) == 2


class Ended(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def exits(monkeypatch):
    """Have `os._exit` end the thread instead, and note the exit codes."""
    codes = []

    def leave(code):
        codes.append(code)
        raise Ended

    monkeypatch.setattr(os, "_exit", leave)
    return codes


def test_a_closed_token_pipe_ends_the_worker(caller, exits):
    caller.worker._tokens = 10_000
    batch(caller, 1)
    caller.thread.join(10)
    assert exits == [worker.BROKEN_STREAM]


# -- the caller's state


def state(**changes):
    umask = os.umask(0)
    os.umask(umask)
    return {**context.capture(umask), **changes}


@pytest.fixture
def own_main(monkeypatch):
    """Keep this process's main module, which a context replaces."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setattr(mains, "_modules", {})


def test_the_context_is_taken_over_before_the_next_call(caller, own_main, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    data = codec.encode(state(argv=["new"], main="/some/script.py")).data
    caller.send(frames.CONTEXT, data)
    assert caller.value(lambda: __import__("sys").argv) == ["new"]
    assert caller.value(lambda: __import__("__main__").__file__) == "/some/script.py"


def test_a_context_that_fails_fails_each_call_until_the_next(caller, own_main):
    caller.send(frames.CONTEXT, b"no pickle")
    number = caller.function(double)
    sizes = set()
    for _ in range(3):
        caller.call(number, 1)
        frame = caller.receive()
        assert frame.kind == frames.FAILED
        sizes.add(len(frame.body))
    assert len(sizes) == 1
    caller.send(frames.CONTEXT, codec.encode(state()).data)
    assert caller.value(number, 1) == 2


def test_a_directory_that_is_missing_is_told_by_the_call(own_main, tmp_path):
    with worker_with(overrides={"cwd": str(tmp_path / "gone")}) as caller:
        caller.send(frames.CONTEXT, codec.encode(state()).data)
        assert isinstance(caller.value(double, 1), FileNotFoundError)


def test_what_could_not_be_settled_is_told_by_each_call(own_main):
    with worker_with(unsettled=PermissionError(1, "no")) as caller:
        assert isinstance(caller.value(double, 1), PermissionError)
        caller.send(frames.CONTEXT, codec.encode(state()).data)
        assert isinstance(caller.value(double, 1), PermissionError)


# -- while a body runs


def test_a_body_receives_replies_and_keeps_what_comes_after(caller):
    got = []

    def body():
        this = caller.worker
        this.relay = lambda frame: got.append(bytes(frame.body))
        this.endings.append(lambda: got.append("ended"))
        this.send(frames.pack(frames.NESTED, b"request"))
        while not got:
            this.pump()
        this.relay = None
        return "done"

    caller.worker._functions[90] = body
    caller.call(90)
    assert caller.receive().body == b"request"
    fn = functions.encode_function(double)
    pieces = frames.pack(frames.FUNCTION, worker.NUMBER.pack(91) + fn)
    pieces += frames.pack(frames.REPLY, b"reply")
    pieces += frames.pack(frames.CALLS, pickle.dumps([(92, 91, (4,), None, 0)]))
    caller.sock.sendall(b"".join(pieces))
    assert caller.answer() == (1, "done")
    assert caller.answer() == (92, 8)
    assert got == [b"reply", "ended"]


def test_replies_after_the_body_are_dropped(caller):
    def body():
        caller.worker.send(frames.pack(frames.BLOCKED, b""))
        while not caller.worker._backlog:
            caller.worker.pump()

    caller.worker._functions[90] = body
    caller.call(90)
    assert caller.receive().kind == frames.BLOCKED
    caller.send(frames.REPLY, b"nobody asked")
    assert caller.answer() == (1, None)
    caller.send(frames.REPLY, b"late")
    assert caller.value(double, 1) == 2


def test_many_threads_of_a_body_may_send(caller):
    body = b"x" * 50_000

    def send():
        for _ in range(20):
            caller.worker.send(frames.pack(frames.NESTED, body))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert {bytes(caller.receive().body) for _ in range(80)} == {body}
    for thread in threads:
        thread.join()


# -- the stream


@pytest.mark.parametrize("kind", [0, frames.VALUES, 255])
def test_frames_of_unknown_kinds_end_it(caller, kind):
    caller.send(kind)
    caller.thread.join(10)
    assert isinstance(caller.error, frames.ProtocolError)


def test_other_bytes_end_it(caller):
    caller.sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    caller.thread.join(10)
    assert isinstance(caller.error, frames.ProtocolError)


@pytest.mark.parametrize("error", [BrokenPipeError(), TimeoutError(), ValueError()])
def test_an_exception_while_sending_ends_the_process(caller, exits, error):
    class Broken:
        def sendall(self, data):
            raise error

    sock, caller.worker.sock = caller.worker.sock, Broken()
    try:
        with pytest.raises(Ended):
            caller.worker.send([b"data"])
    finally:
        caller.worker.sock = sock
    assert exits == [worker.BROKEN_STREAM]


# -- what bodies leave behind


def test_a_child_that_is_left_is_told(caller):
    children = []

    def leave():
        children.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1))

    caller.worker._functions[90] = leave
    caller.call(90)
    frame = caller.receive()
    child = children[0]
    child.communicate(b"\n")
    assert frame.flags == frames.DIRTY
    caller.call(time.sleep, 0.001)
    # Other tests may have left helpers of other libraries behind.
    assert caller.receive().flags == (frames.DIRTY if brood.children() else 0)


def test_output_is_flushed_before_the_answer(caller, monkeypatch):
    class Stream(io.StringIO):
        flushed = 0

        def flush(self):
            Stream.flushed += 1

    class Closed:
        def flush(self):
            raise RuntimeError

    monkeypatch.setattr(sys, "stdout", Stream())
    monkeypatch.setattr(sys, "stderr", Closed())
    assert caller.value(double, 1) == 2
    assert Stream.flushed


def test_a_forked_child_is_no_worker(monkeypatch):
    sock, theirs = socket.socketpair()
    read, write = os.pipe()
    with sock, theirs, mmap.mmap(-1, PAGE) as page:
        made = worker.Worker(theirs, page, read, {})
        monkeypatch.setattr(worker, "current", made)
        worker._in_forked_child()
        assert worker.current is None
        assert made.sock.fileno() < 0
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(read)
        os.close(write)
        made.leave()
        worker._in_forked_child()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (SystemExit(), 0),
        (SystemExit(3), 3),
        (SystemExit(256 + 7), 7),
        (SystemExit("why"), 1),
        (ValueError("text"), 1),
    ],
)
def test_forked_children_end_as_programs_do(exits, capsys, error, code):
    with pytest.raises(Ended):
        worker.end_forked_child(error)
    assert exits == [code]
    said = capsys.readouterr().err
    assert ("why" in said) == (code == 1 and isinstance(error, SystemExit))
    assert ("ValueError: text" in said) == isinstance(error, ValueError)


@pytest.mark.parametrize("outcome", [double, fail])
def test_a_body_that_returns_in_a_forked_child_answers_nothing(caller, exits, outcome):
    def body():
        caller.worker._forked = True
        return outcome("x")

    caller.worker._functions[90] = body
    caller.call(90)
    caller.thread.join(10)
    assert exits[0] == (outcome is fail)
