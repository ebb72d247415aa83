"""How a failed attempt is followed by another."""

from engine_kit import Bench

from entangle._engine_deadlines import LONGEST_SLEEP, Jitter
from entangle._engine_items import SLEEPING, SUCCEEDED, WAITING
from entangle.errors import ProcessRetryException


def retried(bench, item, *errors):
    for error in errors:
        bench.fail(item, error)
        bench.wake(1e7)
    return item


def test_a_failed_call_is_tried_again_at_once():
    bench = Bench(workers=1)
    a = bench.add("a", retry=2)
    b = bench.add("b", a, root=True)
    bench.add("c", root=True)
    bench.begin()
    assert bench.starts() == ["a"]
    bench.fail(a)
    assert bench.starts() == ["a"]
    assert a.attempt == 2
    assert b.status == WAITING
    bench.succeed(a, 1)
    assert a.status == SUCCEEDED
    assert bench.alarms() == []


def test_arguments_are_kept_while_an_attempt_is_left():
    bench = Bench()
    a = bench.add("a")
    b = bench.add("b", a, retry=1, sleep=1.0, root=True)
    bench.begin()
    bench.succeed(a, 1)
    bench.fail(b)
    assert a.value == 1
    bench.wake(1.2)
    bench.succeed(b, 2)
    assert a.value is None


def test_no_worker_is_held_while_an_attempt_sleeps():
    bench = Bench(workers=1)
    a = bench.add("a", retry=1, sleep=3.0, root=True)
    bench.add("b", root=True)
    bench.begin()
    bench.fail(a)
    assert bench.starts() == ["b"]
    (delay,) = bench.alarms()
    assert 2.7 <= delay <= 3.3
    bench.wake(2.6)
    assert a.status == SLEEPING
    bench.wake(0.7)
    assert a.state == "ready"  # b has the only worker


def test_sleep_grows_by_backoff_with_jitter():
    bench = Bench(seed=7)
    a = bench.add("a", retry=4, sleep=2.0, backoff=3.0, root=True)
    bench.begin()
    delays = []
    for _ in range(4):
        bench.fail(a)
        delays += bench.alarms()
        bench.wake(100.0)
    factors = [d / (2.0 * 3.0**k) for k, d in enumerate(delays)]
    assert all(0.9 <= f <= 1.1 for f in factors)
    assert len(set(factors)) == 4


def test_sleep_is_bounded():
    bench = Bench()
    a = bench.add("a", retry=9, sleep=1.0, backoff=1e99, root=True)
    bench.begin()
    delays = []
    for _ in range(5):
        bench.fail(a)
        delays += bench.alarms()
        bench.wake(2 * LONGEST_SLEEP)
    assert delays[1:] == [LONGEST_SLEEP] * 4


def test_jitter_is_seeded_and_spread():
    first = [Jitter(1).factor() for _ in range(3)]
    stream = Jitter(2)
    many = [stream.factor() for _ in range(1000)]
    assert len(set(first)) == 1
    assert many[0] != first[0]
    assert 0.9 <= min(many) < 0.91
    assert 1.09 < max(many) <= 1.1
    assert 0.99 < sum(many) / 1000 < 1.01


def test_when_attempts_are_used_up_the_last_error_is_raised_as_itself():
    bench = Bench(name=lambda node: f"task {node}")
    a = bench.add("a", retry=2, root=True)
    bench.begin()
    own_cause, own_context = KeyError("why"), KeyError("when")
    errors = [ValueError(n) for n in range(3)]
    errors[2].__cause__ = own_cause
    errors[2].__context__ = own_context
    retried(bench, a, *errors)
    assert bench.engine.error is errors[2]
    account = errors[2].__cause__
    assert isinstance(account, ProcessRetryException)
    assert account.attempts == 3
    assert account.errors == tuple(errors)
    assert account.node == "task a"
    assert account.__cause__ is own_cause
    assert account.__context__ is own_context
    assert account.__suppress_context__


def test_the_context_of_an_error_without_cause_stays_visible():
    bench = Bench()
    a = bench.add("a", retry=1, root=True)
    bench.begin()
    last = ValueError(2)
    last.__context__ = KeyError("when")
    retried(bench, a, ValueError(1), last)
    account = last.__cause__
    assert account.__context__ is last.__context__
    assert not account.__suppress_context__


def test_retry_error_raises_the_account_instead():
    bench = Bench()
    a = bench.add("a", retry=1, retry_error=True, root=True)
    bench.begin()
    errors = [ValueError(1), ValueError(2)]
    retried(bench, a, *errors)
    account = bench.engine.error
    assert isinstance(account, ProcessRetryException)
    assert account.errors == tuple(errors)
    assert account.__cause__ is errors[1]


def test_without_retries_errors_stay_as_they_are():
    bench = Bench()
    a = bench.add("a", retry_error=True, root=True)
    bench.begin()
    error = bench.fail(a)
    assert bench.engine.error is error
    assert error.__cause__ is None


def test_an_error_that_is_not_to_be_retried_is_final():
    bench = Bench()
    a = bench.add("a", retry=5, retry_on=(OSError,), retry_error=True, root=True)
    bench.begin()
    error = bench.fail(a)
    assert bench.engine.error is error
    assert error.__cause__ is None


def test_an_error_that_ends_the_retries_keeps_their_account():
    bench = Bench()
    a = bench.add("a", retry=5, retry_on=(OSError,), retry_error=True, root=True)
    bench.begin()
    first, last = OSError(1), ValueError(2)
    retried(bench, a, first, last)
    assert bench.engine.error is last
    assert last.__cause__.errors == (first, last)


def test_interrupts_are_not_retried_by_default():
    bench = Bench()
    a = bench.add("a", retry=5, root=True)
    bench.begin()
    error = bench.fail(a, KeyboardInterrupt())
    assert bench.engine.error is error


def test_the_driver_may_know_that_trying_again_is_pointless():
    bench = Bench()
    a = bench.add("a", retry=5, root=True)
    bench.begin()
    error = bench.fail(a, final=True)
    assert bench.engine.error is error


def test_an_error_may_refuse_attributes():
    class StubbornError(Exception):
        def __setattr__(self, name, value):
            raise RuntimeError(name)

    bench = Bench()
    a = bench.add("a", retry=1, root=True)
    bench.begin()
    last = StubbornError()
    retried(bench, a, ValueError(), last)
    assert bench.engine.error is last
    assert last.__cause__.attempts == 2
