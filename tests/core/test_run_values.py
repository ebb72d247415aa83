"""Values between calls: encoded until needed, shared once, rebuilt as they were."""

import threading

import pytest

from entangle._run.arguments import Encoder, payload
from entangle._run.values import Encoded, Parts, assemble, objects, parcels
from entangle._worker import codec
from entangle._worker.attach import Parcel
from entangle.errors import TaskError, UnpicklableError
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread


def encoded(value):
    blob = codec.encode(value)
    return Encoded(Parcel(blob.data, blob.buffers))


class Broken:
    def __reduce__(self):
        return int, ("nonsense",)


class Counted:
    """Counts how often it is pickled."""

    pickled = 0

    def __init__(self, filling=b""):
        self.filling = filling

    def __reduce__(self):
        Counted.pickled += 1
        return bytes, (self.filling,)


def test_an_encoded_value_is_decoded_once():
    value = encoded([1, [2]])
    assert value.object() == [1, [2]]
    assert value.object() is value.object()
    assert objects(value) is value.object()
    assert parcels(value) is value.parcel


def test_an_encoded_value_is_decoded_once_for_all_threads():
    value = encoded([1])
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.append(value.object())) for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(set(map(id, seen))) == 1


def test_what_cannot_be_rebuilt():
    value = encoded(Broken())
    for _ in range(2):
        with pytest.raises(TaskError, match="can't be rebuilt") as caught:
            value.object()
    assert "nonsense" in str(caught.value)


def test_structures_with_encoded_parts():
    node = thread(int)()
    value = encoded([1])
    plain = [node, (3,)]
    assert assemble(plain, lambda _: 7) == [7, (3,)]
    assert assemble(node, lambda _: value) is value
    parts = assemble([node, {"k": (node,)}], lambda _: value)
    assert type(parts) is Parts
    whole = objects(parts)
    assert whole == [[1], {"k": ([1],)}]
    assert whole[0] is whole[1]["k"][0]
    assert parcels(parts) == [value.parcel, {"k": (value.parcel,)}]
    kept = [1, [2]]
    assert assemble(kept, None) is kept
    assert objects(kept) is kept
    assert parcels(kept) is kept


# -- the encoder -----------------------------------------------------------------


@process
def take(conf, *rest, **more):
    return conf


class Bench:
    """An encoder, and what is encoded for nodes that are added together."""

    def __init__(self, number=None):
        self.encoder = Encoder(number)
        self.batch = {}

    def prepare(self, node):
        self.encoder.prepare(node, self.batch)
        return node

    def quick(self, node):
        return self.encoder.quick(node, node.args, node.kwargs)


def numbers():
    return iter(range(1, 100)).__next__


def test_plain_arguments_are_not_encoded():
    bench = Bench()
    plain = bench.prepare(take(1, "a", None))
    assert bench.quick(plain) == (True, (1, "a", None), None, False)
    small = bench.prepare(take([1, 2], c=(3,)))
    assert bench.quick(small) == (True, ([1, 2],), {"c": (3,)}, False)
    assert bench.batch == {}


def test_objects_are_encoded_ahead_once():
    Counted.pickled = 0
    bench, value = Bench(numbers()), Counted(b"x")
    bench.prepare(take(value))
    node = bench.prepare(take(0, value, k=value))
    assert Counted.pickled == 1
    complete, args, kwargs, has_parcels = bench.quick(node)
    assert (complete, has_parcels) == (True, True)
    assert type(args[1]) is Parcel
    assert kwargs["k"] is args[1]
    assert bench.encoder.numbers == set()
    bench.encoder.forget(node)
    assert bench.quick(node)[0] is False


def test_a_large_object_of_several_calls_is_shared():
    bench, value = Bench(numbers()), Counted(bytes(100_000))
    node = bench.prepare(take(value))
    assert bench.encoder.numbers == set()
    bench.prepare(take(value))
    bench.prepare(take(value))
    assert bench.encoder.numbers == {1}
    assert bench.quick(node)[1][0].number == 1
    # Inside of a worker there is nobody to share with.
    inside = Bench()
    node = inside.prepare(take(value))
    inside.prepare(take(value))
    assert inside.quick(node)[1][0].number == 0


def test_no_more_than_so_much_is_encoded_ahead(monkeypatch):
    monkeypatch.setattr(Encoder, "AHEAD", 10)
    bench = Bench()
    first = bench.prepare(take(Counted(bytes(100))))
    second = bench.prepare(take(Counted(b"x")))
    assert type(bench.quick(first)[1][0]) is Parcel
    complete, (kept,), _, has_parcels = bench.quick(second)
    assert (complete, has_parcels) == (False, False)
    assert kept is second.args[0]


def test_what_holds_nodes_is_encoded_late():
    bench = Bench()
    bench.prepare(take([thread(int)(), Counted()]))
    assert bench.batch == {}


def test_encoded_values_are_passed_on_without_a_look():
    node, encoder, value = take(1), Encoder(None), encoded(Broken())
    assert encoder.quick(node, (value,), None) == (True, (value.parcel,), None, True)
    parts = Parts([value, {"k": (value, 1)}, {2}, Parts([value])])
    complete, args, _, has_parcels = encoder.quick(node, (parts,), None)
    assert (complete, has_parcels) == (True, True)
    assert args[0][1] == {"k": (value.parcel, 1)}
    odd = Parts([value, Counted()])
    assert encoder.quick(node, (odd,), None)[0] is False


def test_structures_that_contain_themselves():
    knot = [encoded([1])]
    knot.append(knot)
    encoder = Encoder(None)
    assert encoder.quick(take(1), (Parts(knot),), None)[0] is True
    twice = [encoded([1])]
    for _ in range(60):
        twice = [twice, twice]
    assert encoder.quick(take(1), (Parts(twice),), None)[0] is True


@pytest.mark.parametrize(
    ("build", "path"),
    [
        (take, "argument 'conf'"),
        (lambda lock: take({"a": [lock]}), "argument 'conf'['a'][0]"),
        (lambda lock: take(1, 2, lock), "argument 3"),
        (lambda lock: take(1, k=(lock,)), "argument 'k'[0]"),
        (lambda lock: take(_holder(lock)), "argument 'conf'.lock"),
    ],
)
def test_what_does_not_pickle_is_named_before_anything_runs(build, path):
    ran = []
    node = build(threading.Lock())
    both = gather(thread(ran.append)(1), node)
    with pytest.raises(UnpicklableError, match="lock") as caught:
        both()
    assert caught.value.path == path
    assert caught.value.node == "take"
    assert ran == []


class _Holder:
    def __init__(self, lock):
        self.lock = lock


_holder = _Holder


def test_what_does_not_pickle_and_is_made_by_a_task():
    make = thread(threading.Lock)
    with pytest.raises(UnpicklableError) as caught:
        take(make())()
    assert caught.value.path == "argument 'conf'"
    with pytest.raises(UnpicklableError) as caught:
        take([1, {"k": make()}])()
    assert caught.value.path == "argument 'conf'[1]['k']"
    assert take(4)() == 4


def test_a_payload_names_the_argument():
    with pytest.raises(UnpicklableError) as caught:
        payload((1, threading.Lock()), None, lambda a, b: None, "name")
    assert caught.value.path == "argument 'b'"
    with pytest.raises(UnpicklableError) as caught:
        payload((), {"k": threading.Lock()}, len, "name")
    assert caught.value.path == "argument 'k'"


def test_what_pickles_only_sometimes():
    class Fickle:
        times = 0

        def __reduce__(self):
            Fickle.times += 1
            if Fickle.times == 1:
                raise TypeError("not the first time")
            return int, ()

    with pytest.raises(UnpicklableError, match="not the first time"):
        payload((Fickle(),), None, len, "name")


# -- through processes -----------------------------------------------------------


def test_each_call_gets_its_own_copy_of_a_shared_argument():
    @process
    def grow(shared, n):
        shared.append(n)
        return len(shared), sum(shared[-2:])

    shared = [0] * 50_000
    assert grow.map([shared] * 20, range(20))() == [(50_001, n) for n in range(20)]
    assert len(shared) == 50_000


def test_one_object_twice_in_a_call_is_one_object_there():
    @process
    def same(a, b, *, c):
        return a is b, c[0] is a

    big = list(range(10_000))
    assert same(big, big, c=[big])() == (True, False)
    made = process(list)(range(10_000))
    assert same(made, made, c=[made])() == (True, True)


def test_values_of_processes_are_copies_for_processes_and_shared_in_threads():
    @process
    def make():
        return list(range(5_000))

    @process
    def change(values):
        values.append(1)
        return len(values)

    @thread
    def append(values):
        values.append(1)
        return values

    made = make()
    assert gather(change(made), change(made))() == [5_001, 5_001]
    first = append(made)
    second = append(made).after(first)
    a, b = gather(first, second)()
    assert a is b
    assert len(a) == 5_002


def test_a_million_items():
    assert process(len)([0] * 1_000_000)() == 1_000_000
    assert process(len)({n: n for n in range(100_000)})() == 100_000


def test_nested_values_of_processes():
    make = process(bytes)
    assert process(lambda parts: [len(p) for p in parts])(
        [make(10_000), make(10), b"abc"]
    )() == [10_000, 10, 3]
    knot = [make(10_000)]
    knot.append(knot)
    assert process(len)(knot)() == 2


def test_nodes_and_objects_mixed():
    made = process(list)(range(5_000))
    mixed = [made, Counted(b"abc")]
    assert process(lambda x: (len(x[0]), x[1]))(mixed)() == (5_000, b"abc")


def test_no_call_is_sent_a_value_that_another_run_shared():
    big = list(range(20_000))
    for _ in range(3):
        assert process(len).map([big] * 4)() == [20_000] * 4
