"""What runs may spend: calls, minutes, money; checked before, and watched while."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from entangle.errors import BudgetExceededError, OptionError, UnknownPriceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token
    from types import TracebackType

    from entangle._graph.task import Task
    from entangle._seam.planned import PlannedTask, Price

    from .calls import NodeCall
    from .run import Run


_current: ContextVar[Budget | None] = ContextVar("entangle_budget", default=None)


def current() -> Budget | None:
    """Return the budget that the calling code has to keep to."""
    return _current.get()


class Spent:
    """What one call takes of a budget.

    Attributes:
        price: What it costs; None if nothing, as far as is known.
        since: When it began to cost.
        running: Whether it is known to have begun.
    """

    __slots__ = ("price", "running", "since")

    def __init__(self, price: Price | None, since: float, *, running: bool) -> None:
        self.price = price
        self.since = since
        self.running = running

    def usd(self, now: float) -> float:
        """Return what it has cost so far."""
        if self.price is None:
            return 0.0
        seconds = now - self.since if self.running else 0.0
        return self.price.of(max(0.0, seconds))

    def rate(self) -> float:
        """Return what each second costs."""
        return self.price.second if self.price is not None and self.running else 0.0


class Budget:
    """What the runs begun in a ``with`` statement may spend together. Thread-safe.

    Attributes:
        tasks: How many calls have been started, those of retries too; kept values
            don't count.
    """

    clock = staticmethod(time.monotonic)

    def __init__(
        self,
        *,
        usd: float | None = None,
        minutes: float | None = None,
        tasks: int | None = None,
    ) -> None:
        limits = {"usd": usd, "minutes": minutes, "tasks": tasks}
        for name, limit in limits.items():
            _check(name, limit)
        if not any(limit is not None for limit in limits.values()):
            raise _refused("usd", "budget() needs a limit: usd=, minutes= or tasks=")
        self._most_usd = usd
        self._most_tasks = tasks
        self._seconds = None if minutes is None else minutes * 60.0
        self._begun: float | None = None
        self._lock = threading.RLock()
        self.tasks = 0
        self._settled = 0.0
        self._going: dict[NodeCall, Spent] = {}
        self._plans: dict[Task[..., Any], PlannedTask | None] = {}
        self._runs: dict[Run, Any] = {}  # with the timers that watch over them
        self._outer: Budget | None = None
        self._token: Token[Budget | None] | None = None

    def __enter__(self) -> Self:
        """Have the runs that begin from here on keep to it."""
        if self._token is not None:
            raise RuntimeError("this budget is in use: make another with budget()")
        self._outer = _current.get()
        self._token = _current.set(self)
        self._begun = self._begun if self._begun is not None else self.clock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Runs that are under way still keep to it."""
        token, self._token = self._token, None
        if token is not None:
            _current.reset(token)

    @property
    def usd(self) -> float:
        """What the calls have cost so far, by the prices that plugins know."""
        with self._lock:
            return self._usd(self.clock())

    @property
    def minutes(self) -> float:
        """How long ago it was entered."""
        return 0.0 if self._begun is None else (self.clock() - self._begun) / 60.0

    def __repr__(self) -> str:
        """Show limits and what is spent."""
        limits: list[str] = []
        if self._most_usd is not None:
            limits.append(f"{self.usd:.6g} of {self._most_usd:g} USD")
        if self._most_tasks is not None:
            limits.append(f"{self.tasks} of {self._most_tasks} tasks")
        if self._seconds is not None:
            limits.append(f"{self.minutes:.3g} of {self._seconds / 60:g} minutes")
        return f"<budget: {', '.join(limits)} spent>"

    # -- for runs: all but `price` inside the monitor ------------------------------

    def price(self, task: Task[..., Any]) -> None:
        """Find out what the calls of a task cost; outside of the monitor."""
        if self._most_usd is not None and task not in self._plans:
            from .plan import planned

            away = task.options.executor is not None
            self._plans[task] = planned(task) if away else None
        if self._outer is not None:
            self._outer.price(task)

    def begin(self, run: Run) -> None:
        """Watch over a run from its begin on."""
        with self._lock:
            self._runs.setdefault(run, None)
            self._watch()
        if self._outer is not None:
            self._outer.begin(run)

    def finished(self, run: Run) -> None:
        """A run is over."""
        with self._lock:
            timer = self._runs.pop(run, None)
        if timer is not None:
            timer.cancel()
        if self._outer is not None:
            self._outer.finished(run)

    def admit(self, call: NodeCall) -> BudgetExceededError | None:
        """Count a call in that is about to start, or say why it must not."""
        now = self.clock()
        error = self.refusal(call, now)
        if error is None:
            self.count(call, now)
        return error

    def admit_inner(self, name: str) -> BudgetExceededError | None:
        """Count in a call that a task makes in another process, or say why not."""
        error = self.refusal_inner(name, self.clock())
        if error is None:
            self.count_inner()
        return error

    def refusal_inner(self, name: str, now: float) -> BudgetExceededError | None:
        """Say why a call in another process must not start; None if it may."""
        with self._lock:
            error = self._exceeded_by(name, None, now)
        if error is None and self._outer is not None:
            error = self._outer.refusal_inner(name, now)
        return error

    def count_inner(self) -> None:
        """Count a call in that a task makes in another process."""
        with self._lock:
            self.tasks += 1
        if self._outer is not None:
            self._outer.count_inner()

    def refusal(self, call: NodeCall, now: float) -> BudgetExceededError | None:
        """Say why a call must not start; None if it may."""
        with self._lock:
            error = self._exceeded_by(call.name, self._plans.get(call.task), now)
        if error is None and self._outer is not None:
            error = self._outer.refusal(call, now)
        return error

    def count(self, call: NodeCall, now: float) -> None:
        """Count a call in."""
        plan = self._plans.get(call.task)
        price = None if plan is None else plan.price
        knows = price is not None and price.second > 0 and _tells_starts(call)
        if knows:
            # Told to the run, too: observers alone want less than that.
            call.wants_start = call.alone = True
        with self._lock:
            self.tasks += 1
            self._going[call] = Spent(price, now, running=not knows)
            self._watch()
        if self._outer is not None:
            self._outer.count(call, now)

    def started(self, call: NodeCall, at: float) -> None:
        """A call's body was entered, or its place made: it costs from the first on."""
        with self._lock:
            spent = self._going.get(call)
            if spent is not None and not spent.running:
                spent.since, spent.running = at, True
                self._watch()
        if self._outer is not None:
            self._outer.started(call, at)

    def left(self, call: NodeCall) -> None:
        """A call is over; nothing is known of one whose value was kept."""
        with self._lock:
            spent = self._going.pop(call, None)
            if spent is not None:
                self._settled += spent.usd(self.clock())
                self._watch()
        if self._outer is not None:
            self._outer.left(call)

    def _usd(self, now: float) -> float:
        return self._settled + sum(spent.usd(now) for spent in self._going.values())

    def _exceeded_by(
        self, name: str, plan: PlannedTask | None, now: float
    ) -> BudgetExceededError | None:
        what = f"{name} was not started"
        if self._most_tasks is not None and self.tasks >= self._most_tasks:
            return BudgetExceededError("tasks", self._most_tasks, self.tasks, what)
        if self._out_of_time(now):
            return self._time_is_up(what)
        if self._most_usd is None or plan is None:
            return None
        usd, price = self._usd(now), plan.price
        if price is None:
            return self._unknown(name, plan, usd) if plan.paid else None
        least = price.of(0.0)
        if usd + least <= self._most_usd:
            return None
        what += f", which costs at least {least:.6g} ({price})"
        return BudgetExceededError("usd", self._most_usd, usd, what)

    def _unknown(self, name: str, plan: PlannedTask, spent: float) -> UnknownPriceError:
        return UnknownPriceError(
            name,
            plan.place,
            "; ".join(plan.notes),
            allowed=self._most_usd or 0.0,
            spent=spent,
        )

    def _out_of_time(self, now: float) -> bool:
        return (
            self._seconds is not None
            and self._begun is not None
            and now - self._begun >= self._seconds
        )

    def _time_is_up(self, what: str) -> BudgetExceededError:
        seconds = self._seconds or 0.0
        return BudgetExceededError("minutes", seconds / 60, self.minutes, what)

    def _watch(self) -> None:
        """Ring when the first limit will be reached, if nothing changes before."""
        moments: list[float] = []
        now = self.clock()
        if self._seconds is not None and self._begun is not None:
            moments.append(self._begun + self._seconds)
        rate = sum(spent.rate() for spent in self._going.values())
        if self._most_usd is not None and rate > 0:
            # What is billed for a least time grows later, so this is never too late.
            moments.append(now + max(0.0, self._most_usd - self._usd(now)) / rate)
        for run, timer in self._runs.items():
            if timer is not None:
                timer.cancel()
            self._runs[run] = (
                run.hub.at(min(moments), self._ring_for(run)) if moments else None
            )

    def _ring_for(self, run: Run) -> Callable[[], None]:
        def ring() -> None:
            with self._lock:
                if run not in self._runs:
                    return
                self._runs[run] = None
                error = self._reached(self.clock())
                if error is None:
                    self._watch()
            if error is not None:
                run.stop(error)

        return ring

    def _reached(self, now: float) -> BudgetExceededError | None:
        what = "what was running has been ended"
        if self._out_of_time(now):
            return self._time_is_up(what)
        usd = self._usd(now)
        rate = sum(spent.rate() for spent in self._going.values())
        # What a thousandth of a second costs is not worth another alarm.
        if self._most_usd is not None and usd + rate / 1000 >= self._most_usd:
            return BudgetExceededError("usd", self._most_usd, usd, what)
        return None


def budget(
    *,
    usd: float | None = None,
    minutes: float | None = None,
    tasks: int | None = None,
) -> Budget:
    """Limit what the runs begun in a ``with`` statement may spend together.

    A call that would exceed a limit is not started; where a limit would be exceeded by
    what is running, that is ended. Either way the run raises `BudgetExceededError`.
    Of the calls that a task makes by itself in another process those count that run in
    processes, too; what such a call costs elsewhere is not known. One budget may be
    inside of another: both hold.

    Args:
        usd: US dollars, by the prices that plugins know beforehand (`Node.plan` shows
            them). A call whose place costs money, and nobody knows how much, is not
            started: that is an `UnknownPriceError`. Other places cost nothing. It is
            an estimate: the provider's bill decides.
        minutes: Minutes since the ``with`` statement was entered.
        tasks: Calls that are started, those of retries too; values that were kept
            don't count.

    Returns:
        The budget, to be entered: ``with budget(usd=5) as spent``. Its ``usd``,
        ``minutes`` and ``tasks`` say what was spent.

    Raises:
        OptionError: A limit is negative or no number, or there is none.
    """
    return Budget(usd=usd, minutes=minutes, tasks=tasks)


def _tells_starts(call: NodeCall) -> bool:
    """Tell whether the call's place says when a body is entered."""
    from entangle._graph.target import Target

    place = call.task.options.executor
    if isinstance(place, Target):
        capabilities = getattr(place.of.make, "capabilities", None)
        return bool(getattr(capabilities, "started", False))
    return False


def _check(name: str, limit: object) -> None:
    """Refuse what is no limit: the caller may not have been looked at by a checker."""
    whole = type(limit) is int
    number = whole or type(limit) is float
    if limit is None or (number and limit >= 0 and (whole or name != "tasks")):  # type: ignore[operator]
        return
    kind = "a whole number" if name == "tasks" else "a number"
    raise _refused(name, f"budget(): {name} must be {kind} from 0 on, not {limit!r}")


def _refused(name: str, reason: str) -> OptionError:
    return OptionError(reason, decorator="budget", option=name)
