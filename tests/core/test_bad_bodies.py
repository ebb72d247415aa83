"""Bodies that misbehave: with descriptors, exceptions, the stack, and huge arguments."""

import asyncio
import contextlib
import os
import sys
import time

import pytest
from life_kit import SOON, pool_pids, within

from entangle.errors import (
    ProcessTerminatedException,
    TaskError,
    UnpicklableError,
)
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process

LOST = ProcessTerminatedException


@process
def double(number):
    return 2 * number


# -- descriptors


def numbers():
    return [int(name) for name in os.listdir("/proc/self/fd")]


@process
def close_range():
    os.closerange(0, 1024)


@process
def close_everything():
    os.closerange(0, 1 << 16)


@process
def close_one(number):
    os.close(number)


@process
def write_everywhere(data):
    for number in numbers():
        with contextlib.suppress(OSError):
            os.set_blocking(number, False)
            os.write(number, data)


@process
def read_everywhere():
    for number in numbers():
        with contextlib.suppress(OSError):
            os.set_blocking(number, False)
            os.read(number, 1 << 16)


@process
def shut_sockets_down():
    import socket

    for number in numbers():
        with contextlib.suppress(OSError):
            socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "make",
    [
        close_range,
        close_everything,
        shut_sockets_down,
        read_everywhere,
        lambda: write_everywhere(b"\0" * 8),
        lambda: write_everywhere(b"\xff" * 4096),
        lambda: write_everywhere(os.urandom(64)),
        lambda: write_everywhere(b"\n"),
    ],
)
def test_a_body_that_damages_descriptors_ends_in_a_value_or_a_clear_error(make, capfd):
    assert double(1)() == 2
    for _ in range(3):
        with within():
            try:
                assert make()() is None
            except LOST as error:
                assert "connection" in str(error) or "stream" in str(error), error
        with within():
            assert double.map(range(20))() == [*range(0, 40, 2)]


def test_a_body_that_damages_descriptors_is_never_run_twice(tmp_path, capfd):
    @process
    def damage(folder):
        (folder / str(os.getpid())).touch()
        write_everywhere.fn(bytes(8))

    with within(), pytest.raises(LOST):
        damage(tmp_path)()
    assert len([*tmp_path.iterdir()]) == 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_closing_a_standard_stream_harms_no_later_call(number, capfd):
    for _ in range(3):
        with within():
            assert close_one(number)() is None

    @process
    def say(text):
        print(text)
        print(text, file=sys.stderr)

    say("later")()
    out, err = capfd.readouterr()
    assert "later" in out + err
    assert double(2)() == 4


def test_a_body_that_replaces_its_streams():
    @process
    def replace():
        sys.stdout = sys.stderr = sys.stdin = None

    replace()()
    for _ in range(4):
        assert double(2)() == 4


def test_standard_input_is_empty():
    @process
    def read():
        return sys.stdin.read(), os.read(0, 10)

    assert read()() == ("", b"")


# -- exceptions


class Own(BaseException):
    def __init__(self, one, two):
        super().__init__(one, two)
        self.extra = [one, two]


@pytest.mark.parametrize("how", [process, thread, workflow])
@pytest.mark.parametrize(
    "kind",
    [
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        StopIteration,
        StopAsyncIteration,
        asyncio.CancelledError,
    ],
)
def test_what_would_steer_the_caller_becomes_a_task_error(how, kind):
    @how
    def steer():
        raise kind("now")

    with within(), pytest.raises(TaskError) as caught:
        steer()()
    assert caught.value.type_name.endswith(kind.__name__)
    assert "now" in caught.value.message
    with within(), pytest.raises(TaskError):
        steer().submit().result(5)
    assert double(2)() == 4


@pytest.mark.parametrize("how", [process, thread, workflow])
def test_an_own_base_exception_arrives_as_itself(how):
    @how
    def fail():
        raise Own("a", "b")

    with within(), pytest.raises(Own) as caught:
        fail()()
    assert caught.value.extra == ["a", "b"]
    assert double(2)() == 4


def test_a_worker_survives_every_exception():
    @process
    def fail(kind):
        raise kind

    kinds = [SystemExit, KeyboardInterrupt, GeneratorExit, Own, StopIteration, OSError]
    before = {*pool_pids()} if double.map(range(50))() else ()
    errors = gather(
        *[fail(kind) for kind in kinds if kind is not Own], return_exceptions=True
    )()
    assert all(isinstance(error, BaseException) for error in errors)
    assert {*pool_pids()} <= before


def test_exceptions_of_coroutines():
    @thread
    async def fail(kind):
        await asyncio.sleep(0)
        raise kind

    for kind in (SystemExit, KeyboardInterrupt, asyncio.CancelledError, StopIteration):
        with within(), pytest.raises((TaskError, RuntimeError)):
            fail(kind)()
    with pytest.raises(ZeroDivisionError):
        fail(ZeroDivisionError)()
    assert double(2)() == 4


@pytest.mark.parametrize("how", [process, thread, workflow])
def test_endless_recursion_is_a_recursion_error(how):
    @how
    def endless(number):
        def deeper(number):
            return deeper(number + 1) + 1

        return deeper(number)

    with within(), pytest.raises(RecursionError):
        endless(0)()
    assert double(2)() == 4


def test_a_stack_that_overflows_in_native_code_is_a_death_or_an_error():
    @process
    def overflow():
        sys.setrecursionlimit(1 << 30)

        class Nested:
            def __repr__(self):
                return repr([self])

        return repr(Nested())

    with within(2 * SOON), pytest.raises((ProcessTerminatedException, RecursionError)):
        overflow()()
    assert double(2)() == 4


def test_results_and_exceptions_that_do_not_pickle():
    import threading

    @process
    def lock():
        return [threading.Lock()]

    @process
    def fail():
        raise ValueError(threading.Lock())

    with within(), pytest.raises((UnpicklableError, TypeError)) as caught:
        lock()()
    assert "lock" in str(caught.value)
    with within(), pytest.raises((ValueError, TaskError)) as caught:
        fail()()
    assert double(2)() == 4


def test_an_argument_that_does_not_pickle_is_named_before_anything_runs(tmp_path):
    import threading

    @process
    def touch(path):
        path.touch()

    @process
    def take(first, value):
        return value

    class Holder:
        def __init__(self):
            self.deep = [0, {"lock": threading.Lock()}]

    with within(), pytest.raises(UnpicklableError) as caught:
        take(touch(tmp_path / "ran"), Holder())()
    assert "value" in caught.value.path
    assert "lock" in caught.value.path
    assert not (tmp_path / "ran").exists()


def test_an_argument_whose_pickling_raises_or_leaves():
    @process
    def take(value):
        return value

    class Bad:
        def __init__(self, error):
            self.error = error

        def __reduce__(self):
            raise self.error

    for error in (ValueError("no"), KeyboardInterrupt(), SystemExit(3), Own(1, 2)):
        with within(), pytest.raises(BaseException) as caught:  # noqa: PT011
            take(Bad(error))()
        assert isinstance(caught.value, UnpicklableError | type(error))
    assert double(2)() == 4


def test_an_argument_whose_unpickling_dies_kills_only_its_call():
    @process
    def take(value):
        return value

    class Deadly:
        def __reduce__(self):
            return os._exit, (3,)

    values = gather(double(1), take(Deadly()), double(2), return_exceptions=True)()
    assert values[0] == 2
    assert values[2] == 4
    assert isinstance(values[1], ProcessTerminatedException)


def test_a_result_whose_unpickling_raises():
    @process
    def give():
        class Bad:
            def __reduce__(self):
                return int, ("no number",)

        return Bad()

    with within(), pytest.raises(TaskError, match="no number"):
        give()()
    assert double(2)() == 4


# -- huge arguments


def test_a_list_of_a_million_items():
    @process
    def total(items):
        return sum(items), len(items)

    with within(5 * SOON):
        assert total([*range(1_000_000)])() == (499_999_500_000, 1_000_000)


def test_a_result_of_a_million_items():
    @process
    def many():
        return [*range(1_000_000)]

    with within(5 * SOON):
        assert len(many()()) == 1_000_000


def test_a_million_arguments():
    @process
    def count(*items, **named):
        return len(items), sum(items), len(named)

    named = {f"name{number}": number for number in range(1000)}
    with within(5 * SOON):
        assert count(*range(1_000_000), **named)() == (1_000_000, 499_999_500_000, 1000)


def test_a_million_nested_and_deep_items():
    @process
    def depth(value):
        found = 0
        while value:
            found, value = found + 1, value[0]
        return found

    value = ()
    for _ in range(100_000):
        value = (value,)
    with within(5 * SOON):
        # As deep as pickles go is as deep as arguments go: told, not crashed.
        with contextlib.suppress(UnpicklableError, RecursionError):
            assert depth(value)() == 100_000
    while value:
        (value,) = value
    assert double(2)() == 4


def test_many_big_arguments_at_once():
    @process
    def size(data):
        return len(data)

    data = [bytes(4_000_000) for _ in range(20)]
    with within(5 * SOON):
        assert size.map(data)() == [4_000_000] * 20


def test_a_worker_that_reads_slowly_blocks_nobody():
    """A worker that sleeps over a full socket holds nobody else up."""

    @process
    def hold(seconds):
        time.sleep(seconds)

    @process
    def size(data):
        return len(data)

    future = hold(0.5).submit()
    with within(5 * SOON):
        assert size.map([bytes(10_000_000)] * 4)() == [10_000_000] * 4
    future.result(5)
