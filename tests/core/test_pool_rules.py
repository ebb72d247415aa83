"""Who may run when: limits, shared processors, keys of workers, moving means."""

import gc
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle._graph.options import Options, SchedulerOptions
from entangle._graph.scheduling import LowestFree
from entangle._pool import keys
from entangle._pool.jobs import Job, Payload, Prepared, frame
from entangle._pool.limits import Limits
from entangle._pool.scheduling import Group
from entangle._pool.serial import Serial
from entangle._pool.shipping import Shipped, Shipper
from entangle._pool.snapshot import Snapshots
from entangle._pool.worker import Key
from entangle._seam.call import Call
from entangle._worker import codec, functions
from entangle.errors import UnmetCapabilityError


def test_a_limit_lets_through_what_fits_then_in_order():
    limits, began = Limits(), []

    def enter(name):
        limits.enter("key", 2, lambda: began.append(name) or True)

    for name in "abcd":
        enter(name)
    limits.enter("other", 1, lambda: began.append("other") or True)
    assert began == ["a", "b", "other"]
    limits.leave("key")
    assert began[3:] == ["c"]
    limits.leave("key")
    limits.leave("key")
    limits.leave("key")
    limits.leave("other")
    assert began[4:] == ["d"]
    assert not limits._limits


def test_a_limit_passes_over_what_is_not_wanted_any_more():
    limits, began = Limits(), []
    limits.enter("key", 1, lambda: began.append("a") or True)
    limits.enter("key", 1, lambda: began.append("gone") or False)
    limits.enter("key", 1, lambda: began.append("b") or True)
    limits.leave("key")
    assert began == ["a", "gone", "b"]
    limits.leave("key")
    limits.enter("key", 1, lambda: False)
    assert not limits._limits


@given(st.integers(1, 4), st.lists(st.booleans(), max_size=30))
def test_never_more_than_the_limit(most, moves):
    limits, inside, began = Limits(), [], []

    def begin(number):
        inside.append(number)
        began.append(number)
        assert len(inside) <= most
        return True

    for number, move in enumerate(moves):
        if move:
            limits.enter("key", most, lambda number=number: begin(number))
        elif inside:
            inside.pop()
            limits.leave("key")
    assert began == sorted(began)


class Direct:
    """A serial that calls at once."""

    def call(self, function, *args):
        function(*args)


def group(count, chooser=None):
    def post(action, *args):
        action(*args)

    ids = tuple(range(count))
    made = Group(ids, chooser or LowestFree(ids), post, Direct())
    given = []
    return made, given, lambda: made.request(lambda *answer: given.append(answer))


def test_each_call_gets_a_processor_of_its_own():
    made, given, ask = group(2)
    for _ in range(3):
        ask()
    assert given == [(0, None), (1, None)]
    made.release(1)
    assert given[2:] == [(1, None)]


class Highest:
    def __init__(self, cpus):
        self.asked = []

    def choose(self, free):
        self.asked.append(free)
        return max(free)


def test_a_chooser_of_the_users():
    chooser = Highest((0, 1, 2))
    made, given, ask = group(3, chooser)
    for _ in range(4):
        ask()
    assert [cpu for cpu, _ in given] == [2, 1, 0]
    made.release(0)
    made.release(2)
    assert [cpu for cpu, _ in given] == [2, 1, 0, 0]
    assert chooser.asked[0] == {0, 1, 2}
    assert isinstance(chooser.asked[0], frozenset)


def test_a_chooser_that_fails_fails_that_call():
    class Failing:
        def choose(self, free):
            raise KeyError("lost")

    _, given, ask = group(1, Failing())
    ask()
    ((cpu, error),) = given
    assert cpu is None
    assert isinstance(error, KeyError)


@pytest.mark.parametrize("answer", [7, "0", 1.5])
def test_a_chooser_that_names_no_free_processor(answer):
    class Odd:
        def choose(self, free):
            return answer

    _, given, ask = group(2, Odd())
    ask()
    assert "none of the free processors [0, 1]" in str(given[0][1])
    assert "Odd.choose" in str(given[0][1])


def test_a_chooser_whose_answer_makes_no_sense():
    class Odd:
        def choose(self, free):
            return []

    _, given, ask = group(2, Odd())
    ask()
    assert isinstance(given[0][1], TypeError)


def test_a_chooser_that_waits():
    class Patient:
        def choose(self, free):
            return min(free) if len(free) == 2 else None

    made, given, ask = group(2, Patient())
    ask()
    ask()
    assert given == [(0, None)]
    made.release(0)
    assert given == [(0, None), (0, None)]


def test_a_chooser_that_waits_for_nothing():
    class Never:
        def choose(self, free):
            return None

    _, given, ask = group(2, Never())
    ask()
    ask()
    assert [type(error) for _, error in given] == [RuntimeError, RuntimeError]
    assert "never start" in str(given[0][1])


def test_one_decision_at_a_time():
    serial, posted = Serial("scheduler"), []
    going, go = threading.Event(), threading.Event()

    class Slow(Highest):
        def choose(self, free):
            going.set()
            go.wait(60)
            return super().choose(free)

    chooser = Slow((0, 1))
    made = Group(
        (0, 1), chooser, lambda action, *args: posted.append((action, args)), serial
    )
    given = []
    for _ in range(2):
        made.request(lambda *answer: given.append(answer))
    assert going.wait(60)
    go.set()
    serial.close(60)
    assert len(chooser.asked) == 1
    while posted:
        action, args = posted.pop()
        action(*args)
        serial.close(60)
    assert given == [(1, None), (0, None)]


class FakePool:
    capacity = 2
    relayed = False

    def __init__(self):
        self.asked = []
        self.snapshots = Snapshots()

    def group(self, options):
        self.asked.append(options)
        return "group"


def prepare(pool=None, *, by_value=False, **options):
    shipped = Shipped(1, b"d", b"", by_value=by_value)
    return keys.prepare(Options(**options), shipped, None, pool or FakePool(), "name")


def test_keys_of_workers():
    plain = prepare()
    assert (plain.cpus, plain.payload, plain.group) == (1, None, None)
    assert plain.key.settings() == {
        "env": None,
        "cwd": None,
        "nice": None,
        "cpus": None,
    }
    again = prepare()
    assert plain.key == again.key
    assert hash(plain.key) == hash(again.key)
    for option in ({"nice": 1}, {"cwd": "/"}, {"env": (("A", "1"),)}, {"fresh": True}):
        assert prepare(**option).key != plain.key
    assert plain.key != "key"


def test_fresh_workers_hold_what_was_asked_for():
    key = prepare(fresh=True, preload=("json",)).key
    assert key.fresh
    assert key.preload[-1] == "json"
    assert "cloudpickle" in prepare(fresh=True, by_value=True).key.preload
    assert "cloudpickle" not in key.preload


def test_reserved_processors_are_bounded_by_the_machine():
    assert prepare(cpus=1).cpus == 1
    assert prepare(cpus=10_000).cpus == 2


def test_tasks_with_an_equal_scheduler_share_its_group():
    pool, asked = FakePool(), SchedulerOptions(2, Highest)
    assert prepare(pool, scheduler=asked).group == "group"
    assert pool.asked == [asked]


def test_a_scheduler_of_the_users_is_not_to_be_had_inside_of_a_task():
    pool = FakePool()
    pool.relayed = True
    assert prepare(pool, scheduler=SchedulerOptions(2)).group is None
    with pytest.raises(UnmetCapabilityError, match="inside of a task"):
        prepare(pool, scheduler=SchedulerOptions(2, Highest))


def test_means_of_times():
    shipped = Shipped(1, b"d", b"", by_value=False)
    shipped.took(100)
    assert shipped.mean_ns == 100
    shipped.took(200)
    assert shipped.mean_ns == 125
    shipped.took(10_000_000)
    assert shipped.mean_ns == 10_000_000
    shipped.took(0)
    assert shipped.mean_ns == 7_500_000


def test_functions_are_numbered_by_content():
    shipper = Shipper()
    first, again = shipper.ship(len), shipper.ship(len)
    assert first is again
    assert not first.by_value
    assert functions.decode_function(first.data) is len
    other = shipper.ship(lambda: 3)
    assert other.by_value
    assert other.number != first.number
    assert shipper.adopt(first.digest, first.data, by_value=False) is first


def test_functions_that_nobody_uses_are_forgotten():
    shipper = Shipper()
    numbers = set()
    for n in range(300):
        numbers.add(shipper.adopt(b"%d" % n, b"", by_value=True).number)
    gc.collect()
    assert shipper.forgotten(numbers) == sorted(numbers)[:44]
    assert shipper.forgotten(set()) == []


def test_a_function_that_does_not_pickle():
    lock = threading.Lock()
    with pytest.raises(codec.EncodeError, match="lock"):
        Shipper().ship(lambda: lock)


def test_snapshots_change_with_the_state(monkeypatch, tmp_path):
    snapshots = Snapshots()
    first = snapshots.now()
    assert snapshots.now() is first
    monkeypatch.setenv("SNAPSHOT", "1")
    second = snapshots.now()
    assert second.number == first.number + 1
    assert snapshots.now() is second
    monkeypatch.chdir(tmp_path)
    state = codec.decode(codec.Blob(snapshots.now().data, ()))
    assert state["cwd"] == str(tmp_path)
    assert state["environ"][b"SNAPSHOT"] == b"1"
    assert snapshots.now().number == 3


def test_a_snapshot_without_what_does_not_pickle(monkeypatch):
    import warnings

    class Local(UserWarning):
        def __reduce_ex__(self, protocol):
            raise TypeError

    class Meta(type):
        def __reduce_ex__(cls, protocol):
            raise TypeError("stays here")

    odd = Meta("Odd", (UserWarning,), {})
    monkeypatch.setattr(warnings, "filters", [("error", None, odd, None, 0)])
    state = codec.decode(codec.Blob(Snapshots().now().data, ()))
    assert state["filters"] is None or len(state["filters"]) <= 1


def test_the_umask_is_read_and_left_as_it_is(monkeypatch):
    import os

    from entangle._pool import snapshot

    before = os.umask(0o027)
    try:
        umask = snapshot._Umask()
        assert umask.read() == umask.read() == 0o027
        assert os.umask(0o022) == 0o027
        assert umask.read() == 0o022
        for file in ("/no/such/file", "/dev/null"):
            monkeypatch.setattr(snapshot, "_STATUS", file)
            assert snapshot._Umask().read() == 0o022
        assert os.umask(before) == 0o022
    finally:
        os.umask(before)


def prepared(**more):
    key = Key(None, None, None, None, (), fresh=more.pop("fresh", False))
    shipped = Shipped(5, b"d", b"", by_value=False)
    shipped.mean_ns = more.pop("mean", 1000.0)
    values = {"shipped": shipped, "snapshot": None, "key": key, "cpus": 1, **more}
    return Prepared(**values)


def job(call=None, **more):
    made = Job(call or Call(len, ("abc",)), prepared(**more), plain=False)
    made.number = 9
    return made


def test_which_calls_are_tiny():
    assert job().tiny()
    assert not job(mean=None).tiny()
    assert not job(mean=600_000.0).tiny()
    assert not job(cpus=2).tiny()
    assert not job(fresh=True).tiny()
    assert not job(payload=Payload(b"", 0, [], [])).tiny()
    assert not job(group=object()).tiny()
    assert not job(Call(len, wants_start=True)).tiny()


def test_frames_of_jobs():
    body, buffers, flags = frame([job(), job()])
    assert not buffers
    assert not flags
    assert pickle.loads(body) == [(9, 5, ("abc",), None, 0)] * 2
    marked = job(Call(len, wants_start=True), is_async=True)
    marked.token = True
    (entry,) = pickle.loads(frame([marked])[0])
    assert entry[4] == 7
    rich = job(payload=Payload(b"args", 1, [b"x" * 10], []))
    body, buffers, flags = frame([rich])
    assert pickle.loads(body) == [(9, 5, b"args", 1, 8)]
    assert [bytes(each) for each in buffers] == [b"x" * 10]
