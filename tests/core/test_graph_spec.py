"""Decorators only add to one spec, so that their order means nothing."""

import itertools
import re
import sys
from concurrent.futures import Executor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._graph.facets import Facet
from entangle._graph.options import Options, SchedulerOptions
from entangle._graph.spec import Spec, usable_cpus
from entangle.dataflow import dataflow
from entangle.errors import CompositionError, UnmetCapabilityError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import task
from entangle.thread import thread
from entangle.workflow import workflow


class Foreign(Executor):
    """Somebody else's executor."""


FOREIGN = Foreign()


class Chooser:
    def __init__(self, cpus):
        self.cpus = cpus

    def choose(self, free):
        return min(free)


# Every decorator and every option at least once, with values that agree and values
# that do not. Each is on a line of its own, since errors name lines.
DECORATORS = [
    process,
    thread,
    workflow,
    task,
    local,
    scheduler,
    dataflow,
    dataflow(callback=print),
    dataflow(callback=repr),
    dataflow(executor="process"),
    dataflow(executor=FOREIGN, maxworkers=2),
    process(timeout=3),
    process(timeout=3.0, fresh=True),
    process(retry=2, sleep=1, backoff=2),
    process(retry_on=(OSError, ValueError)),
    process(preload=["json"], env={"A": "1"}, cwd="/", nice=1),
    task(timeout=4),
    task(wait=1, start=2),
    task(retry=2, retry_error=True, limit=4),
    task(retry_on=[ValueError, OSError]),
    task(cache=True, version=1),
    task(cache="run"),
    task(cache_key=len, cache_ignore=["b", "a"]),
    process(cache=True, cache_ignore=("a", "b")),
    thread(version="2"),
    task(fresh=False),
    task(fresh=True),
    task(env={"A": "1"}),
    task(env={"A": "2"}),
    task(nice=1),
    task(cwd="/"),
    task(preload=["json"]),
    task(executor=FOREIGN),
    task(timeout=None),
    thread(wait=1),
    workflow(retry=1),
    local(cpus=2),
    local(cpus=3),
    scheduler(cpus=2),
    scheduler(cpus=2, impl=Chooser),
    scheduler(cpus=2, impl="some.module.Chooser"),
]

LINE = re.compile(r"test_graph_spec\.py:(\d+)")


def plain(a, b=2):
    return a + b


async def asynchronous(a):
    return a


def outcome(function, decorators):
    """Apply decorators innermost first; the spec, or None if they are refused."""
    try:
        decorated = applied(function, decorators)
    except CompositionError as error:
        check_origins(error)
        return None
    return type(decorated), decorated.spec, decorated.options


def applied(function, decorators):
    for decorator in decorators:
        function = decorator(function)
    return function


def check_origins(error):
    assert error.origins
    assert all(LINE.search(origin) for origin in error.origins)
    assert all(origin in str(error) for origin in error.origins)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([plain, asynchronous]),
    st.lists(st.sampled_from(DECORATORS), min_size=2, max_size=4),
)
def test_every_permutation_means_the_same(function, decorators):
    outcomes = [
        outcome(function, order) for order in itertools.permutations(decorators)
    ]
    assert all(each == outcomes[0] for each in outcomes)


@pytest.mark.parametrize("pair", list(itertools.combinations(DECORATORS, 2)))
def test_every_pair_commutes(pair):
    first, second = pair
    for function in (plain, asynchronous):
        assert outcome(function, pair) == outcome(function, (second, first))


def test_facets_in_any_order_and_any_grouping_make_the_same_spec():
    facets = [
        Facet("how", "process", "@process", "a.py:1"),
        Facet("timeout", 3.0, "@process", "a.py:1"),
        Facet("retry", 2, "@task", "a.py:2"),
        Facet("where", "local", "@local", "a.py:3"),
        Facet("cpus", 2, "@local", "a.py:3"),
    ]
    specs = {
        Spec().compose(order[:2], "f").compose(order[2:], "f")
        for order in itertools.permutations(facets)
    }
    assert len(specs) == 1


def test_the_whole_stack_in_every_order():
    stack = [process(timeout=3), local, scheduler(cpus=2), task(retry=1)]
    specs = {applied(plain, order).spec for order in itertools.permutations(stack)}
    assert len(specs) == 1


def conflict(*decorators, function=plain):
    with pytest.raises(CompositionError) as caught:
        applied(function, decorators)
    return caught.value


@pytest.mark.parametrize(
    "decorators",
    [
        (process, thread),
        (workflow, process),
        (workflow, thread),
        (workflow, local),
        (workflow, local(cpus=1)),
        (workflow, scheduler),
        (workflow, task(executor=FOREIGN)),
        (task(executor=FOREIGN), process),
        (task(executor=FOREIGN), thread),
        (task(executor=FOREIGN), local),
        (task(timeout=1), task(timeout=2)),
        (local(cpus=1), local(cpus=2)),
        (scheduler(cpus=1), scheduler(cpus=1, impl=Chooser)),
    ],
)
def test_exclusions_name_both_lines(decorators):
    error = conflict(*decorators)
    assert not isinstance(error, UnmetCapabilityError)
    assert "exclude each other" in str(error)
    assert error.task == "plain"
    assert len(error.origins) == 2


def test_the_lines_are_those_of_the_decorators():
    inner = task(timeout=1)
    outer = task(timeout=2)
    error = conflict(inner, outer)
    lines = [int(LINE.search(origin).group(1)) for origin in error.origins]
    assert lines[1] == lines[0] + 1
    assert "timeout=1 of @task" in str(error)
    assert "timeout=2 of @task" in str(error)


@pytest.mark.parametrize(
    "asked",
    [
        {"fresh": True},
        {"preload": ["json"]},
        {"env": {"A": "1"}},
        {"cwd": "/"},
        {"nice": 3},
        {"timeout": 3},
    ],
)
@pytest.mark.parametrize("place", [thread, workflow, task(executor=FOREIGN)])
def test_what_a_place_cannot_honour_is_refused(asked, place):
    for order in ([place, task(**asked)], [task(**asked), place]):
        error = conflict(*order)
        assert isinstance(error, UnmetCapabilityError)
        assert error.option == next(iter(asked))
        assert "cannot honour" in str(error)


@pytest.mark.parametrize("place", [thread, task(executor=FOREIGN)])
@pytest.mark.parametrize("asked", [local(cpus=1), scheduler(cpus=1)])
def test_cpus_need_a_process(asked, place):
    conflict(asked, place)
    conflict(place, asked)


def test_timeout_of_an_async_thread_is_honoured():
    made = thread(timeout=3)(asynchronous)
    assert made.options.timeout == 3
    assert made.options.is_async
    error = conflict(thread(timeout=3))
    assert "async def" in str(error)


def test_what_asks_for_nothing_is_honoured_everywhere():
    nothing = task(timeout=None, fresh=False, preload=[], env=None, cwd=None, nice=None)
    for place in (thread, workflow, task(executor=FOREIGN)):
        place(nothing(plain))


def test_wait_is_honoured_everywhere():
    for place in (process, thread, workflow, task(executor=FOREIGN)):
        assert place(task(wait=2)(plain)).options.wait == 2


def test_an_async_workflow_is_refused():
    error = conflict(workflow, function=asynchronous)
    assert "async def" in str(error)
    assert len(error.origins) == 1


class TestOurExecutors:
    """Executors of ours say what they honour."""

    def test_capabilities_decide(self):
        backend = pytest.importorskip("entangle.backend")

        class Able(backend.Executor):
            capabilities = backend.Capabilities(kill=True, process=True)

            def start(self, call):
                raise NotImplementedError

            def cancel(self, call, grace):
                raise NotImplementedError

        able = task(executor=Able())
        assert able(task(timeout=3, env={"A": "1"})(plain)).options.timeout == 3
        assert able(process(plain)).options.how == "process"
        assert conflict(able, task(fresh=True)).option == "fresh"
        assert conflict(able, scheduler(cpus=1)).option == "scheduler"
        conflict(able, thread)
        conflict(able, local)

    def test_without_any_loaded_all_are_foreign(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "entangle._seam.executor", raising=False)
        assert conflict(task(executor=FOREIGN), task(fresh=True)).option == "fresh"


def test_the_same_again_changes_nothing():
    once = process(timeout=3)(plain)
    twice = process(timeout=3)(process(once))
    assert twice.spec == once.spec
    assert hash(twice.spec) == hash(once.spec)
    assert twice is not once
    assert once.spec != Spec()
    assert once.spec != "something else"


def test_options_are_resolved():
    made = process(timeout=3, env={"B": "2", "A": "1"})(local(cpus=2)(plain))
    assert made.options == Options(
        timeout=3.0, env=(("A", "1"), ("B", "2")), cpus=2, how="process"
    )
    assert workflow(plain).options.how == "workflow"
    assert thread(plain).options.how == "thread"
    assert task(plain).options == Options()
    assert scheduler(cpus=3)(plain).options.scheduler == SchedulerOptions(3, None)
    assert scheduler(plain).options.scheduler == SchedulerOptions(usable_cpus(), None)
    assert task(executor=FOREIGN)(plain).options.executor is FOREIGN


def test_usable_cpus_without_affinity(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert usable_cpus() >= 1


def test_a_spec_is_immutable_and_shows_itself():
    spec = process(timeout=3)(plain).spec
    with pytest.raises(AttributeError):
        spec.facets = ()
    assert "timeout=3 of @process" in repr(spec)
    assert repr(Spec()) == "<spec of defaults>"
    assert spec.summary() == "@process, timeout=3"
    errors = task(retry_on=(OSError, KeyError))(plain).spec
    assert errors.summary() == "retry_on=(KeyError, OSError)"
    assert repr(process(timeout=3)) == "<decorator @process: @process, timeout=3>"
