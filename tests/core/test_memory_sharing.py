"""``shared_memory=True``: memory that the tasks of a run share, found by its name."""

import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
from life_kit import until

from entangle import backend
from entangle._pool import pool as pools
from entangle.errors import CompositionError, ProcessTerminatedException
from entangle.process import process
from entangle.task import gather, task
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process

COUNT = 1 << 18


@process(shared_memory=True)
def vectors(count, smm=None, sm=None):
    first, second = smm.SharedMemory(count * 4), smm.SharedMemory(size=count * 4)
    np.frombuffer(first.buf, np.float32)[:] = 2
    np.frombuffer(second.buf, np.float32)[:] = 3
    return first.name, second.name


@process(shared_memory=True)
def powers(names, *, smm=None, sm=None):
    first, second = (np.frombuffer(sm(name).buf, np.float32) for name in names)
    first **= second
    return names[0]


@process(shared_memory=True)
def total(name, **memory):
    return float(np.frombuffer(memory["sm"](name).buf, np.float32).sum())


def test_tasks_of_a_run_see_the_same_memory():
    assert total(powers(vectors(COUNT)))() == 8 * COUNT


def test_it_is_zeros_at_first_and_as_big_as_was_asked():
    @process(shared_memory=True)
    def made(size, smm, sm):
        memory = smm.SharedMemory(size)
        again = sm(memory.name)
        assert again.size == memory.size == size
        assert len(again.buf) == size
        found = bytes(memory.buf)
        memory.buf[:] = b"x" * size
        assert bytes(again.buf) == b"x" * size
        memory.close()
        assert memory.buf is None
        again.unlink()
        assert again.name in repr(again)
        return found == bytes(size)

    for _ in range(4):
        assert all(gather(*[made(size) for size in (1, 4095, 4097, 3_000_000)])())


def test_it_lives_until_its_run_ends():
    name = vectors(1000)()[0]
    with pytest.raises(FileNotFoundError, match="until the run ends"):
        total(name)()
    until(lambda: pools.get().segments.usage()[0] == 0)


def test_runs_do_not_see_each_other():
    @workflow
    def both(names):
        return total(names[0])

    other = pause_with_memory(1 << 20).submit()
    until(lambda: pools.get().segments.usage()[0])
    assert both(vectors(COUNT))() == 2 * COUNT
    other.cancel()


@process(shared_memory=True)
def pause_with_memory(size, smm=None, sm=None):
    memory = smm.SharedMemory(size)
    signal.pause()
    return memory.name


def test_it_outlives_the_task_that_made_it_and_its_process():
    @process(fresh=True, shared_memory=True)
    def made(smm=None, sm=None):
        memory = smm.SharedMemory(COUNT * 4)
        np.frombuffer(memory.buf, np.float32)[:] = 1
        return memory.name

    assert total(made())() == COUNT


def test_nothing_is_left_after_a_crash():
    @process(shared_memory=True)
    def crash(name, smm=None, sm=None):
        sm(name)
        smm.SharedMemory(1 << 20)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ProcessTerminatedException):
        crash(powers(vectors(COUNT)))()
    until(lambda: pools.get().segments.usage()[0] == 0)


def test_a_retry_makes_its_own():
    @process(shared_memory=True, retry=3)
    def sometimes(marks, smm=None, sm=None):
        memory = smm.SharedMemory(1 << 20)
        assert not any(memory.buf[:10])
        memory.buf[:10] = b"0123456789"
        if len(list(marks.iterdir())) < 2:
            (marks / str(os.getpid())).touch()
            os._exit(1)
        return memory.name

    with tempfile.TemporaryDirectory() as folder:
        assert total_bytes(sometimes(Path(folder)))() == sum(b"0123456789")


@process(shared_memory=True)
def total_bytes(name, smm=None, sm=None):
    return sum(sm(name).buf)


def test_a_nested_run_shares_that_of_the_run_it_is_part_of():
    @process(shared_memory=True)
    def outer(count, smm=None, sm=None):
        mine = smm.SharedMemory(count * 4)
        np.frombuffer(mine.buf, np.float32)[:] = 5
        inner = vectors(count)()
        return total(mine.name)(), inner

    @workflow
    def after(found):
        first, names = found
        return [total(names[0]), total(names[1]), first]

    assert after(outer(COUNT))() == [2 * COUNT, 3 * COUNT, 5 * COUNT]


def test_what_makes_no_sense():
    @process(shared_memory=True)
    def wrong(what, smm=None, sm=None):
        return eval(what, {"smm": smm, "sm": sm})

    for what, error in {
        "smm.SharedMemory(0)": ValueError,
        "smm.SharedMemory(-3)": ValueError,
        "smm.SharedMemory('10')": TypeError,
        "smm.SharedMemory(1 << 60)": MemoryError,
        "sm('nobody')": FileNotFoundError,
        "sm(5)": TypeError,
        "sm(None)": TypeError,
    }.items():
        with pytest.raises(error):
            wrong(what)()
    assert wrong("sm('', create=True, size=100).size")() == 100


def test_the_keywords_must_be_there_and_come_last():
    with pytest.raises(TypeError, match="takes no keyword 'smm'"):

        @process(shared_memory=True)
        def neither(names):
            pass

    with pytest.raises(CompositionError, match="no keyword 'sm'"):

        @process(shared_memory=True)
        def one(names, smm=None):
            pass

    with pytest.raises(CompositionError, match="must come after"):

        @process(shared_memory=True)
        def first(smm, sm, names):
            pass


def test_they_are_not_the_caller_s_to_give():
    with pytest.raises(TypeError, match="unexpected keyword argument 'smm'"):
        vectors(3, smm=None)
    with pytest.raises(TypeError, match="positional argument"):
        vectors(3, None)
    with pytest.raises(TypeError, match="missing 1 required positional"):
        vectors()


def test_where_it_is_refused():
    with pytest.raises(CompositionError):

        @thread
        @process(shared_memory=True)
        def both(smm=None, sm=None):
            pass

    with pytest.raises(TypeError, match="it needs a process of its own"):
        thread(shared_memory=True)
    with pytest.raises(CompositionError, match="caller's process"):
        workflow(process(shared_memory=True)(lambda smm, sm: None))
    with pytest.raises(CompositionError, match="share no memory"):
        task(executor=backend.ProcessExecutor(), shared_memory=True)(
            lambda smm, sm: None
        )


def test_in_the_calling_thread(monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    assert total(powers(vectors(COUNT)))() == 8 * COUNT
    with pytest.raises(FileNotFoundError):
        total("entangle-1")()


def test_memory_is_no_value():
    @process(shared_memory=True)
    def returned(smm=None, sm=None):
        return smm.SharedMemory(100)

    with pytest.raises(Exception, match="send its name"):
        returned()()
