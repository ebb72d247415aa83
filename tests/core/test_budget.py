"""Budgets: what would exceed one is not started, or ended."""

import pickle
import threading
import time

import pytest
from site_kit import new_site

from entangle.backend import Capabilities, Executor, infrastructure
from entangle.errors import BudgetExceededError, OptionError, UnknownPriceError
from entangle.process import process
from entangle.run import NodeEnded, NodeStarted, PlannedTask, Price, budget, observe
from entangle.task import as_completed, gather, task
from entangle.thread import thread
from entangle.workflow import workflow

CENT = "call=0.01"
HOURLY = "second=1.0, least=0.05"
PRICES = """
from entangle.run import Price

@hookimpl
def entangle_estimate(task):
    if task.target in {"costly", "slow"}:
        return ["somewhere", Price(f"{task.options['rate']} each", PRICE)]
    return []
"""


class CostlyExecutor(Executor):
    """Runs calls in threads.

    Args:
        rate: What is told of it.
    """

    capabilities = Capabilities(kill=True, started=True)
    begun = []  # noqa: RUF012 - for all

    def __init__(self, *, rate: str = "a cent"):
        super().__init__()
        self._ended = {}

    def start(self, call):
        self._ended[call] = threading.Event()
        threading.Thread(target=self._run, args=(call,)).start()

    def _run(self, call):
        call.started()
        seconds = call.function(*call.args)
        self.begun.append(call.name)
        if self._ended[call].wait(seconds):
            call.cancelled("killed")
        else:
            call.succeeded(seconds)

    def cancel(self, call, grace):
        self._ended[call].set()


class PaidExecutor(CostlyExecutor):
    """Costs money.

    Args:
        rate: What is told of it.
    """

    capabilities = CostlyExecutor.capabilities._replace(paid=True)


class SlowExecutor(PaidExecutor):
    """Costs from the moment on at which its calls are given to it: none begins.

    Args:
        rate: What is told of it.
    """

    def start(self, call):
        self._ended[call] = threading.Event()
        call.billed()
        threading.Thread(target=self._wait, args=(call,)).start()

    def _wait(self, call):
        self._ended[call].wait()
        call.cancelled("killed")


costly = infrastructure(CostlyExecutor)
paid = infrastructure(PaidExecutor)
slow = infrastructure(SlowExecutor)


@pytest.fixture
def priced(tmp_path, monkeypatch):
    """Say what calls cost."""
    sites = []

    def say(price):
        maker = new_site(tmp_path, monkeypatch)
        site = next(maker)
        sites.append(maker)
        site.add("pricing", PRICES.replace("PRICE", price))
        site.use(monkeypatch)
        CostlyExecutor.begun.clear()

    yield say
    for maker in sites:
        for _ in maker:
            pass


@costly(rate="a cent")
def spend(seconds):
    return seconds


def spend_long():
    return 100


@thread
def one():
    return 1


@pytest.mark.parametrize("how", [thread, process, task(executor="thread")])
def test_tasks_are_counted(how):
    node = gather(*[how(int)(n) for n in range(5)])
    with budget(tasks=5) as spent:
        assert node() == list(range(5))
    assert spent.tasks == 5
    with budget(tasks=4) as spent, pytest.raises(BudgetExceededError) as caught:
        node()
    assert spent.tasks == 4
    assert (caught.value.limit, caught.value.allowed) == ("tasks", 4)
    assert "budget(tasks=...)" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).spent == 4


def test_runs_share_a_budget_and_others_have_none():
    with budget(tasks=2) as spent:
        one()()
        one()()
        with pytest.raises(BudgetExceededError):
            one()()
    assert one()() == 1
    assert spent.tasks == 2


def test_attempts_count(tmp_path):
    seen = []

    @thread(retry=10)
    def fail():
        seen.append(1)
        raise ValueError

    with budget(tasks=3), pytest.raises(BudgetExceededError):
        fail()()
    assert len(seen) == 3


def test_kept_values_do_not_count(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))

    @thread(cache=True)
    def double(number):
        return 2 * number

    with budget(tasks=1):
        assert double(2)() == 4
        assert double(2)() == 4
        with pytest.raises(BudgetExceededError):
            double(3)()


def test_one_inside_of_another():
    with budget(tasks=3) as outer:
        with budget(tasks=2) as inner:
            gather(one(), one())()
            with pytest.raises(BudgetExceededError):
                one()()
        one()()
        with pytest.raises(BudgetExceededError):
            one()()
    assert (inner.tasks, outer.tasks) == (2, 3)


@pytest.mark.parametrize("how", [thread, workflow])
def test_runs_inside_of_tasks_keep_to_it(how):
    """In this process; and graphs that take the place of a task."""
    ran = []

    @thread
    def inner():
        ran.append(1)
        return 1

    @how
    def outer():
        nodes = [inner() for _ in range(5)]
        return [node() for node in nodes] if how is thread else nodes

    with budget(tasks=3) as spent, pytest.raises(BudgetExceededError):
        outer()()
    assert spent.tasks == 3
    assert len(ran) <= 3


@pytest.mark.process
def test_processes_of_tasks_in_processes_keep_to_it():
    """At any depth; and both budgets hold where one is inside of another."""

    @process
    def inner():
        return 1

    @process
    def middle():
        return sum(inner()() for _ in range(2))

    @process
    def outer():
        return [middle()() for _ in range(5)]

    with budget(tasks=100) as roomy:
        with budget(tasks=5) as spent, pytest.raises(BudgetExceededError) as caught:
            outer()()
        assert "was not started" in str(caught.value)
    assert (spent.tasks, roomy.tasks) == (5, 5)
    with budget(tasks=16) as spent:
        assert outer()() == [2] * 5
    assert spent.tasks == 16


def test_attempts_of_runs_inside_of_tasks_count():
    seen = []

    @thread(retry=10)
    def fail():
        seen.append(1)
        raise ValueError

    @thread
    def outer():
        return fail()()

    with budget(tasks=4), pytest.raises(BudgetExceededError):
        outer()()
    assert len(seen) == 3


def test_what_is_submitted_keeps_to_it():
    gate = threading.Event()

    @thread
    def waits():
        return gate.wait(30)

    with budget(tasks=1):
        future = gather(waits(), waits()).submit()
    gate.set()
    with pytest.raises(BudgetExceededError):
        future.result(30)


def test_an_error_in_place():
    with budget(tasks=2):
        outcomes = gather(one(), one(), one(), return_exceptions=True)()
    assert outcomes.count(1) == 2
    assert sum(isinstance(each, BudgetExceededError) for each in outcomes) == 1


def test_as_they_land():
    with budget(tasks=2):
        landed = [
            future.exception() for _, future in as_completed([one(), one(), one()])
        ]
    assert sum(error is None for error in landed) == 2


def test_time_that_is_over():
    with budget(minutes=0), pytest.raises(BudgetExceededError) as caught:
        one()()
    assert caught.value.limit == "minutes"


@pytest.mark.process
def test_time_that_passes():
    """What runs then is ended."""
    begun = time.monotonic()
    with budget(minutes=0.3 / 60), pytest.raises(BudgetExceededError) as caught:
        process(time.sleep)(100)()
    assert caught.value.limit == "minutes"
    assert time.monotonic() - begun < 50


def test_money_for_each_call(priced):
    priced(CENT)
    with budget(usd=0.035) as spent, pytest.raises(BudgetExceededError) as caught:
        gather(*[spend(0) for _ in range(10)])()
    assert spent.tasks == 3
    assert spent.usd == pytest.approx(0.03)
    assert len(CostlyExecutor.begun) == 3
    assert caught.value.limit == "usd"
    assert "spend was not started, which costs at least 0.01" in str(caught.value)
    assert "a cent each" in str(caught.value)


def test_money_that_runs_away(priced):
    """What runs is ended before more is spent, not when it is over."""
    priced(HOURLY)
    with budget(usd=0.3) as spent, pytest.raises(BudgetExceededError) as caught:
        spend(100)()
    assert caught.value.limit == "usd"
    assert 0.29 <= spent.usd < 50
    assert spent.tasks == 1


def test_observers_hear_of_what_a_budget_ends(priced):
    """Both are told of starts; one does not take them from the other."""
    priced(HOURLY)
    events = []
    with (
        observe(events.append),
        budget(usd=0.3),
        pytest.raises(BudgetExceededError),
    ):
        process(retry=3)(costly(rate="dear")(spend_long))()()
    kinds = [type(event) for event in events]
    assert kinds.count(NodeStarted) == 1
    (end,) = (event for event in events if type(event) is NodeEnded)
    assert end.outcome != "succeeded"
    assert events[-1].outcome == "failed"
    assert "BudgetExceededError" in events[-1].error


def test_a_least_time_is_reserved(priced):
    priced(HOURLY)
    with budget(usd=0.12) as spent, pytest.raises(BudgetExceededError):
        gather(*[spend(0) for _ in range(10)])()
    assert spent.tasks == 2
    assert spent.usd == pytest.approx(0.1, abs=0.02)


def test_places_without_a_price_cost_nothing(priced):
    priced(CENT)
    with budget(usd=0) as spent:
        assert one()() == 1
        with pytest.raises(BudgetExceededError):
            spend(0)()
    assert spent.usd == 0


@pytest.mark.parametrize("others", [{}, {"tasks": 5}])
def test_a_price_that_nobody_knows_is_not_nothing(priced, others):
    priced(CENT)
    there = paid(rate="much")(spend_long)
    with budget(usd=5, **others) as spent, pytest.raises(UnknownPriceError) as caught:
        gather(one(), there())()
    assert CostlyExecutor.begun == []
    assert spent.usd == 0
    assert isinstance(caught.value, BudgetExceededError)
    assert (caught.value.allowed, caught.value.place) == (5, "paid(rate='much')")
    assert "leave usd= out" in str(caught.value)
    assert there().plan().tasks[0].paid
    assert not spend(0).plan().tasks[0].paid


def test_an_unknown_price_counts_where_money_does(priced):
    """No limit of money, nothing to refuse; the inner one holds, too; in place."""
    priced(CENT)
    there = paid(rate="much")(lambda: 0)
    with budget(tasks=1):
        assert there()() == 0
    with budget(usd=5), budget(tasks=5), pytest.raises(UnknownPriceError):
        there()()
    with budget(usd=5):
        value, error = gather(one(), there(), return_exceptions=True)()
    assert value == 1
    assert type(error) is UnknownPriceError


def test_an_executor_that_was_given_may_cost_too():
    with PaidExecutor() as given, budget(usd=5) as spent:
        with pytest.raises(UnknownPriceError):
            task(executor=given)(lambda: 0)()()
    assert spent.tasks == 0


def test_a_place_that_takes_the_place_of_a_paid_one_is_free(priced, monkeypatch):
    priced(CENT)
    monkeypatch.setenv("ENTANGLE_TARGETS", "paid=thread")
    with budget(usd=0):
        assert paid(rate="much")(lambda: 0)()() == 0


def test_what_is_made_for_a_call_costs_before_its_body_begins(priced):
    priced(HOURLY)
    with budget(usd=0.3) as spent, pytest.raises(BudgetExceededError) as caught:
        slow(rate="much")(spend_long)().run(timeout=60)
    assert "has been ended" in str(caught.value)
    assert spent.usd >= 0.29


def test_a_plan_shows_the_price(priced):
    priced(CENT)
    plan = spend(1).plan()
    (entry,) = plan.tasks
    assert entry.price == "a cent each"
    assert entry.price.call == 0.01
    assert "\n  a cent each" in str(plan)


def test_prices_add_up():
    notes = (Price("a", call=1.0), "text", Price("b", second=2.0, least=3.0))
    task = PlannedTask("t", 1, "", "", notes=notes)
    assert task.price.of(1.0) == 7.0
    assert task.price.of(4.0) == 9.0
    assert PlannedTask("t", 1, "", "", notes=("free",)).price is None
    copied = pickle.loads(pickle.dumps(notes[2]))
    assert (copied, copied.second, copied.least) == ("b", 2.0, 3.0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"usd": -1},
        {"minutes": "5"},
        {"tasks": 1.5},
        {"tasks": True},
        {"usd": float("nan")},
    ],
)
def test_limits_that_are_none(options):
    with pytest.raises(OptionError, match="budget"):
        budget(**options)


def test_a_budget_in_use():
    limit = budget(tasks=1)
    with limit, pytest.raises(RuntimeError, match="in use"), limit:
        pass
    assert "0 of 1 tasks" in repr(limit)


def test_inline(monkeypatch):
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    with budget(tasks=1):
        assert one()() == 1
        with pytest.raises(BudgetExceededError):
            one()()
