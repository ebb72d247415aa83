"""Arrays between processes: ordinary, writable, and nobody else's."""

import array
import functools
import gc
import os
import pickle
import random
import sys
import threading

import numpy as np
import pytest
from life_kit import until, within

from entangle import data
from entangle._pool import pool as pools
from entangle._worker import codec, pieces
from entangle._worker.attach import Parcel
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process

MANY = 1 << 19  # items: far above what travels in a stream


def blocks():
    """Return how many blocks are in use, and how many bytes they have."""
    # What workers tell is heard by whoever waits for a run.
    gather(*[same(number) for number in range(4)])()
    number, nbytes, _ = pools.get().segments.usage()
    return number, nbytes


@pytest.fixture(autouse=True)
def _no_block_stays():
    gc.collect()
    gc.disable()  # nothing is left to it
    yield
    try:
        until(lambda: blocks() == (0, 0), 5)
    finally:
        gc.enable()


@process
def ones(count, dtype="float32"):
    return np.ones(count, dtype)


@process
def total(values):
    return float(values.sum())


@process
def same(values):
    return values


@process
def described(values):
    return values, values.flags.writeable, values.flags.owndata, values.strides


@process
def doubled_in_place(values):
    before = float(values.sum())
    values *= 2
    return before


@process
def keep_and_return(count):
    sys.kept = np.ones(count, np.float32)
    return sys.kept


@process
def made_in_place(count, *, keep=False):
    values = data.empty(count, np.float32)
    values.fill(1)
    if keep:
        sys.kept = values
    return values


@process
def spoil_what_was_kept():
    sys.kept[:] = 99
    return float(sys.kept.sum())


def test_an_array_arrives_as_it_was_sent():
    sent = np.arange(MANY, dtype=np.int64)
    got = same(sent)()
    assert isinstance(got, np.ndarray)
    assert got.flags.writeable
    np.testing.assert_array_equal(got, sent)
    got[0] = 77
    assert sent[0] == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.empty(0),
        lambda: np.float64(3.5),
        lambda: np.arange(MANY)[::2],
        lambda: np.asfortranarray(np.arange(MANY).reshape(1024, -1)),
        lambda: np.arange(MANY).reshape(1024, -1).T,
        lambda: np.arange(MANY).reshape(1024, -1)[:, 3:9],
        lambda: np.broadcast_to(np.arange(1000), (1000, 1000)),
        lambda: np.array([["a", None], [{}, 2]], dtype=object),
        lambda: np.zeros(MANY, dtype=[("x", "<i4"), ("y", "<f8", 3)]),
        lambda: np.ma.masked_less(np.arange(MANY), 5),
        lambda: np.rec.array([(1, 2.0)] * 9000),
        lambda: np.full(MANY, "text"),
        lambda: array.array("d", range(MANY)),
    ],
)
def test_arrays_of_all_kinds(make):
    sent = make()
    got, *_ = described(sent)() if isinstance(sent, np.ndarray) else (same(sent)(),)
    assert type(got) is type(sent)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(sent))
    if isinstance(sent, np.ndarray):
        assert got.dtype == sent.dtype
        assert got.shape == sent.shape


def test_writability_is_that_of_the_producer():
    sent = np.ones(MANY)
    sent.flags.writeable = False
    _, inside, *_ = described(sent)()
    assert inside is False
    assert same(sent)().flags.writeable is False
    sent.flags.writeable = True
    assert same(sent)().flags.writeable is True


@pytest.mark.parametrize("kind", [bytes, bytearray, str])
def test_long_bytes_and_texts(kind):
    sent = kind("x" * (1 << 20)) if kind is str else kind(b"x" * (1 << 20))
    assert same(sent)() == sent


def test_memoryviews_are_copied():
    sent = memoryview(bytes(MANY))[::2]
    assert same(sent)() == sent


def test_many_arrays_in_one_value():
    sent = {number: np.full(10_000, number) for number in range(300)}
    sent["again"] = sent[7]
    got = same(sent)()
    assert got["again"] is got[7]
    for number in range(300):
        assert (got[number] == number).all()


def test_no_task_sees_what_another_changes():
    values = ones(MANY)
    runs = gather(*[doubled_in_place(values) for _ in range(8)], total(values))
    assert runs() == [MANY] * 9


def test_the_producer_sees_nothing_of_it_and_nobody_sees_the_producer(tmp_path):
    values = keep_and_return(MANY)
    assert doubled_in_place(values)() == MANY
    got = made_in_place(MANY, keep=True)()
    everywhere(try_to_spoil, tmp_path)
    assert got.sum() == MANY
    everywhere(forget, tmp_path)


def meet(folder):
    """Wait until every worker has a call: this is one of them."""
    (folder / str(os.getpid())).touch()
    until(lambda: len(list(folder.iterdir())) == int(folder.name))


def everywhere(function, tmp_path):
    """Run a function once in each worker."""
    capacity = pools.get().capacity
    folder = tmp_path / function.name / str(capacity)
    folder.mkdir(parents=True)
    return gather(*[function(folder) for _ in range(capacity)])()


@process
def try_to_spoil(folder):
    meet(folder)
    kept = getattr(sys, "kept", None)
    if kept is not None:
        kept[:] = 99


@process
def forget(folder):
    meet(folder)
    sys.kept = None


def test_who_made_an_array_in_place_may_go_on_using_it():
    """In the caller, so that it is certain who has it."""
    values = data.empty(MANY, np.float32)
    values[:] = 1
    run = total(values).submit()
    assert run.result() == MANY
    values[:] = 2
    assert total(values)() == 2 * MANY
    values[5] = 3
    assert total(values)() == 2 * MANY + 1
    assert values[:6].tolist() == [2, 2, 2, 2, 2, 3]


def test_one_array_for_eight_tasks_is_stored_once():
    values = np.ones(MANY, np.float32)
    future = gather(*[hold(values, None) for _ in range(8)]).submit()
    assert future.result() == [MANY] * 8
    shared = most_blocks(lambda: gather(*[total(values) for _ in range(8)])())
    assert shared == 1


def most_blocks(action):
    """Return how many blocks were granted while something ran."""
    store = pools.get().segments
    granted = []
    grant = store.grant

    def counting(holder, nbytes):
        granted.append(nbytes)
        return grant(holder, nbytes)

    store.grant = counting
    try:
        action()
    finally:
        del store.grant
    return len(granted)


@process
def hold(values, _):
    return float(values.sum())


def test_what_is_passed_on_unchanged_is_not_copied():
    assert most_blocks(lambda: total(same(same(ones(MANY))))()) == 1


def test_nor_is_a_part_of_it():
    assert most_blocks(lambda: total(middle(ones(MANY)))()) == 1
    assert total(middle(ones(MANY)))() == MANY - 2000


@process
def middle(values):
    return values[1000:-1000]


def test_what_was_changed_is_copied():
    def run():
        assert total(changed(ones(MANY)))() == MANY + 6

    assert most_blocks(run) == 2


@process
def changed(values):
    values[1000] = 7
    return values


def test_what_is_made_in_place_is_not_copied():
    assert most_blocks(lambda: total(made_in_place(MANY))()) == 1
    assert total(made_in_place(MANY))() == MANY


def test_a_value_of_a_thread_is_stored_once_for_all_processes():
    @thread
    def local():
        return np.ones(MANY, np.float32)

    @workflow
    def fan(values):
        return gather(*[total(values) for _ in range(4)])

    assert fan(local())() == [MANY] * 4
    values = local()
    count = most_blocks(lambda: gather(*[total(values) for _ in range(4)])())
    assert count == 1


def test_inside_of_nested_runs():
    @process
    def outer(count):
        values = np.ones(count, np.float32)
        inner = gather(total(values), total(ones(count)), total(same(ones(count))))()
        return inner, same(values)(), made_in_place(count)()

    sums, one, two = outer(MANY)()
    assert sums == [MANY] * 3
    assert one.sum() == two.sum() == MANY


def test_memory_is_asked_for_while_a_nested_run_is_under_way():
    """Two threads of one task want to read its stream."""

    @process
    def outer(count):
        futures = [total(ones(count)).submit() for _ in range(6)]
        made = [data.empty(count, np.float32) for _ in range(6)]
        for values in made:
            values.fill(2)
        return [future.result() for future in futures], float(sum(map(np.sum, made)))

    assert outer(MANY)() == ([MANY] * 6, 12 * MANY)


def test_out_of_band_buffers_of_other_types():
    got = same(Holder(bytearray(b"y" * MANY)))()
    assert bytes(got.memory) == b"y" * MANY
    assert not memoryview(got.memory).readonly


class Holder:
    """What an Arrow table or a data frame does."""

    def __init__(self, memory):
        self.memory = memory

    def __reduce_ex__(self, protocol):
        return Holder, (pickle.PickleBuffer(self.memory),)


def test_tables_of_arrow():
    import pyarrow as pa

    table = pa.table({"n": range(MANY), "t": ["text"] * MANY})
    assert most_blocks(lambda: same(same(table))()) == 1
    got = same(table)()
    assert got.equals(table)
    got.validate(full=True)


def test_data_frames():
    import pandas as pd

    frame = pd.DataFrame({"n": np.arange(MANY), "x": np.ones(MANY)})
    got = same(frame)()
    pd.testing.assert_frame_equal(got, frame)
    got.loc[0, "x"] = 5.0
    assert frame.loc[0, "x"] == 1.0
    assert same(got)().loc[0, "x"] == 5.0


def test_arrays_and_buffers_in_shared_memory():
    grid = data.empty((300, 400), "<f4", order="F")
    assert grid.shape == (300, 400)
    assert grid.flags.f_contiguous
    assert grid.flags.writeable
    assert data.empty(5).dtype == float
    assert data.empty(()).shape == ()
    assert data.empty((0, 3)).size == 0
    assert data.buffer(0).nbytes == 0
    made = data.buffer(1 << 20)
    assert made.nbytes == 1 << 20
    assert not made.readonly
    with pytest.raises(ValueError, match="negative"):
        data.empty((3, -1))
    with pytest.raises(ValueError, match="negative"):
        data.buffer(-1)
    with pytest.raises(TypeError, match="objects"):
        data.empty(3, object)
    with pytest.raises(TypeError):
        data.empty("3")
    with pytest.raises(MemoryError, match="are available"):
        data.empty(1 << 50, np.uint8)


def test_a_task_is_told_when_there_is_not_so_much_memory():
    @process
    def greedy():
        return data.empty(1 << 50, np.uint8)

    with pytest.raises(MemoryError, match="are available"):
        greedy()()


def test_in_the_calling_thread_everything_works_without_shared_memory(monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    assert total(made_in_place(MANY))() == MANY


def test_where_shared_memory_cannot_be_used_the_stream_is(monkeypatch, caplog):
    store = pools.get().segments
    monkeypatch.setattr(store, "_warned", False)

    def refuse(*_):
        raise OSError(38, "Function not implemented")

    assert total(ones(10))() == 10  # the workers exist
    with monkeypatch.context() as patched:
        patched.setattr(os, "memfd_create", refuse)
        patched.setattr(store, "_small", lambda *_: None)
        patched.setattr(store, "_large", lambda *_: None)
        assert total(same(ones(MANY)))() == MANY
        assert total(np.ones(MANY))() == MANY
        assert total(made_in_place(MANY))() == MANY
        assert same(np.ones(MANY))().flags.writeable
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_memory_that_was_granted_and_is_not_there(monkeypatch, caplog):
    """As where a group's limit is met between the two: no signal, a copy instead."""
    store = pools.get().segments
    monkeypatch.setattr(store, "_warned", False)
    monkeypatch.setenv("ENTANGLE_TEST_NO_MEMORY", "1")
    assert total(with_memory_missing(MANY))() == MANY
    until(lambda: [record.levelname for record in caplog.records] == ["WARNING"])


@process(fresh=True)
def with_memory_missing(count):
    from entangle._worker import mapping

    def refuse(*_):
        raise OSError(12, "Cannot allocate memory")

    mapping.populate = refuse
    return np.ones(count, np.float32)


def test_a_frame_refers_to_what_is_the_worker_s():
    """What a task makes up is no way into the memory of others."""

    @process(fresh=True)
    def forge():
        from entangle._worker import main

        piece = pieces.Piece(
            pieces.Place(1 << 40, 0, 1, os.getpid(), 0),
            0,
            1 << 20,
            None,
            readonly=False,
        )
        from entangle._worker import frames

        answer = frames.pack(
            frames.RESULT,
            main.ANSWER.pack(main.current.running, 1),
            (b"data", piece),
        )
        main.current.send(answer)

    from entangle.errors import ProcessTerminatedException

    with pytest.raises(ProcessTerminatedException, match="shared memory of others"):
        forge()()


def test_a_task_s_partial_keeps_large_arguments_apart():
    table = np.ones(MANY, np.float32)
    scaled = process(functools.partial(np.dot, table))
    assert scaled(table)() == MANY


def test_a_run_that_fails_leaves_no_memory_to_the_collector():
    @process
    def boom(_):
        raise ValueError("no")

    @thread
    def join(*values):
        return len(values)

    values = ones(MANY)
    with pytest.raises(ValueError, match="no"):
        join(values, total(values), boom(same(values)), same(ones(MANY)))()
    until(lambda: blocks() == (0, 0))
    future = boom(ones(MANY)).submit()
    assert isinstance(future.exception(), ValueError)
    cancelled = join(ones(MANY), pause(same(ones(MANY)))).submit()
    until(lambda: blocks()[0] >= 1)
    cancelled.cancel()
    until(cancelled.done)
    until(lambda: blocks() == (0, 0))


@process
def pause(_):
    import signal

    signal.pause()


def test_a_value_that_a_thread_has_changed_is_sent_as_it_is_now():
    @thread
    def local():
        return np.zeros(MANY, np.float32)

    @thread
    def fill(values, _before):
        values.fill(1)
        return values

    values = local()
    before = total(values)
    after = total(fill(values, before))
    assert gather(before, after)() == [0, MANY]


def test_a_body_keeps_only_what_it_has():
    @process
    def loop():
        for _ in range(20):
            data.empty(1 << 23, "u1")
            ones(1 << 21)()
        return pieces.released is not None

    sizes = []

    def watch():
        while not done:
            sizes.append(pools.get().segments.usage()[1])

    done = []
    watcher = threading.Thread(target=watch)
    watcher.start()
    loop()()
    done.append(1)
    watcher.join()
    assert max(sizes) <= 6 << 23


def test_a_thread_that_a_body_has_left_may_ask_for_memory():
    @process
    def leave():
        def ask():
            for _ in range(300):
                data.empty(1 << 19, "u1")

        threading.Thread(target=ask, daemon=True).start()

    with within(60):
        for _ in range(5):
            leave()()
            for number in range(50):
                assert same(number)() == number


def test_the_shape_of_an_array_may_be_any_integer():
    assert data.empty(np.int64(5)).shape == (5,)
    assert data.empty(np.array(5)).shape == (5,)
    assert data.empty([2, np.int8(3)]).shape == (2, 3)


def test_threads_map_what_others_drop():
    parcels = []
    for number in range(80):
        blob = codec.encode(np.full(40_000 + 600 * number, float(number)))
        parcel = Parcel(blob.data, blob.buffers)
        same(1)()
        parcel.publish()
        parcels.append(parcel)
    wrong = []

    def work(seed):
        chosen = random.Random(seed)
        for _ in range(1500):
            number = chosen.randrange(len(parcels))
            values = codec.decode(parcels[number])
            if values[0] != number or values[-1] != number:
                wrong.append(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_a_fork_sees_no_changes_of_what_was_made_in_place():
    @process
    def fork():
        return changed_by_a_child()

    def changed_by_a_child():
        values = data.empty(MANY, np.float32)
        values.fill(1)
        child = os.fork()
        if not child:
            values.fill(9)
            os._exit(0)
        os.waitpid(child, 0)
        return float(values[0]), values

    for first, values in (fork()(), changed_by_a_child()):
        assert first == 1
        assert total(values)() == MANY


def test_workers_share_nothing_that_a_preloaded_module_has_made(tmp_path, monkeypatch):
    (tmp_path / "made_at_import.py").write_text(
        "from entangle import data\nTABLE = data.empty(1 << 20, 'u1')\nTABLE[:] = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    @process(preload=("made_at_import",), fresh=True)
    def change():
        import made_at_import

        before = int(made_at_import.TABLE[0])
        made_at_import.TABLE[0] += 1
        return before

    assert [change()() for _ in range(3)] == [1, 1, 1]
