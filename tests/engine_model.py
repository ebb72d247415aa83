"""What a run of the engine must come to: computed from what was fed, and only that.

For each node the model keeps the results that its attempts have brought; outcomes,
needs and deadlines follow from them by going over the whole graph, with none of the
engine's bookkeeping.
"""

from collections import Counter
from typing import NamedTuple

from hypothesis import strategies as st

from entangle._engine_items import ASSEMBLE, EXTERNAL, FAILED, SUCCEEDED, WATCHED
from entangle._graph.options import Options
from entangle.errors import ProcessRetryException, ProcessTimeoutException

PENDING = ("pending", None)


class Plan(NamedTuple):
    """What the body of a node does, however often and whenever it is asked."""

    failures: int
    error: type[Exception]
    expands: bool


class Verdict(NamedTuple):
    """What an attempt brought: a value, an error, or the items of returned nodes."""

    kind: str
    outcome: object


# Attempts that fail, deadlines and expansions are common enough to meet each other.
OPTIONS = st.fixed_dictionaries(
    {
        "timeout": st.sampled_from([None, None, 4.0]),
        "start": st.sampled_from([None, None, None, 3.0]),
        "wait": st.sampled_from([None, None, 5.0]),
        "retry": st.integers(0, 2),
        "sleep": st.sampled_from([0.0, 1.0]),
        "backoff": st.sampled_from([1.0, 2.0]),
        "retry_on": st.sampled_from([(Exception,), (KeyError,)]),
        "retry_error": st.booleans(),
    }
).map(lambda options: Options(**options))
PLANS = st.builds(
    Plan,
    failures=st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
    error=st.sampled_from([ValueError, KeyError]),
    expands=st.sampled_from([False, False, False, True]),
)
SHAPES = st.sampled_from(["call"] * 5 + ["gather", "tolerant", "external"])


class Overran(Exception):  # noqa: N818 - no error, but the picture of one
    """The model's picture of a `ProcessTimeoutException`."""

    def matches(self, error):
        node, phase, seconds = self.args
        return isinstance(error, ProcessTimeoutException) and (
            error.node,
            error.phase,
            error.seconds,
        ) == (str(node), phase, seconds)


class Model:
    """The nodes of a run, and what has become of them.

    Attributes:
        log: The verdicts of each node.
        arguments: The inputs that each node was built with.
        delivered: The errors (or None) of roots that were delivered.
        begun_at: When the body of a node was first entered.
        counting_from: When an item's bound on its inputs began to count.
    """

    def __init__(self):
        self.now = 10.0
        self.items = []
        self.options, self.plans, self.arguments, self.log = {}, {}, {}, {}
        self.roots, self.lenient, self.delivered = [], {}, {}
        self.uncollected, self.pinned = Counter(), set()
        self.begun_at, self.counting_from = {}, {}
        self._counted, self._unwatched = set(), set()

    def before_event(self):
        """Note what was issued without anybody asking for the time of its start."""
        self._unwatched |= {
            i for i in self.items if i.attempt and not i.flags & WATCHED
        }

    def add(self, item, options, plan, arguments):
        self.items.append(item)
        self.options[item] = options
        self.plans[item] = plan
        self.arguments[item] = arguments
        self.log[item] = []

    def add_root(self, item, *, lenient):
        if item in self.roots and item not in self.delivered:
            self.lenient[item] = self.lenient[item] and lenient
        else:
            self.roots.append(item)
            self.delivered.pop(item, None)
            self.lenient[item] = lenient

    # ---------------------------------------------------------------------- needs

    def inputs(self, item):
        """What an item waits for, or has waited for last."""
        for verdict in self.log[item]:
            if verdict.kind == "nodes":
                return verdict.outcome
        return self.arguments[item]

    def leads(self, start, goal):
        """Whether `goal` is among the transitive inputs of `start`, or is it."""
        return goal in self._closure([start], self.inputs)

    def needed(self):
        """What an undelivered root leads to, through what has not ended."""
        return self._closure(
            [r for r in self.roots if r not in self.delivered],
            lambda item: self.inputs(item) if item.status < SUCCEEDED else (),
        )

    def _closure(self, start, inputs):
        found, stack = set(), list(start)
        while stack:
            item = stack.pop()
            if item not in found:
                found.add(item)
                stack += inputs(item)
        return found

    # ------------------------------------------------------------------- outcomes

    def bodies(self, item):
        """How many attempts have come to an end by themselves."""
        return sum(not isinstance(v.outcome, Overran) for v in self.log[item])

    def attempts_over(self, item):
        return sum(v.kind == "error" for v in self.log[item])

    def outcomes(self):
        """The outcome of all nodes, from nothing but what their attempts brought."""
        found, before = dict.fromkeys(self.items, PENDING), None
        while found != before:  # nodes may wait for later ones, or for themselves
            before = dict(found)
            for item in self.items:
                found[item] = self._outcome(item, found)
        return found

    def _outcome(self, item, found):
        log = self.log[item]
        errors = [v.outcome for v in log if v.kind == "error"]
        if errors and not self._tries_again(item, errors):
            return ("error", {errors[-1]})
        if log and log[-1].kind == "broken":
            return ("error", {log[-1].outcome})
        failed = set()
        if not self.options[item].tolerant:
            failed |= _errors_of(found[p] for p in self.arguments[item])
        if any(verdict.kind == "nodes" for verdict in log):
            failed |= _errors_of(found[p] for p in self.inputs(item))
        if failed:
            return ("error", failed)
        if log and log[-1].kind == "value":
            return ("value", log[-1].outcome)
        return PENDING

    def _tries_again(self, item, errors):
        options, last = self.options[item], errors[-1]
        kind = ProcessTimeoutException if isinstance(last, Overran) else type(last)
        return (
            not item.flags & EXTERNAL
            and len(errors) <= options.retry
            and issubclass(kind, options.retry_on)
        )

    def is_one_of(self, error, expected):
        """Whether an error of the engine is one of those of the model."""
        if isinstance(error, ProcessRetryException):
            error = error.errors[-1]
        return any(
            error is e or (isinstance(e, Overran) and e.matches(error))
            for e in expected
        )

    def ideal(self, item, memo):
        """The outcome of a node from its plan alone, by plain recursion."""
        if item not in memo:
            memo[item] = self._ideal(item, memo)
        return memo[item]

    def _ideal(self, item, memo):
        options, plan = self.options[item], self.plans[item]
        inputs = [self.ideal(p, memo) for p in self.arguments[item]]
        if item.flags & ASSEMBLE and options.tolerant:
            return combine("all", inputs)
        if "an error" in inputs:
            return "an error"
        if item.flags & ASSEMBLE:
            return combine("all", inputs)
        attempts = 1
        if issubclass(plan.error, options.retry_on) and not item.flags & EXTERNAL:
            attempts += options.retry
        if plan.failures >= attempts:
            return "an error"
        for verdict in self.log[item]:
            if verdict.kind == "nodes":
                inner = [self.ideal(p, memo) for p in verdict.outcome]
                return "an error" if "an error" in inner else combine("all", inner)
        return combine(item.node, inputs)

    # ------------------------------------------------------------------- deadlines

    def wait_counts_from(self, item):
        """When the first body in the argument graph of a waiting item was entered.

        If that was before the item came, or nobody asked when it was: when it came.
        """
        if item not in self.counting_from:
            # Without what bodies have returned: those bodies were entered before.
            graph = self._closure(self.arguments[item], self.arguments.__getitem__)
            begun = [
                self.begun_at.get(each, self.now)
                for each in graph
                if each in self.begun_at
                or each.flags & EXTERNAL
                or each.status in {SUCCEEDED, FAILED}
            ]
            if item in self._counted:
                since = min(begun, default=None)
            else:
                self._counted.add(item)
                since = self.now if begun or graph & self._unwatched else None
            if since is None:
                return None
            self.counting_from[item] = since
        return self.counting_from[item]


def _errors_of(outcomes):
    return {e for kind, errors in outcomes if kind == "error" for e in errors}


def combine(what, values):
    """The value of a node, from those of its inputs: a number that tells them all.

    Of errors it only tells that they are some. Not the values themselves in a tuple:
    written out, a graph with shared nodes grows exponentially.
    """
    return hash((what, *("an error" if _is_error(v) else v for v in values)))


def _is_error(value):
    return value == "an error" or isinstance(value, BaseException)
