"""Stacks of decorators of all kinds mean the same in any order."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entangle.backend import (
    Capabilities,
    Executor,
    Source,
    ThreadExecutor,
    context,
    infrastructure,
    source,
)
from entangle.errors import CompositionError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import task
from entangle.thread import thread
from entangle.workflow import workflow


class AbleExecutor(Executor):
    """Honours everything.

    Args:
        size: How big.
        labels: What is written on it.
        who: Whose it is.
    """

    capabilities = Capabilities(*[True] * len(Capabilities._fields))

    def __init__(self, *, size: int = 1, labels: dict[str, str] | None = None, who=""):
        super().__init__()

    def start(self, call):
        raise NotImplementedError

    def cancel(self, call, grace):
        raise NotImplementedError


class PlainExecutor(AbleExecutor):
    """Honours nothing, and needs to know where it is."""

    capabilities = Capabilities()

    def __init__(self, *, whereabouts):
        super().__init__()


class ShelfSource(Source):
    """Supplies what lies on a shelf.

    Args:
        shelf: Which one.
    """

    def __init__(self, *, shelf: str = "upper"):
        self.shelf = shelf

    def supply(self, asked):
        raise NotImplementedError


def remote(event):
    """What calls of the work look like."""


def _who(*, name: str = "nobody"):
    """Say who: name."""
    return name


def _whereabouts(*, country: str):
    """Say where: country."""
    return country


who = context(_who, name="who")
whereabouts = context(_whereabouts, name="whereabouts")
able = infrastructure(AbleExecutor, partners=[who])
plain = infrastructure(PlainExecutor, partners=[whereabouts])
lonely = infrastructure(AbleExecutor, name="lonely", excludes=["who", "whereabouts"])
proxy = infrastructure(AbleExecutor, name="proxy", calls_like=remote)
shelf = source(ShelfSource)
shy = context(_who, name="shy", excludes=["able", "who", "scheduler"])

FOREIGN = ThreadPoolExecutor(1)
OURS = ThreadExecutor()

DECORATORS = {
    "@process": process,
    "@process(env)": process(env={"A": "1"}),
    "@process(fresh)": process(fresh=True, nice=1),
    "@thread": thread,
    "@workflow": workflow,
    "@task": task,
    "@local": local,
    "@local(cpus)": local(cpus=2),
    "@scheduler": scheduler(cpus=2),
    "timeout": task(timeout=3),
    "other timeout": task(timeout=4),
    "retry": task(retry=2, sleep=1.0, retry_on=(OSError, ValueError)),
    "limit": task(limit=2),
    "wait, start": task(wait=4, start=5),
    "@able": able,
    "@able(options)": able(size=2, labels={"a": "1", "b": "2"}),
    "@plain": plain,
    "@lonely": lonely,
    "@proxy": proxy,
    "@shelf": shelf,
    "@shelf(options)": shelf(shelf="lower"),
    "@who": who,
    "@who(name)": who(name="me"),
    "@whereabouts": whereabouts(country="eu"),
    "@shy": shy,
    "executor=able": task(executor=able(size=2)),
    "executor=plain": task(executor=plain),
    "executor='thread'": task(executor="thread"),
    "executor of ours": task(executor=OURS),
    "foreign executor": task(executor=FOREIGN),
}


def function(event):
    return event


async def coroutine(event):
    return event


FUNCTIONS = (function, coroutine)


def applied(function, decorators):
    # All in one line, which bare decorators are said to be written in.
    for decorator in decorators:
        function = decorator(function)
    return function


def outcome(function, decorators):
    """Return what a stack means, or that it is refused."""
    try:
        made = applied(function, decorators)
    except CompositionError:
        return "refused"
    return made.spec, made.options, hash(made.spec), made.spec.summary(), made.name


def commutes(function, names):
    """Tell whether a stack means the same in every order."""
    stack = [DECORATORS[name] for name in names]
    outcomes = [outcome(function, order) for order in itertools.permutations(stack)]
    return all(each == outcomes[0] for each in outcomes)


def refusal(function, decorators):
    """Return the type of the error of a refused stack, and the lines that it names."""
    try:
        applied(function, decorators)
    except CompositionError as error:
        return type(error), sorted(error.origins)
    return None


@pytest.mark.parametrize("each", FUNCTIONS)
def test_every_pair_commutes(each):
    pairs = itertools.combinations(DECORATORS, 2)
    assert [pair for pair in pairs if not commutes(each, pair)] == []


def test_a_refused_pair_gives_the_same_error_either_way_round():
    for names in itertools.combinations(DECORATORS, 2):
        one, other = (DECORATORS[name] for name in names)
        error = refusal(function, (one, other))
        assert error == refusal(function, (other, one)), names
        if error is not None:
            _, origins = error
            assert len(origins) == 2, names
            assert all(origin.startswith(f"{__file__}:") for origin in origins)


@pytest.mark.parametrize("name", DECORATORS)
def test_every_triple_with_one_commutes(name):
    others = [other for other in DECORATORS if other != name]
    triples = [(name, *pair) for pair in itertools.combinations(others, 2)]
    assert [triple for triple in triples if not commutes(function, triple)] == []


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(FUNCTIONS),
    st.lists(st.sampled_from(list(DECORATORS)), min_size=4, max_size=5, unique=True),
)
def test_every_stack_commutes(each, names):
    assert commutes(each, names)


STACKS = {
    "a process": ("@process(env)", "@scheduler", "timeout", "retry", "limit", "@who"),
    "a thread": ("@thread", "retry", "limit", "wait, start", "@who(name)", "@task"),
    "a workflow": ("@workflow", "retry", "limit", "wait, start", "@whereabouts"),
    "a place": (
        *("@process(fresh)", "@able(options)", "@who(name)", "@whereabouts"),
        *("timeout", "retry", "wait, start"),
    ),
    "a place with its CPUs": ("@able", "@who", "@scheduler", "limit", "retry", "@task"),
    "a place as executor": ("executor=able", "@process", "@who(name)", "timeout"),
    "a plain place": ("@plain", "@whereabouts", "retry", "limit", "wait, start"),
    "a plain place as executor": ("executor=plain", "@whereabouts", "retry"),
    "a place that has the work": ("@proxy", "timeout", "retry", "@who(name)", "@task"),
    "a name": ("executor='thread'", "retry", "limit", "wait, start", "@who"),
    "an executor": ("executor of ours", "retry", "limit", "wait, start", "@who"),
    "a source": ("@shelf", "@process(env)", "timeout", "retry", "@who", "@task"),
    "a source in a thread": ("@shelf(options)", "@thread", "retry", "limit"),
    "a source of a workflow": ("@shelf", "@workflow", "retry", "wait, start"),
    "a source for a place": (
        *("@shelf", "@able(options)", "@who(name)", "@process(fresh)", "timeout"),
        "retry",
    ),
    "a foreign executor": ("foreign executor", "retry", "limit", "wait, start"),
}


@pytest.mark.parametrize("names", STACKS.values(), ids=STACKS)
def test_whole_stacks_in_every_order(names):
    """Stacks that go together: none of their orders is refused."""
    stack = [DECORATORS[name] for name in names]
    orders = itertools.permutations(stack)
    first = applied(function, next(orders))
    for order in orders:
        other = applied(function, order)
        assert other.spec == first.spec
        assert other.options == first.options


REFUSED = {
    "two places": ("@able", "@lonely", "retry"),
    "a place and a thread": ("@able", "@thread", "@who"),
    "a place and a workflow": ("@able", "@workflow", "retry"),
    "a place and an executor": ("@able", "foreign executor", "retry"),
    "what a place excludes": ("@lonely", "@who(name)", "retry"),
    "what a context excludes": ("@shy", "@who", "@able"),
    "what a place cannot honour": ("@plain", "@whereabouts", "timeout"),
    "two sources": ("@shelf", "@shelf(options)", "retry"),
    "a source and a place that has the work": ("@shelf", "@proxy", "retry"),
    "two options": ("timeout", "other timeout", "@able"),
    "a thread with an environment": ("@thread", "@process(env)", "@task"),
}


@pytest.mark.parametrize("names", REFUSED.values(), ids=REFUSED)
def test_refused_stacks_in_every_order(names):
    stack = [DECORATORS[name] for name in names]
    for order in itertools.permutations(stack):
        with pytest.raises(CompositionError):
            applied(function, order)


@pytest.mark.parametrize("name", DECORATORS)
def test_twice_the_same_is_once(name):
    decorator = DECORATORS[name]
    for each in FUNCTIONS:
        assert outcome(each, [decorator] * 2) == outcome(each, [decorator])


TWICE = {
    "places": (able(size=1), able(size=2)),
    "a place with and without options": (able, able(size=2)),
    "contexts": (who(name="me"), who(name="you")),
    "a context with and without options": (who, who(name="you")),
    "executors": (task(executor=OURS), task(executor=FOREIGN)),
    "names": (task(executor="thread"), task(executor="process")),
    "places as executors": (task(executor=able), task(executor=able(size=2))),
    "retries": (task(retry=1), process(retry=2)),
}


@pytest.mark.parametrize("pair", TWICE.values(), ids=TWICE)
def test_twice_something_else_is_an_error(pair):
    for first, second in (pair, pair[::-1]):
        with pytest.raises(CompositionError, match="exclude each other"):
            second(first(function))


@pytest.mark.parametrize(
    "pair",
    [
        (able(size=2, labels={"a": "1", "b": "2"}), DECORATORS["@able(options)"]),
        (who(), who),
        (task(executor=able), task(executor=able())),
        (task(executor="thread"), task(executor="thread")),
    ],
)
def test_twice_the_same_in_other_words(pair):
    for first, second in (pair, pair[::-1]):
        assert second(first(function)).spec == pair[0](function).spec


def test_the_order_of_decorators_does_not_reach_the_place():
    """All orders of a stack share one executor."""
    names = ("@able(options)", "@who(name)", "retry", "@process")
    stack = [DECORATORS[name] for name in names]
    places = {
        applied(function, order).options.executor
        for order in itertools.permutations(stack)
    }
    assert len(places) == 1
