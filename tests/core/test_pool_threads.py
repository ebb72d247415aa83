"""The thread pool: calls that share the caller's objects."""

import threading

import pytest
from life_kit import until

from entangle._pool.threads import Threads


class Here:
    """A body that says that it runs, and runs until it is let go."""

    def __init__(self):
        self.running = threading.Event()
        self.go = threading.Event()
        self.thread = None

    def __call__(self):
        self.thread = threading.current_thread()
        self.running.set()
        assert self.go.wait(60)


@pytest.fixture
def threads():
    made = []

    def make(*args, **kwargs):
        made.append(Threads(*args, **kwargs))
        return made[-1]

    yield make
    mine = [t for t in threading.enumerate() if t.name.startswith("entangle-thread")]
    for pool in made:
        pool.close()
    for thread in mine:
        thread.join(60)
        assert not thread.is_alive()


def done(pool, work=lambda: None):
    """Have something run and wait for it."""
    event = threading.Event()
    pool.run(lambda: (work(), event.set()))
    assert event.wait(60)


def test_threads_are_made_when_needed_and_used_again(threads):
    pool = threads()
    assert pool._count == 0
    idents = []
    for _ in range(5):
        done(pool, lambda: idents.append(threading.get_ident()))
        while not pool._parked:
            pass
    assert len(set(idents)) == 1


def test_no_more_than_the_most(threads):
    pool = threads(2)
    bodies = [Here() for _ in range(3)]
    for body in bodies:
        pool.run(body)
    assert bodies[0].running.wait(60)
    assert bodies[1].running.wait(60)
    assert not bodies[2].running.is_set()
    assert pool._count == 2
    bodies[0].go.set()
    assert bodies[2].running.wait(60)
    assert bodies[2].thread is bodies[0].thread
    for body in bodies:
        body.go.set()


def test_a_chain_needs_no_hop(threads):
    pool = threads()
    idents = []

    def link(left):
        idents.append(threading.get_ident())
        pool.about_to_report()
        if left:
            pool.run(lambda: link(left - 1))
        else:
            finished.set()

    finished = threading.Event()
    pool.run(lambda: link(5000))
    assert finished.wait(60)
    assert len(idents) == 5001
    assert len(set(idents)) == 1
    assert pool._names == 1


def test_only_the_first_follower_is_kept(threads):
    pool = threads()
    second = Here()

    def report():
        pool.about_to_report()
        pool.run(first)
        pool.run(second)

    first = Here()
    pool.run(report)
    assert first.running.wait(60)
    assert second.running.wait(60)
    assert first.thread is not second.thread
    first.go.set()
    second.go.set()


def test_what_a_body_starts_before_its_end_is_for_others(threads):
    pool = threads()
    other, body = Here(), Here()

    def starts():
        pool.run(other)
        body()

    pool.run(starts)
    assert body.running.wait(60)
    assert other.running.wait(60)
    body.go.set()
    other.go.set()


def test_one_more_for_each_that_waits_in_a_nested_run(threads):
    pool = threads(1)
    inner = Here()

    def outer():
        assert pool.blocked()
        assert inner.running.wait(60)
        inner.go.set()
        pool.resumed()
        finished.set()

    finished = threading.Event()
    pool.run(outer)
    pool.run(inner)
    assert finished.wait(60)


def test_queued_work_gets_a_thread_when_one_blocks(threads):
    pool = threads(1)
    body, inner = Here(), Here()
    finished = threading.Event()

    def outer():
        body()
        assert pool.blocked()
        assert inner.running.wait(60)
        pool.resumed()
        finished.set()

    pool.run(outer)
    assert body.running.wait(60)
    pool.run(inner)
    assert not inner.running.is_set()
    body.go.set()
    assert finished.wait(60)
    inner.go.set()
    # Then there is one too many, which ends.
    while pool._count > 1:
        done(pool)


def test_what_is_raised_is_logged_and_the_thread_goes_on(threads, caplog):
    pool = threads(1)
    idents = []

    def leave():
        idents.append(threading.get_ident())
        raise SystemExit

    pool.run(leave)
    done(pool, lambda: idents.append(threading.get_ident()))
    assert len(set(idents)) == 1
    assert [record.exc_info[0] for record in caplog.records] == [SystemExit]


def test_other_threads_block_for_themselves(threads):
    pool = threads()
    assert not pool.blocked()
    assert pool._blocked == 0
    pool.about_to_report()


def test_unused_threads_end(threads):
    pool = threads(linger=0.01)
    body = Here()
    pool.run(body)
    assert body.running.wait(60)
    body.go.set()
    body.thread.join(60)
    assert not body.thread.is_alive()
    assert pool._count == 0
    assert pool._parked == []
    done(pool)


def test_close_lets_busy_threads_finish(threads):
    pool = threads()
    body, waiting = Here(), []
    pool.run(body)
    assert body.running.wait(60)
    done(pool)
    pool.close()
    pool.run(lambda: waiting.append(1))
    body.go.set()
    body.thread.join(60)
    until(lambda: pool._count in {0, 1})
