"""Each executor of ours is one of `concurrent.futures`."""

import asyncio
import concurrent.futures as cf
import os
import threading

import gates
import pytest
from worker_kit import until

from entangle.backend import (
    Call,
    Executor,
    InlineExecutor,
    ProcessExecutor,
    ThreadExecutor,
)
from entangle.errors import ProcessTerminatedException, UnpicklableError
from entangle.process import process
from entangle.task import shutdown
from entangle.thread import thread


def add(a, b=1):
    return a + b


def leave(code):
    os._exit(code)


def fail(text):
    raise ValueError(text)


def test_submit(executor):
    assert executor.submit(add, 1, b=4).result() == 5
    assert executor.submit(add, [1], [2]).result() == [1, 2]
    with pytest.raises(ValueError, match="no"):
        executor.submit(fail, "no").result()
    assert isinstance(executor.submit(fail, "no").exception(), ValueError)
    assert executor.submit(lambda: 3).result() == 3


def test_a_task_is_run_as_its_function(executor):
    assert executor.submit(process(add), 1).result() == 2


def test_map(executor):
    assert list(executor.map(add, range(20), range(20))) == list(range(0, 40, 2))
    assert list(executor.map(add, [])) == []
    with pytest.raises(ValueError, match="a"):
        list(executor.map(fail, "abc"))


def test_wait_and_as_completed(executor):
    futures = [executor.submit(add, n) for n in range(10)]
    assert cf.wait(futures).done == set(futures)
    assert set(cf.as_completed(futures)) == set(futures)
    assert all(future.done() and not future.running() for future in futures)


def test_callbacks(executor):
    heard = threading.Event()
    executor.submit(add, 1).add_done_callback(lambda _: heard.set())
    assert heard.wait(60)


def test_on_an_event_loop(executor):
    async def main():
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, add, 4)

    assert asyncio.run(main()) == 5


def test_after_shutdown(executor):
    future = executor.submit(add, 1)
    executor.shutdown()
    assert future.done()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(add, 1)
    executor.shutdown()


def test_the_context_waits_for_all(executor):
    with executor:
        futures = [executor.submit(add, n) for n in range(5)]
    assert [future.result() for future in futures] == [1, 2, 3, 4, 5]


@pytest.fixture(params=[ThreadExecutor, ProcessExecutor])
def busy(request, gate):
    """An executor whose every worker waits at the gate, with what they were given."""
    from entangle._pool import pool
    from entangle._pool.threads import MOST

    executor = request.param()
    room = MOST if request.param is ThreadExecutor else pool.get().capacity
    futures = [executor.submit(gates.through, gate.path, n) for n in range(room)]
    gate.reached(room)
    # Their bodies know of it before this process does.
    until(lambda: all(future.running() for future in futures))
    yield executor, futures
    gate.open(room)
    executor.shutdown()


def test_running_futures_cannot_be_cancelled(busy, gate):
    _, futures = busy
    assert not any(future.cancel() for future in futures)
    gate.open(len(futures))
    assert [future.result() for future in futures] == list(range(len(futures)))


def test_cancelled_futures_are_dropped(busy, gate):
    executor, futures = busy
    waiting = executor.submit(add, 1)
    assert not waiting.running()
    assert waiting.cancel()
    assert waiting.cancelled()
    assert cf.wait([waiting]).done == {waiting}
    with pytest.raises(cf.CancelledError):
        waiting.result()
    assert waiting.cancel()
    gate.open(len(futures))
    assert cf.wait(futures).not_done == set()
    assert executor.submit(add, 1).result() == 2


def test_shutdown_that_cancels(busy, gate):
    executor, futures = busy
    waiting = [executor.submit(add, n) for n in range(50)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert not any(future.done() for future in futures)
    gate.open(len(futures))
    executor.shutdown()
    assert [future.result() for future in futures] == list(range(len(futures)))


def test_shutdown_that_does_not_wait(busy, gate):
    executor, futures = busy
    executor.shutdown(wait=False)
    assert not futures[0].done()
    gate.open(len(futures))
    assert futures[0].result() == 0


def test_the_end_of_the_pool_ends_processes(gate):
    executor = ProcessExecutor()
    running = executor.submit(gates.through, gate.path)
    gate.reached()
    from entangle._pool import pool

    more = [
        executor.submit(gates.through, gate.path) for _ in range(pool.get().capacity)
    ]
    shutdown()
    assert cf.wait([running, *more]).not_done == set()
    with pytest.raises(cf.CancelledError):
        running.result()
    assert executor.submit(add, 1).result() == 2


def test_processes():
    executor = ProcessExecutor()
    assert executor.submit(os.getpid).result() != os.getpid()
    with pytest.raises(ProcessTerminatedException) as caught:
        executor.submit(leave, 7).result()
    assert caught.value.exit_code == 7
    with pytest.raises(UnpicklableError, match="argument 'a'"):
        executor.submit(add, threading.Lock()).result()
    with pytest.raises(UnpicklableError, match="lock"):
        executor.submit(_closure_over(threading.Lock())).result()
    assert len(executor.submit(bytes, 3_000_000).result()) == 3_000_000
    executor.shutdown()


def _closure_over(lock):
    return lambda: lock


def test_what_calls_print_is_passed_on(capfd):
    with ProcessExecutor() as executor:
        executor.submit(print, "from afar").result()
    assert capfd.readouterr().out == "from afar\n"


def test_a_task_in_an_executor_that_was_shut_down():
    from entangle.task import task

    executor = cf.ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        task(executor=executor)(add)(1)()


class Heard(Call):
    """A call that takes note of its end."""

    __slots__ = ("how", "over")

    def __init__(self, function, *args):
        super().__init__(function, args)
        self.how = []
        self.over = threading.Event()

    def succeeded(self, value):
        self.how.append(value)
        self.over.set()

    def cancelled(self, how):
        self.how.append(how)
        self.over.set()


def test_ending_a_call_in_a_thread(busy, gate):
    executor, futures = busy
    if isinstance(executor, ProcessExecutor):
        pytest.skip("about threads")
    waiting = Heard(add, 1)
    executor.start(waiting)
    executor.cancel(waiting, 0.0)
    assert waiting.how == ["already done"]
    gate.open(len(futures))
    # Until each has passed: one that is late would leave its turn to the next.
    cf.wait(futures)
    over = Heard(add, 1)
    executor.start(over)
    assert over.over.wait(60)
    cf.wait([executor.submit(add, 1)])
    executor.cancel(over, 0.0)
    assert over.how == [2]
    assert waiting.how == ["already done"]
    running = Heard(gates.through, gate.path)
    executor.start(running)
    gate.reached()
    executor.cancel(running, 0.0)
    assert running.how == ["abandoned"]
    gate.open()


def test_threads_share_and_inline_is_here():
    def ident():
        return threading.get_ident()

    with InlineExecutor() as inline, ThreadExecutor() as threads:
        assert inline.submit(ident).result() == threading.get_ident()
        assert threads.submit(ident).result() != threading.get_ident()
        shared = []
        assert threads.submit(shared.append, 1).result() is None
        assert shared == [1]


def test_nodes_as_the_result_of_a_submitted_call():
    def build():
        return thread(add)(1)

    with ProcessExecutor() as executor:
        assert executor.submit(build).result()() == 2


class Odd(Executor):
    """An executor of a third party, which does as little as it may."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.cancelled = []

    def start(self, call: Call):
        if call.args == ("refuse",):
            raise LookupError("not here")
        self.calls.append(call)

    def cancel(self, call, grace):
        self.cancelled.append((call, grace))
        call.cancelled("cannot kill")


def test_a_third_partys_executor():
    executor = Odd()
    future = executor.submit(add, 1)
    (call,) = executor.calls
    assert not future.running()
    call.started()
    call.started()
    assert future.running()
    call.succeeded(5)
    call.succeeded(6)
    call.failed(ValueError())
    call.cancelled("killed")
    assert future.result() == 5
    with pytest.raises(LookupError):
        executor.submit(add, "refuse").result()


def test_a_third_partys_executor_is_told_of_a_cancel():
    executor = Odd()
    future = executor.submit(add, 1)
    future.cancel()
    (call,) = executor.calls
    assert [told for told, _ in executor.cancelled] == [call]
    call.succeeded(5)
    assert future.cancelled()
    executor.shutdown()


def test_a_third_partys_executor_that_refuses_to_end_a_call():
    from entangle.task import task

    executor = Odd()
    ready = threading.Event()
    executor.start = lambda call: (executor.calls.append(call), ready.set())
    run = task(executor=executor)(add)(1).submit()
    assert ready.wait(60)
    run.cancel()
    with pytest.raises(cf.CancelledError):
        run.result()
    assert run.cancelled_how() == "cannot kill"


def test_calls_report_encoded_news():
    from entangle._worker import failures

    heard = []

    class Listening(Call):
        __slots__ = ()

        def failed(self, error):
            heard.append(error)

    call = Listening(add, (1,), name="")
    assert call.name == "add"
    call.started()
    call.output("stdout", "x\n")
    call.succeeded(1)
    call.cancelled("killed")
    Call(add).failed(ValueError())
    call.failed_encoded(failures.encode_failure(ValueError("far")))
    assert repr(heard) == "[ValueError('far')]"
