"""The monitor: what is posted runs once, in order, one at a time, whoever posts."""

import os
import select
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._pool.hub import Hub


class Awaited:
    """What a thread drives the hub for."""

    def __init__(self, hub):
        self.hub = hub
        self.finished = False
        self.event = threading.Event()

    def finish(self):
        self.finished = True
        self.hub.wake_poller()
        self.event.set()

    def wait(self, timeout=None):
        return self.event.wait(timeout)


@pytest.fixture
def hub():
    made = Hub()
    yield made
    made.stop()
    made.abandon()


def drive(hub, *actions):
    """Post actions and drive the hub until the last of them has run."""
    awaited = Awaited(hub)

    def begin():
        for action in actions:
            hub.post(action)
        hub.post(awaited.finish)

    hub.drive(awaited, begin)
    return awaited


def elsewhere(function):
    """Run a function in a thread and wait for it."""
    raised = []

    def run():
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def test_posted_actions_run_in_order(hub):
    seen = []
    drive(hub, *(lambda n=n: seen.append(n) for n in range(100)))
    assert seen == list(range(100))


def test_arguments_are_handed_on(hub):
    seen = []
    drive(hub, lambda: hub.post(seen.append, 3))
    assert seen == [3]


def test_a_free_monitor_is_entered_by_the_poster(hub):
    # In a thread that is not the main one nothing has to be waited for.
    where = []
    elsewhere(
        lambda: (
            hub.post(lambda: where.append(threading.current_thread())),
            where.append(threading.current_thread()),
        )
    )
    assert where[0] is where[1]
    assert hub._background is None


def test_a_taken_monitor_is_worked_off_by_its_owner(hub):
    seen = []

    def owner():
        inner = threading.Thread(target=hub.post, args=(inner_action,))
        inner.start()
        inner.join()  # it returned although the monitor is taken
        seen.append("owner")

    def inner_action():
        seen.append(threading.get_ident())

    thread = threading.Thread(target=hub.post, args=(owner,))
    thread.start()
    thread.join()
    assert seen == ["owner", thread.ident]


def test_what_comes_while_the_monitor_is_left_is_not_left_lying(hub):
    monitor, seen = hub._monitor, []

    class Leaving:
        """The monitor, with a poster that comes just too early to enter it."""

        def acquire(self, blocking):
            return monitor.acquire(blocking)

        def release(self):
            if not seen:
                seen.append("late")
                hub._inbox.append((seen.append, ("run",)))
            monitor.release()

    hub._monitor = Leaving()
    elsewhere(lambda: hub.post(lambda: None))
    hub._monitor = monitor
    assert seen == ["late", "run"]


def test_inside(hub):
    seen = []
    drive(hub, lambda: seen.append(not hub.may_wait()))
    assert seen == [True]
    assert hub.may_wait()


def test_run_inside_returns_when_done(hub):
    seen = []

    def work():
        hub.run_inside(
            lambda: (seen.append(not hub.may_wait()), hub.post(seen.append, 2))
        )
        seen.append(3)

    elsewhere(work)
    assert seen == [True, 2, 3]


def test_the_main_thread_leaves_state_changes_to_others(hub):
    # Its signal handlers could raise in the middle.
    where = []
    done = threading.Event()
    hub.post(lambda: (where.append(threading.current_thread()), done.set()))
    assert done.wait(60)
    assert where == [hub._background]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_many_posters_each_in_their_own_order(counts):
    hub = Hub()
    seen = []
    inside = []

    def act(poster, number):
        inside.append(poster)
        seen.append((poster, number))
        assert len(inside) == 1
        inside.pop()

    def post(poster, count):
        for number in range(count):
            hub.post(act, poster, number)

    threads = [threading.Thread(target=post, args=item) for item in enumerate(counts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drive(hub)
    hub.stop()
    hub.abandon()
    for poster, count in enumerate(counts):
        assert [n for p, n in seen if p == poster] == list(range(count))
    assert not inside


def test_what_a_batch_posts_is_part_of_it(hub):
    batches = []
    hub.on_batch = lambda: batches.append(len(seen))
    seen = []
    elsewhere(lambda: hub.post(lambda: (seen.append(1), hub.post(seen.append, 2))))
    assert seen == [1, 2]
    assert batches == [2]


def test_a_batch_goes_on_while_its_end_posts(hub):
    seen = []

    def end():
        if len(seen) < 3:
            hub.post(seen.append, len(seen))

    hub.on_batch = end
    elsewhere(lambda: hub.post(seen.append, "first"))
    assert seen == ["first", 1, 2]


def test_an_action_that_fails_harms_no_other(hub, caplog):
    seen = []

    def fail():
        raise ValueError("ours")

    drive(hub, fail, lambda: seen.append(1))
    assert seen == [1]
    assert "please report this" in caplog.text


def test_timers_in_their_order(hub):
    seen = []
    now = time.monotonic()

    def begin():
        for seconds in (0.02, 0.0, 0.01):
            hub.at(now + seconds, lambda seconds=seconds: seen.append(seconds))
        hub.at(now + 0.03, awaited.finish)

    awaited = Awaited(hub)
    hub.drive(awaited, begin)
    assert seen == [0.0, 0.01, 0.02]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=20))
def test_timers_run_by_time_then_by_age_unless_cancelled(entries):
    hub = Hub()
    seen = []
    start = time.monotonic()

    def begin():
        for number, (moment, keep) in enumerate(entries):
            timer = hub.at(start - 10 + moment, lambda n=number: seen.append(n))
            if not keep:
                timer.cancel()
                timer.cancel()
        hub.at(start, awaited.finish)

    awaited = Awaited(hub)
    hub.drive(awaited, begin)
    hub.stop()
    hub.abandon()
    kept = [number for number, (_, keep) in enumerate(entries) if keep]
    assert seen == sorted(kept, key=lambda number: (entries[number][0], number))


def test_cancelled_timers_do_not_pile_up(hub):
    def begin():
        far = time.monotonic() + 1000
        for _ in range(10_000):
            hub.at(far, lambda: None).cancel()
        awaited.finish()

    awaited = Awaited(hub)
    hub.drive(awaited, begin)
    assert len(hub._agenda) < 5_000


def test_an_earlier_timer_wakes_the_poller(hub):
    awaited = Awaited(hub)
    polling = threading.Event()

    def add():
        polling.wait()
        hub.post(lambda: hub.at(time.monotonic() + 0.01, awaited.finish))

    thread = threading.Thread(target=add)
    thread.start()
    hub.drive(awaited, polling.set)
    thread.join()
    assert awaited.finished


def test_descriptors(hub):
    read, write = os.pipe()
    seen = []

    def ready(mask):
        assert not hub.may_wait()
        assert mask & select.EPOLLIN
        seen.append(os.read(read, 10))
        hub.unwatch(read)
        hub.unwatch(read)
        awaited.finish()

    awaited = Awaited(hub)
    thread = threading.Thread(target=lambda: os.write(write, b"news"))
    hub.drive(awaited, lambda: (hub.watch(read, ready), thread.start()))
    thread.join()
    os.close(read)
    os.close(write)
    assert seen == [b"news"]


def test_a_watch_can_be_changed(hub):
    read, write = os.pipe()
    seen = []
    awaited = Awaited(hub)

    def writable(mask):
        seen.append(mask)
        hub.unwatch(write)
        awaited.finish()

    def begin():
        hub.watch(write, lambda mask: seen.append("first"), 0)
        hub.watch(write, writable, select.EPOLLOUT)

    hub.drive(awaited, begin)
    os.close(read)
    os.close(write)
    assert seen == [select.EPOLLOUT]


def test_a_handler_that_fails_harms_nothing(hub, caplog):
    read, write = os.pipe()
    awaited = Awaited(hub)

    def fail(mask):
        hub.unwatch(read)
        hub.post(awaited.finish)
        raise ValueError("ours")

    os.write(write, b"x")
    hub.drive(awaited, lambda: hub.watch(read, fail))
    os.close(read)
    os.close(write)
    assert "please report" in caplog.text


def test_a_descriptor_that_others_have_closed(hub):
    read, write = os.pipe()
    drive(hub, lambda: hub.watch(read, lambda mask: None))
    os.close(read)
    os.close(write)
    drive(hub, lambda: hub.unwatch(read))


def test_one_poller_at_a_time_and_hand_over(hub):
    # The first one's run ends first, so the second has to poll from then on.
    first, second = Awaited(hub), Awaited(hub)
    began = threading.Event()
    thread = threading.Thread(target=hub.drive, args=(first, began.set))
    thread.start()
    assert began.wait(60)
    other = threading.Thread(
        target=hub.drive,
        args=(
            second,
            lambda: (
                hub.active(2),
                hub.at(
                    time.monotonic() + 0.02, lambda: (first.finish(), hub.active(-1))
                ),
                hub.at(
                    time.monotonic() + 0.04, lambda: (second.finish(), hub.active(-1))
                ),
            ),
        ),
    )
    other.start()
    thread.join(60)
    other.join(60)
    assert not thread.is_alive()
    assert not other.is_alive()


def test_runs_that_nobody_waits_for_are_attended(hub):
    done = threading.Event()

    def begin():
        hub.active(1)
        hub.at(time.monotonic() + 0.01, lambda: (done.set(), hub.active(-1)))

    hub.post(begin)
    hub.attend()
    assert done.wait(60)
    assert hub._background.name == "entangle-loop"


def test_timers_without_runs_are_attended(hub):
    # What trims idle workers long after the last run.
    done = threading.Event()
    drive(hub, lambda: hub.at(time.monotonic() + 0.01, done.set))
    assert done.wait(60)


def test_driving_from_within(hub):
    raised = []

    def nested():
        try:
            hub.drive(Awaited(hub), lambda: None)
        except RuntimeError as error:
            raised.append(str(error))

    drive(hub, nested)
    assert "can't be run here" in raised[0]


def test_stop_ends_the_background_thread(hub):
    hub.post(hub.active, 1)
    hub.attend()
    thread = hub._background
    hub.stop()
    assert not thread.is_alive()
    hub.stop()
    hub.attend()
    hub.post(print)  # nobody is there; nothing blocks


def test_stop_from_the_background_thread(hub):
    stopped = threading.Event()
    hub.post(lambda: None)
    hub.attend()
    thread = hub._background

    def stop():
        hub._closed = True
        stopped.set()

    hub.post(stop)
    hub.attend()
    assert stopped.wait(60)
    hub._closed = True
    hub._bell.ring()
    thread.join(60)
    assert not thread.is_alive()


def test_abandoned_in_a_forked_child():
    hub = Hub()
    hub.abandon()
    hub.abandon()
    hub.attend()
    hub._ring()
    assert hub._background is None


class Talker:
    """Somebody whose answers are always due, and mostly there."""

    def __init__(self, news=True):
        self.socket, self.other = socket.socketpair()
        self.socket.setblocking(False)
        self.news = news
        self.peeks = 0

    def peek(self):
        self.peeks += 1
        if self.news:
            self.other.send(b"x")
        return self.news

    def close(self):
        self.socket.close()
        self.other.close()


@pytest.fixture
def talker(request):
    made = Talker(*getattr(request, "param", ()))
    yield made
    made.close()


def test_near_news_is_handled_without_looking_further(hub, talker):
    seen = []
    awaited = Awaited(hub)

    def handler(events):
        seen.append(talker.socket.recv(100))
        if len(seen) == 100:
            awaited.finish()

    hub.watch(talker.socket.fileno(), handler)
    hub.near = talker
    hub.drive(awaited, lambda: None)
    assert seen == [b"x"] * 100
    assert talker.peeks > 50


def test_somebody_near_does_not_hide_the_others(hub, talker):
    read, write = os.pipe()
    awaited = Awaited(hub)
    hub.watch(talker.socket.fileno(), lambda events: talker.socket.recv(100))
    hub.watch(read, lambda events: awaited.finish())
    os.write(write, b"x")
    hub.near = talker
    hub.drive(awaited, lambda: None)
    hub.unwatch(read)
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("talker", [(False,)], indirect=True)
def test_somebody_near_who_says_nothing(hub, talker):
    read, write = os.pipe()
    awaited = Awaited(hub)
    hub.watch(read, lambda events: awaited.finish())
    hub.near = talker
    hub._polled = time.monotonic()
    writer = threading.Timer(0.02, os.write, (write, b"x"))
    writer.start()
    hub.drive(awaited, lambda: None)
    writer.join()
    hub.unwatch(read)
    os.close(read)
    os.close(write)
    assert talker.peeks


def test_somebody_near_who_has_left(hub, talker):
    awaited = Awaited(hub)
    talker.close()
    hub.near = talker
    hub.drive(awaited, lambda: hub.at(time.monotonic() + 0.05, awaited.finish))


def test_a_bell_that_is_about_to_be_rung_keeps_its_number():
    """What is opened meanwhile must not be written to in its place."""
    hub = Hub()
    descriptor = hub._bell.descriptor
    about_to = hub._bell.ring
    hub.stop()
    hub.abandon()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
    try:
        assert descriptor not in others
        about_to()
    finally:
        for other in others:
            os.close(other)
    del about_to
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_hub_that_was_abandoned_is_deaf():
    hub = Hub()
    hub.stop()
    hub.abandon()
    hub.post(print)
    hub.attend()
    hub._ring()
