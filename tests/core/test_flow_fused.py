"""Tiny functions of a chain as one call: nobody can tell, but for the time it takes."""

import os
import threading
from concurrent.futures import CancelledError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle._graph.fused import fused
from entangle._graph.pack import resolved
from entangle._pool import pool as pools
from entangle._run.push import PushRun
from entangle._worker.chain import Chain
from entangle.dataflow import dataflow, process, thread
from entangle.errors import FlowError, UnpicklableError
from entangle.process import process as pull
from entangle.task import shutdown
from entangle.thread import thread as pull_thread

KEPT = []


def inc(value):
    return value + 1


def keep(value):
    """Return what the function goes on to hold."""
    KEPT.append(value)
    return KEPT


def spoil(values):
    values.append("spoilt")
    return len(values)


def fail(value):
    raise ValueError(value)


def with_pid(pids):
    return [*pids, os.getpid()]


def node(value):
    return [pull_thread(inc)(value), value]


def total(values):
    return sum(values)


def join(*values):
    return sum(values)


def lock(value):
    return threading.Lock()


P = {f.__name__: dataflow(process(f)) for f in (inc, keep, spoil, fail, with_pid)}
P |= {f.__name__: dataflow(process(f)) for f in (node, total, lock)}
T = dataflow(thread(inc))


def shape(flow):
    """The stages of the fused form, each by its name and its parents."""
    made = flow.program.fused
    if made is None:
        return None
    return [(stage.node.name, stage.parents) for stage in made.program.stages]


def test_what_is_fused():
    i = P["inc"]
    assert shape(i(i(i()))) == [("inc, inc, inc", (-1,))]
    assert shape(i(i(i(i(i()))))) == [("inc, inc, ..., inc", (-1,))]
    assert shape(T(i(i(T(i(i())))))) == [
        ("inc", (-1,)),
        ("inc, inc", (0,)),
        ("inc", (1,)),
        ("inc, inc", (2,)),
    ]
    assert shape(i(i(i(), i(i())))) == [
        ("inc, inc", (-1,)),
        ("inc", (0,)),
        ("inc, inc", (0,)),
    ]


def test_fan_in_begins_a_chain():
    i = P["inc"]
    both = dataflow(process(join))(i())
    assert shape(T(i(i(both)), T(both))) == [
        ("inc", (-1,)),
        ("inc, inc", (0,)),
        ("join, inc", (1, 3)),
        ("inc", (0,)),
    ]


@pytest.mark.parametrize(
    "flow",
    [
        P["inc"](),
        T(T(T())),
        dataflow(process(retry=1)(inc))(dataflow(process(limit=1)(inc))()),
        dataflow(process(timeout=9)(inc))(dataflow(process(env={"A": "1"})(inc))()),
        dataflow(process(lambda v, *, k: v))(P["inc"](), k=1),
        dataflow(callback=print)(process(inc))(P["inc"]()),
        dataflow(executor="process", maxworkers=1)(inc)(dataflow(inc)()),
        P["inc"](lambda value: P["inc"]()),
        P["inc"](P["inc"](), P["inc"]()),
    ],
)
def test_what_is_not_fused(flow):
    assert fused(flow.program) is None


@given(st.recursive(st.just("i"), lambda inner: st.lists(inner, max_size=3)))
def test_the_fused_form_of_any_tree_gives_the_same(tree):
    """Computed plainly, stage by stage, from either form."""

    def flow_of(part):
        return P["inc"](*map(flow_of, part if isinstance(part, list) else ()))

    program = flow_of(tree).program
    made = fused(program)
    if made is not None:
        assert plainly(made.program, 5) == plainly(program, 5)


def plainly(program, value):
    values = {-1: value}
    for number, stage in enumerate(program.stages):
        values[number] = stage.node.task.fn(*[values[p] for p in stage.parents])
    return [values[leaf] for leaf in program.leaves]


def test_a_chain_hands_on_copies():
    KEPT.clear()
    chain = Chain([keep, spoil], ["", ""], "both")
    assert chain(1) == 2
    assert KEPT == [1]
    KEPT.clear()
    nested = Chain([lambda value: KEPT.append([value]) or KEPT, spoil], ["", ""], "")
    assert nested(1) == 2
    assert KEPT == [[1]]
    assert Chain([lambda v: (v,), lambda v: v], ["", ""], "")(1) == (1,)


def test_an_error_says_which_function_it_is_of():
    chain = Chain([inc, fail, inc], ["first", "second", "third"], "all")
    with pytest.raises(ValueError, match="2") as caught:
        chain(1)
    assert caught.value.__notes__ == ["second"]


def test_returned_nodes_are_resolved():
    assert resolved([pull_thread(inc)(1), 1]) == [2, 1]
    assert Chain([node, total], ["", ""], "")(1) == 3


@pytest.mark.process
class TestInProcesses:
    """With functions that are known to be tiny."""

    @pytest.fixture(autouse=True)
    def _known(self):
        for each in P.values():
            if each not in (P["fail"], P["lock"]):
                value = {P["spoil"]: [], P["with_pid"]: [], P["total"]: [1]}.get(
                    each, 1
                )
                list(each().stream([value] * 50))
        for each in (P["fail"], P["lock"]):
            list(each().stream([1] * 50, errors="yield"))

    def test_one_process_for_all(self):
        w = P["with_pid"]
        flow = w(w(w()))
        results = [value for (value,) in flow.stream([[]] * 50)]
        assert all(len(pids) == 3 for pids in results)
        assert any(len(set(pids)) == 1 for pids in results)

    def test_values(self):
        i = P["inc"]
        flow = i(i(i(), i(i())))
        assert list(flow.stream(range(300))) == [(n + 3, n + 4) for n in range(300)]
        assert flow(1) == (4, 5)

    def test_errors(self):
        i = P["inc"]
        results = list(i(P["fail"](i())).stream(range(40), errors="yield"))
        for number, error in enumerate(results):
            assert isinstance(error, FlowError)
            (inner,) = error.exceptions
            assert (type(inner), inner.args) == (ValueError, (number + 1,))
            of_node = [n for n in inner.__notes__ if n.startswith("in node")]
            assert len(of_node) == 1
            assert of_node[0].startswith(f"in node fail ({__file__}")
            assert "_worker" not in str(inner.__notes__)

    def test_what_does_not_pickle(self):
        flow = P["inc"](P["lock"](P["inc"]()))
        for error in flow.stream(range(20), errors="yield"):
            assert isinstance(error.exceptions[0], UnpicklableError)

    def test_returned_nodes(self):
        flow = P["node"](P["total"](P["inc"]()))
        assert list(flow.stream(range(20))) == [(2 * n + 2,) for n in range(20)]

    def test_a_callback_of_the_last(self):
        seen = []
        told = dataflow(callback=lambda f, v: seen.append((f, v)))(P["inc"])
        assert len(list(P["inc"](told()).stream(range(50)))) == 50
        assert sorted(value for _, value in seen) == [n + 2 for n in range(50)]
        assert {function for function, _ in seen} == {inc}

    def test_slow_functions_are_calls_of_their_own(self):
        @pull
        def slow(value):
            threading.Event().wait(0.01)
            return value

        s, i = dataflow(slow), P["inc"]
        flow, quick = s(s()), i(i())
        assert fitting(flow) is flow.program, "nothing is known of it"
        assert list(flow.stream(range(8))) == [(n,) for n in range(8)]
        assert fitting(flow) is flow.program
        assert fitting(quick) is quick.program.fused.program


def fitting(flow):
    """The form of a flow that a run would take now."""
    run = PushRun(pools.get(), flow.program)
    run.prepare_program(flow.program)
    found = run.fitting(flow.program)
    run.hub.post(run.places.close)
    return found


@pytest.mark.process
def test_a_stream_that_could_be_fused_when_its_pool_is_shut_down():
    def source():
        yield 1
        shutdown()
        yield 2

    flow = dataflow(pull(inc))(dataflow(pull(inc))())
    with pytest.raises(CancelledError, match="shutdown"):
        list(flow.stream(source()))
