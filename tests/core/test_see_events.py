"""The stream of events: what observers of all kinds are told, and when."""

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle._run import lanes
from entangle._worker.preview import MOST, preview
from entangle.process import process
from entangle.run import (
    EVENTS_VERSION,
    NodeAdded,
    NodeEnded,
    NodeOutput,
    NodeRetried,
    NodeSpan,
    NodeStarted,
    RunEnded,
    RunStarted,
    observe,
    span,
    traceparent,
)
from entangle.task import as_completed, gather
from entangle.thread import thread
from entangle.workflow import workflow

PATIENCE = 20.0


def add(a, b):
    return a + b


def one():
    return 1


def same(value):
    return value


def of(events, kind):
    return [event for event in events if type(event) is kind]


def observed(run, **options):
    """Return what a function returns, and the events of the runs that it begins."""
    events = []
    with observe(events.append, **options):
        value = run()
    return value, events


def test_the_version_is_public():
    assert EVENTS_VERSION == 1


def test_all_events_are_there_when_the_call_returns():
    value, events = observed(thread(add)(thread(one)(), 2))
    assert value == 3
    assert [type(event).__name__ for event in events] == [
        "RunStarted",
        *["NodeAdded"] * 2,
        *["NodeStarted", "NodeEnded"] * 2,
        "RunEnded",
    ]
    assert len({event.run for event in events}) == 1


def test_a_node_says_where_it_is_from_and_what_it_waits_for():
    nodes = [thread(one)(), thread(one)()]
    total = thread(add)(*nodes)
    _, events = observed(thread(same)(total).after(nodes[0]))
    first, second, both, last = of(events, NodeAdded)
    assert [each.node for each in (first, second, both, last)] == [1, 2, 3, 4]
    assert (first.inputs, both.inputs, last.inputs) == ((), (1, 2), (3, 1))
    assert [each.name for each in (first, both, last)] == ["one", "add", "same"]
    line = test_a_node_says_where_it_is_from_and_what_it_waits_for.__code__
    assert both.where == f"{__file__}:{line.co_firstlineno + 2}"
    assert {each.place for each in of(events, NodeAdded)} == {"thread"}


def test_what_gathers_has_no_body():
    _, events = observed(gather(thread(one)(), thread(one)()))
    assert of(events, RunStarted)[0].nodes == 2
    gathered = of(events, NodeAdded)[-1]
    assert (gathered.name, gathered.place, gathered.inputs) == ("gather", "", (1, 2))
    assert [event.node for event in of(events, NodeEnded)] == [1, 2]


def test_returned_nodes_name_who_has_returned_them():
    def more():
        return thread(add)(thread(one)(), 2)

    value, events = observed(thread(same)(workflow(more)()))
    assert value == 3
    inner = of(events, NodeAdded)[2:]
    assert [(each.name, each.parent, each.inputs) for each in inner] == [
        ("one", 1, ()),
        ("add", 1, (3,)),
    ]
    ended = {event.node: event.outcome for event in of(events, NodeEnded)}
    assert ended == {1: "expanded", 2: "succeeded", 3: "succeeded", 4: "succeeded"}


def say_then_wait(told):
    print("here")
    end = time.monotonic() + PATIENCE
    while not told.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return os.getpid()


@pytest.mark.process
def test_the_process_is_known_from_the_first_line_on(tmp_path):
    told, events = tmp_path / "told", []

    def take(event):
        events.append(event)
        if type(event) is NodeOutput:
            told.touch()

    with observe(take):
        pid = process(say_then_wait)(told)()
    assert [event.pid for event in of(events, NodeStarted)] == [pid]


@pytest.mark.process
def test_times_and_places_of_process_calls():
    began = time.time()
    value, events = observed(gather(*[process(os.getpid)() for _ in range(200)]))
    ended = of(events, NodeEnded)
    assert sorted(event.node for event in ended) == list(range(1, 201))
    for event in ended:
        assert began <= event.queued <= event.started <= event.time <= time.time()
        assert event.pid == value[event.node - 1]
        assert event.value == str(event.pid)
        assert event.place == "process"
    starts = {event.node: event for event in of(events, NodeStarted)}
    assert starts.keys() == set(range(1, 201))
    assert all(starts[event.node].time == event.started for event in ended)


@pytest.mark.process
def test_every_start_comes_before_its_end():
    _, events = observed(gather(*[process(same)(n) for n in range(500)]))
    state = {}
    for event in events:
        if type(event) is NodeStarted:
            assert state.setdefault(event.node, "started") == "started"
        elif type(event) is NodeEnded:
            assert state[event.node] == "started"
            state[event.node] = "ended"
    assert set(state.values()) == {"ended"}


@pytest.mark.process
def test_a_call_that_was_expected_to_be_quick_is_told_of_while_it_runs(tmp_path):
    """Its start isn't asked for in advance, and its end may be far."""

    def wait(path):
        while path and not os.path.exists(path):
            time.sleep(0.001)
        return 1

    task = process(wait)
    gather(*[task("") for _ in range(50)])()
    begun, go = threading.Event(), str(tmp_path / "go")

    def seen(event):
        if type(event) is NodeStarted:
            begun.set()

    with observe(seen):
        future = task(go).submit()
        assert begun.wait(PATIENCE)
        assert not future.done()
        with open(go, "w"):
            pass
        assert future.result(PATIENCE) == 1


def test_what_has_failed_and_what_did_not_run():
    def fail():
        raise ValueError("no\nreally")

    node = thread(add)(thread(same)(thread(fail)()), thread(one)())
    events = []
    with observe(events.append), pytest.raises(ValueError, match="no"):
        node()
    ends = {event.name.rpartition(".")[2]: event for event in of(events, NodeEnded)}
    assert (ends["fail"].outcome, ends["fail"].error) == ("failed", "ValueError: no")
    for name in ("same", "add"):
        assert (ends[name].outcome, ends[name].attempt) == ("not run", 0)
    assert events[-1].outcome == "failed"


def test_attempts_that_follow():
    calls = []

    def once():
        calls.append(1)
        if len(calls) < 3:
            raise ValueError(len(calls))
        return 7

    value, events = observed(thread(retry=3)(once)())
    assert value == 7
    assert [event.attempt for event in of(events, NodeRetried)] == [2, 3]
    ended = [(event.attempt, event.outcome) for event in of(events, NodeEnded)]
    assert ended == [(1, "failed"), (2, "failed"), (3, "succeeded")]


@pytest.mark.process
def test_what_took_too_long(tmp_path):
    slow = process(time.sleep, timeout=0.05, retry=1)
    events = []
    with observe(events.append), pytest.raises(TimeoutError):
        slow(60)()
    ended = of(events, NodeEnded)
    assert [(event.attempt, event.outcome) for event in ended] == [
        (1, "killed"),
        (2, "killed"),
    ]
    assert all("ProcessTimeoutException" in event.error for event in ended)
    assert [event.attempt for event in of(events, NodeRetried)] == [2]


@pytest.mark.process
def test_who_asks_in_a_task_is_told_of_the_runs_there():
    def work():
        events = []
        with observe(events.append):
            thread(one)()()
        return [type(event).__name__ for event in events]

    names, outer = observed(process(work)())
    assert names[0] == "RunStarted"
    assert names[-1] == "RunEnded"
    assert len(of(outer, RunStarted)) == 1


@pytest.mark.process
def test_output_is_told_of_with_its_node(capfd):
    def say(text):
        print(text)
        return text

    _, events = observed(gather(process(say)("a"), process(say)("b")))
    printed = {event.node: event.text for event in of(events, NodeOutput)}
    assert printed == {1: "a\n", 2: "b\n"}
    kinds = [type(event) for event in events if getattr(event, "node", 0) == 1]
    assert kinds == [NodeAdded, NodeStarted, NodeOutput, NodeEnded]
    assert sorted(capfd.readouterr().out.split()) == ["a", "b"]


@pytest.mark.process
def test_what_many_quick_calls_print_is_told_of_each(capfd):
    """Also where others of the function were sent several at once before."""

    def say(number):
        print(number)

    quick = process(say)
    gather(*[quick(number) for number in range(200)])()
    _, events = observed(gather(*[quick(number) for number in range(500)]))
    printed = [(event.node, event.text) for event in of(events, NodeOutput)]
    assert sorted(printed) == [(each + 1, f"{each}\n") for each in range(500)]
    assert len(capfd.readouterr().out.split()) == 700


def test_only_what_is_wanted_is_told():
    _, events = observed(gather(thread(one)(), thread(one)()), only=[NodeEnded])
    assert [type(event) for event in events] == [NodeEnded, NodeEnded]


def test_what_is_no_function_and_no_event_is_refused():
    with pytest.raises(TypeError, match="takes a function"), observe(3):
        pass
    with pytest.raises(TypeError, match="types of events"), observe(print, only=[int]):
        pass
    with pytest.raises(TypeError, match="takes a function"):
        thread(one)().run(observers=[3])


def test_observers_of_one_run():
    events = []
    assert thread(one)().run(observers=[events.append]) == 1
    assert type(events[0]) is RunStarted
    assert type(events[-1]) is RunEnded
    thread(one)()()
    assert len(of(events, RunStarted)) == 1


def test_what_others_run_is_not_observed():
    events = []
    with observe(events.append):
        other = threading.Thread(target=thread(one)())
        other.start()
        other.join()
    assert events == []


def test_runs_in_threads_are_observed_with_who_has_begun_them():
    def outer():
        return thread(one)()()

    _, events = observed(thread(outer)())
    first, second = of(events, RunStarted)
    assert first.parent is None
    assert second.parent == (first.run, 1)


def test_an_observer_that_raises_is_logged_and_left_alone(caplog):
    seen = []

    def observer(event):
        seen.append(event)
        raise ValueError("no")

    with observe(observer):
        assert thread(one)()() == 1
        assert thread(one)()() == 1
    assert len(seen) == 2  # the first of each run
    assert caplog.text.count("an observer failed: ValueError: no") == 2


def test_an_observer_may_run_graphs():
    values = []

    def observer(event):
        if type(event) is RunEnded:
            values.append(thread(one)()())

    with observe(observer):
        assert thread(same)(2)() == 2
    assert values == [1]


def test_submitted_runs_are_told_of_after_the_block():
    over, go = threading.Event(), threading.Event()

    def observer(event):
        if type(event) is RunEnded:
            over.set()

    with observe(observer):
        future = thread(go.wait)(PATIENCE).submit()
    go.set()
    assert future.result(PATIENCE) is True
    assert over.wait(PATIENCE)


def test_as_completed_is_told_of():
    events = []
    with observe(events.append):
        nodes = [thread(same)(n) for n in range(3)]
        assert sorted(f.result() for _, f in as_completed(nodes)) == [0, 1, 2]
    assert len(of(events, NodeEnded)) == len(of(events, NodeAdded)) == 3
    assert type(events[-1]) is RunEnded


def test_inline_runs(monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    _, events = observed(process(add)(process(one)(), 2))
    assert [event.pid for event in of(events, NodeEnded)] == [os.getpid()] * 2


@pytest.mark.process
def test_quick_calls_stay_together_while_somebody_observes(monkeypatch):
    """Their starts are not asked for: that would cost a message for each."""
    from entangle._pool import jobs

    frames = []
    real = jobs.frame

    def frame(batch):
        made = real(batch)
        frames.append((len(batch), made[2]))
        return made

    monkeypatch.setattr("entangle._pool.dispatch.frame", frame)
    task = process(same)
    gather(*[task(n) for n in range(100)])()
    frames.clear()
    _, events = observed(gather(*[task(n) for n in range(2000)]))
    assert len(of(events, NodeEnded)) == 2000
    assert max(size for size, _ in frames) > 8
    assert len(frames) < 1000


def test_no_observer_no_notes(monkeypatch):
    monkeypatch.setenv("ENTANGLE_DISABLE_PLUGINS", "1")  # those that are installed

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr("entangle._run.observers.watch", never)
    assert thread(one)()() == 1


def test_where_events_are_dropped_they_are_counted(monkeypatch):
    monkeypatch.setattr(lanes, "MOST_BEHIND", 5)
    entered, go = threading.Event(), threading.Event()
    events = []

    def slow(event):
        entered.set()
        go.wait(PATIENCE)
        events.append(event)

    def wait():
        return entered.wait(PATIENCE)

    with observe(slow):
        first = thread(wait)()
        rest = [thread(one)().after(first) for _ in range(30)]
        future = gather(first, *rest).submit()
        assert future.result(PATIENCE)
        go.set()
    deadline = time.monotonic() + PATIENCE
    while not (events and type(events[-1]) is RunEnded):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert events[-1].dropped > 0
    assert len(events) + events[-1].dropped == 1 + 32 + 2 * 31 + 1


# -- spans and the name of a call -----------------------------------------------------


def test_nobody_traces():
    assert traceparent() is None
    span("nothing", time.time())
    _, events = observed(thread(traceparent)())
    assert of(events, NodeEnded)[0].value == "None"


@pytest.mark.process
def test_the_running_call_has_a_name_in_a_trace(tmp_path):
    from entangle.run import trace

    with trace(tmp_path / "t.json"):
        kinds = [thread(traceparent), process(traceparent)] * 2
        names = gather(*[kind() for kind in kinds])()

        def nested():
            return [traceparent(), process(traceparent)()()]

        outer, inner = process(nested)()()
    assert len(set(names)) == 4
    for name in names:
        version, run, call, flags = name.split("-")
        assert (version, len(run), len(call), flags) == ("00", 32, 16, "01")
        assert int(run, 16)
        assert int(call, 16)
    assert len({name.split("-")[1] for name in names}) == 1
    assert inner == outer  # what a call calls in turn is a part of it
    assert process(traceparent)()() is None


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), "now", None])
def test_parts_begin_and_end_at_moments(moment):
    """What is none would end the trace of its run."""
    with pytest.raises((TypeError, ValueError)):
        thread(span)("reading", moment)()


def test_numbers_that_json_has_not_are_told_as_texts():
    def work():
        span("reading", time.time(), loss=float("nan"), best=float("-inf"), rate=0.5)

    _, events = observed(thread(work)())
    (part,) = of(events, NodeSpan)
    assert part.attributes == {"loss": "nan", "best": "-inf", "rate": 0.5}


@pytest.mark.process
@pytest.mark.parametrize("how", [thread, process])
def test_parts_of_calls_are_told_of(how):
    def work():
        began = time.time()
        span("reading", began, shard=7, of="a")
        return began

    began, events = observed(how(work)())
    (part,) = of(events, NodeSpan)
    assert (part.node, part.attempt, part.span, part.started) == (
        1,
        1,
        "reading",
        began,
    )
    assert part.attributes == {"shard": 7, "of": "a"}
    assert part.time >= began


# -- values in a few words ------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "1"),
        (None, "None"),
        ("text", "'text'"),
        ([1, "a"], "[1, 'a']"),
        ({"a": (1,)}, "{'a': tuple of 1}"),
        (set(), "set()"),
        (frozenset({1}), "frozenset({1})"),
        ("x" * 1000, "str of 1,000 characters"),
        (b"x" * 1000, "bytes of 1,000 bytes"),
        (list(range(1000)), "list of 1,000"),
        (10**400, "int of 1329 bits"),
        (object(), "object"),
        (ValueError("secret"), "ValueError"),
    ],
)
def test_values_in_a_few_words(value, shown):
    assert preview(value) == shown


def test_arrays_show_their_shapes():
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    assert preview(numpy.zeros((1000, 3))) == "ndarray float64 (1000, 3)"
    assert preview(numpy.float32(2)) == "np.float32(2.0)"
    assert preview(pandas.DataFrame({"a": [1, 2]})) == "DataFrame (2, 1)"


@pytest.mark.process
def test_values_that_stay_encoded_are_named_by_their_workers():
    numpy = pytest.importorskip("numpy")

    def make():
        return numpy.zeros((300, 100))

    def chain(array):
        return float(array.sum())

    _, events = observed(process(chain)(process(make)()))
    first, second = of(events, NodeEnded)
    assert first.value == "ndarray float64 (300, 100)"
    assert first.size > 240_000
    assert (second.value, second.size) == ("0.0", 0)


def test_nothing_of_the_users_is_called():
    class Loud:
        def __repr__(self):
            raise AssertionError

        shape = property(__repr__)

    assert preview(Loud()) == "Loud"
    assert preview([Loud()]) == "[Loud]"


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.binary(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(), inner)
            | st.tuples(inner, inner)
            | st.sets(st.integers())
        ),
    )
)
def test_any_value_is_short(value):
    text = preview(value)
    assert text
    assert len(text) <= MOST
