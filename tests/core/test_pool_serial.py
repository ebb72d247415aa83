"""A thread that does one thing after the other."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._pool import serial as module
from entangle._pool.serial import Serial


def flush(serial):
    """Wait until everything given so far has been run."""
    done = threading.Event()
    serial.call(done.set)
    assert done.wait(60)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_in_the_order_given(counts):
    serial = Serial("test")
    seen = []
    threads = [
        threading.Thread(
            target=lambda who=who, count=count: [
                serial.call(seen.append, (who, number)) for number in range(count)
            ]
        )
        for who, count in enumerate(counts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flush(serial)
    serial.close()
    for who, count in enumerate(counts):
        assert [n for w, n in seen if w == who] == list(range(count))


def test_the_thread_starts_with_the_first_call_and_has_a_name():
    serial = Serial("test")
    assert serial._thread is None
    names = []
    serial.call(lambda: names.append(threading.current_thread().name))
    serial.close()
    assert names == ["entangle-test"]


def test_what_is_raised_is_logged_and_the_thread_goes_on(caplog):
    serial = Serial("test")
    seen = []
    for error in (ValueError("a"), SystemExit("b"), KeyboardInterrupt("c")):
        serial.call(_raise, error)
    serial.call(seen.append, 1)
    flush(serial)
    serial.close()
    assert seen == [1]
    failures = [record.exc_info[0] for record in caplog.records]
    assert failures == [ValueError, SystemExit, KeyboardInterrupt]


def _raise(error):
    raise error


def test_close_runs_what_is_left():
    serial = Serial("test")
    go, seen = threading.Event(), []
    serial.call(go.wait)
    serial.call(seen.append, 1)
    threading.Timer(0.01, go.set).start()
    serial.close(60)
    assert seen == [1]
    serial.close()
    # Late calls are still made, on a thread that ends with them.
    serial.call(seen.append, 2)
    serial.close(60)
    assert seen == [1, 2]


def test_close_gives_up_on_what_is_stuck():
    serial = Serial("test")
    go = threading.Event()
    serial.call(go.wait)
    serial.close(0.01)
    go.set()
    serial.close(60)


def test_close_from_its_own_thread():
    serial = Serial("test")
    serial.call(serial.close)
    flush(serial)
    serial.close()


def test_an_unused_thread_ends_and_another_follows(monkeypatch):
    monkeypatch.setattr(module, "_LINGER", 0.01)
    serial = Serial("test")
    threads = []

    def note():
        threads.append(threading.current_thread())

    serial.call(note)
    flush(serial)
    threads[0].join(60)
    assert not threads[0].is_alive()
    serial.call(note)
    serial.close()
    assert threads[0] is not threads[1]
