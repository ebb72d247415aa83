"""Random graphs, with events in every order that a driver could bring.

Beside the engine runs a model that knows only what was fed: for each node the results
that its attempts brought. After each event everything that the engine holds is computed
anew from that, by plain recursion and without any bookkeeping, and compared.
"""

from collections import Counter
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from entangle._engine import GRACE, HOW, Engine
from entangle._engine_items import (
    ABANDONED,
    ASSEMBLE,
    ASSEMBLING,
    CANCELLED,
    CANCELLING,
    EXPANDING,
    EXTERNAL,
    FAILED,
    ISSUED,
    READY,
    ROOT,
    RUNNING,
    SLEEPING,
    SUCCEEDED,
    TOLERANT,
    WAITING,
    WATCHED,
)
from entangle._graph.options import Options
from entangle.errors import (
    CompositionError,
    ProcessRetryException,
    ProcessTimeoutException,
)

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


CALL_OPTIONS = st.builds(
    lambda **options: Options(**options),
    timeout=st.sampled_from([None, None, 4.0]),
    start=st.sampled_from([None, None, None, 3.0]),
    wait=st.sampled_from([None, None, 5.0]),
    retry=st.integers(0, 2),
    sleep=st.sampled_from([0.0, 1.0]),
    backoff=st.sampled_from([1.0, 2.0]),
    retry_on=st.sampled_from([(Exception,), (KeyError,)]),
    retry_error=st.booleans(),
)
PLANS = st.builds(
    Plan,
    failures=st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
    error=st.sampled_from([ValueError, KeyError]),
    expands=st.sampled_from([False, False, False, True]),
)
SHAPES = st.sampled_from(["call"] * 5 + ["gather", "tolerant", "external"])


def plain(value):
    """A value without the identity of the errors in it."""
    if isinstance(value, BaseException):
        return "an error"
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value


def errors_of(outcomes):
    """All errors among these outcomes."""
    return {e for kind, errors in outcomes if kind == "error" for e in errors}


class Runs(RuleBasedStateMachine):
    """One run of the engine, and the model of it."""

    @initialize(
        data=st.data(),
        size=st.integers(1, 9),
        workers=st.sampled_from([None, None, 1, 2]),
        timeout=st.sampled_from([None, None, None, 20.0]),
        more=st.booleans(),
        lazy=st.booleans(),
        cyclic=st.sampled_from([False, False, False, True]),
    )
    def build(self, data, size, workers, timeout, more, lazy, cyclic):
        self.engine = Engine(workers=workers, timeout=timeout, seed=size, name=str)
        self.workers, self.lazy, self.cyclic = workers, lazy, cyclic
        self.run_timeout = timeout
        self.now = 10.0
        self.items = []
        self.options, self.plans, self.arguments, self.log = {}, {}, {}, {}
        self.calls, self.over = {}, []  # calls that go on; those that are over
        self.assembling = []
        self.issued_at, self.begun_at, self.counting_from = {}, {}, {}
        self.overrun = {}  # calls told to end because they missed a deadline
        self.told = {}  # calls told to end: when
        self.alarm_at, self.run_alarm = {}, None
        self.final = {}  # status in which an item has ended
        self.roots, self.lenient, self.delivered = [], {}, {}
        self.uncollected = Counter()
        self.seen, self.unwatched = set(), set()
        self.worst = 0
        self.disturbed = False  # by deadlines or from outside: not just by bodies
        self.decided = None
        self.open = more
        self.begun = False
        new = self.batch(data, size)
        # At least the last, so that there is something to do.
        for item in dict.fromkeys([new[-1], data.draw(st.sampled_from(new))]):
            self.make_root(data, item)
        self.begun = True
        self.event(lambda: self.engine.begin(self.now, more=more))

    # ------------------------------------------------------------------- building

    def batch(self, data, size):
        new = []
        for _ in range(size):
            shape = data.draw(SHAPES)
            options = data.draw(CALL_OPTIONS)
            if shape == "tolerant":
                options = options._replace(tolerant=True)
            item = self.engine.add(
                len(self.items),
                options,
                assemble=shape in {"gather", "tolerant"},
                external=shape == "external",
            )
            self.options[item] = options
            self.plans[item] = data.draw(PLANS)
            self.arguments[item] = []
            self.log[item] = []
            usable = [other for other in self.items if not other.spent]
            if usable and shape != "external":
                chosen = data.draw(
                    st.lists(
                        st.sampled_from(usable[-6:]), max_size=6, unique_by=id
                    )
                )
                for producer in chosen:
                    self.engine.link(item, producer)
                self.arguments[item] = chosen
            self.items.append(item)
            new.append(item)
        return new

    def make_root(self, data, item):
        if self.decided:
            return
        lenient = data.draw(st.booleans())
        self.engine.root(item, tolerant=lenient)
        if item in self.roots and item not in self.delivered:
            self.lenient[item] = self.lenient[item] and lenient
        else:
            self.roots.append(item)
            self.delivered.pop(item, None)
            self.lenient[item] = lenient

    # ----------------------------------------------------------------- one event

    def event(self, feed):
        """Feed an event, then do with its commands what a driver does."""
        decided = self.decided
        self.unwatched |= {i for i in self.items if i.attempt and not i.flags & WATCHED}
        live_before = [i for i in self.items if i.status < SUCCEEDED]
        feed()
        engine = self.engine
        self.decided = engine.outcome
        if decided:
            assert engine.outcome == decided
            assert not engine.starts
            assert not engine.assembles
            assert not engine.deliveries
        while engine.alarms:
            at, token = engine.alarms.popleft()
            assert at >= self.now or at in {
                self.begun_at.get(i, 0) + (self.options[i].timeout or 0)
                for i in self.items
            } | {
                self.counting(i) + (self.options[i].wait or 0)
                for i in self.items
                if self.counting(i) is not None
            }
            assert token not in self.alarm_at
            self.alarm_at[token] = at
        while engine.cancels:
            item, attempt = engine.cancels.popleft()
            assert self.calls[item] == attempt, "only what runs is told to end, once"
            assert not item.flags & EXTERNAL
            assert (item, attempt) not in self.told
            self.told[item, attempt] = self.now
        for item in engine.starts:
            self.issued_at.setdefault((item, item.attempt), self.now)
        if not self.lazy:
            self.drain()
        while engine.assembles:
            item = engine.assembles.popleft()
            assert all(p.status in {SUCCEEDED, FAILED} for p in item.inputs)
            self.assembling.append(item)
        while engine.deliveries:
            root, error = engine.deliveries.popleft()
            assert root in self.roots
            assert root not in self.delivered
            assert error is root.error
            self.delivered[root] = error
            self.uncollected[root] += 1
        for item in live_before:
            if item.status in {CANCELLED, ABANDONED} and self.decided in {
                None,
                "succeeded",
            }:
                assert item not in self.needed()

    def drain(self):
        while self.engine.starts:
            self.pop()

    def pop(self):
        item = self.engine.starts.popleft()
        assert item not in self.calls
        assert item.status == ISSUED
        assert item.attempt == sum(
            v.kind == "error" for v in self.log[item]
        ) + 1, "one attempt for each failure, plus this one"
        self.calls[item] = item.attempt
        self.issued_at.setdefault((item, item.attempt), self.now)

    def close_call(self, item):
        attempt = self.calls.pop(item)
        self.over.append((item, attempt))
        return attempt

    def counts(self, item, attempt):
        """Whether a result of this call is one that the run can use."""
        if self.decided:
            return False
        if (item, attempt) in self.told:
            return (item, attempt) in self.overrun and item in self.needed()
        return True

    # --------------------------------------------------------------------- events

    def a_call(self, data):
        # Those of external items go on without being issued.
        external = [
            i
            for i in self.items
            if i.flags & EXTERNAL and i.status == RUNNING and i not in self.calls
        ]
        for item in external:
            self.calls[item] = item.attempt
        if not self.calls:
            return None
        return data.draw(st.sampled_from(sorted(self.calls, key=lambda i: i.node)))

    @rule(data=st.data())
    def a_start_is_drained(self, data):
        if self.engine.starts:
            self.pop()

    @rule(data=st.data(), late=st.sampled_from([0.0, 0.0, 0.5]))
    def a_body_is_entered(self, data, late):
        item = self.a_call(data)
        if item is None or item.flags & EXTERNAL:
            return
        at = max(self.now - late, self.issued_at[item, self.calls[item]])
        if item.status == ISSUED:
            self.begun_at[item, self.calls[item]] = at
            self.note_begin(item, at)
        self.event(lambda: self.engine.started(item, self.calls[item], at))

    @rule(data=st.data())
    def a_body_returns(self, data):
        item = self.a_call(data)
        if item is not None:
            self.result(data, item)

    def result(self, data, item):
        """What the plan says; without `data` to draw from, no more nodes."""
        plan = self.plans[item]
        attempt = self.close_call(item)
        counts = self.counts(item, attempt)
        self.answered(item, attempt, "already done", counts)
        if counts:
            self.note_begin(item, self.now)
        bodies = [v for v in self.log[item] if not self.is_timeout(v)]
        if len(bodies) < plan.failures:
            error = plan.error(item.node, attempt)
            if counts:
                self.log[item].append(Verdict("error", error))
            self.event(
                lambda: self.engine.failed(item, attempt, error, self.now)
            )
        elif data and plan.expands and not item.flags & EXTERNAL:
            self.batch(data, data.draw(st.integers(0, 3)))
            usable = [
                other
                for other in self.items
                if not other.spent and (self.cyclic or not self.leads(other, item))
            ]
            producers = (
                data.draw(st.lists(st.sampled_from(usable[-6:]), max_size=3))
                if usable
                else []
            )
            if counts:
                self.log[item].append(Verdict("nodes", list(dict.fromkeys(producers))))
            self.event(
                lambda: self.engine.expanded(
                    item, attempt, producers, self.now, value="raw"
                )
            )
        else:
            if counts:
                assert all(p.wants for p in item.inputs)
            value = (item.node, *(p.value for p in item.inputs))
            if counts:
                self.log[item].append(Verdict("value", value))
            self.event(lambda: self.engine.succeeded(item, attempt, value, self.now))

    @rule(data=st.data())
    def a_value_is_assembled(self, data):
        if self.assembling:
            item = data.draw(st.sampled_from(self.assembling))
            self.assemble(item, fails=data.draw(st.integers(0, 9)) == 0)

    def assemble(self, item, *, fails=False):
        self.assembling.remove(item)
        counts = item.status == ASSEMBLING
        if fails:
            self.disturbed = True
            error = TypeError(item.node)
            if counts:
                self.log[item].append(Verdict("broken", error))
            self.event(lambda: self.engine.unassembled(item, error, self.now))
            return
        value = ("all", *(p.value for p in item.inputs))
        if counts:
            self.log[item].append(Verdict("value", value))
        self.event(lambda: self.engine.assembled(item, value, self.now))

    @rule(data=st.data(), how=st.sampled_from([*HOW[:3], HOW[4]]))
    def a_cancelled_call_ends(self, data, how):
        running = [i for i, attempt in self.calls.items() if (i, attempt) in self.told]
        if running:
            item = data.draw(st.sampled_from(sorted(running, key=lambda i: i.node)))
            self.end(item, how)

    def end(self, item, how):
        attempt = self.close_call(item)
        counts = self.counts(item, attempt)
        self.answered(item, attempt, how, counts)
        if counts:
            self.log[item].append(Verdict("error", self.overrun[item, attempt]))
        self.event(lambda: self.engine.ended(item, attempt, how, self.now))

    def answered(self, item, attempt, how, counts):
        """A call that was told to end has: note how, unless a result has won."""
        if (item, attempt) in self.told and (
            how != "already done" or not counts
        ):
            self.worst = max(self.worst, HOW.index(how))

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 5.0]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(data=st.data())
    def an_alarm_goes_off(self, data):
        due = sorted(t for t, at in self.alarm_at.items() if at <= self.now)
        if due:
            self.fire(data.draw(st.sampled_from(due)))

    def fire(self, token):
        self.classify(token)
        self.event(lambda: self.engine.alarm(token, self.now))
        # Fires again at any time: a stale alarm.

    def classify(self, token):
        """What the model expects of an alarm."""
        live = self.engine._alarms._live
        if token not in live:
            return
        owner = live[token]
        if owner is None:
            self.disturbed = True
            return
        if isinstance(owner, list):
            for item, attempt in owner:
                if self.calls.get(item) == attempt:
                    assert self.told[item, attempt] + GRACE <= self.now
                    self.close_call(item)
                    if self.counts(item, attempt):
                        error = self.overrun[item, attempt]
                        self.log[item].append(Verdict("error", error))
                    self.worst = max(self.worst, HOW.index("unconfirmed"))
            return
        item, options = owner, self.options[owner]
        phase, seconds = {
            WAITING: ("wait", options.wait),
            ISSUED: ("start", options.start),
            RUNNING: ("body", options.timeout),
            SLEEPING: (None, None),
        }[item.status]
        if phase is None:
            return
        self.disturbed = True
        error = Overran(item.node, phase, seconds)
        if phase == "wait":
            self.log[item].append(Verdict("error", error))
            self.counting_from[item] = self.now
        elif item in self.engine.starts:
            self.log[item].append(Verdict("error", error))
        else:
            self.overrun[item, item.attempt] = error

    @rule(data=st.data())
    def something_comes_too_late(self, data):
        engine, now = self.engine, self.now
        if self.over:
            item, attempt = data.draw(st.sampled_from(self.over))
            late = data.draw(st.integers(0, 4))
            self.event(
                [
                    lambda: engine.succeeded(item, attempt, "late", now),
                    lambda: engine.failed(item, attempt, OSError("late"), now),
                    lambda: engine.ended(item, attempt, "cannot kill", now),
                    lambda: engine.started(item, attempt, now),
                    lambda: engine.expanded(item, attempt, [], now),
                ][late]
            )
        else:
            self.event(lambda: engine.alarm(10**9, now))

    @rule(data=st.data())
    def a_root_is_collected(self, data):
        todo = list(+self.uncollected)
        if todo:
            root = data.draw(st.sampled_from(todo))
            self.uncollected[root] -= 1
            self.event(lambda: self.engine.collected(root))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), size=st.integers(0, 2))
    def roots_are_added(self, data, size):
        if len(self.items) > 20:
            return
        new = self.batch(data, size)
        usable = [i for i in self.items if not i.spent and (i in new or self.begun)]
        if usable:
            self.make_root(data, data.draw(st.sampled_from([*new, *usable])))
        self.event(lambda: self.engine.settle(self.now))

    @precondition(lambda self: self.open)
    @rule()
    def no_more_roots(self):
        self.open = False
        self.event(lambda: self.engine.close(self.now))

    @rule(sure=st.integers(0, 14))
    def the_run_is_cancelled(self, sure):
        if sure == 0:
            self.disturbed = True
            self.event(lambda: self.engine.cancel(self.now))

    # ------------------------------------------------------------------- the model

    def is_timeout(self, verdict):
        return isinstance(verdict.outcome, Overran)

    def current_inputs(self, item):
        for verdict in self.log[item]:
            if verdict.kind == "nodes":
                return verdict.outcome
        return self.arguments[item]

    def leads(self, start, goal):
        """Whether `goal` is among the transitive inputs of `start`, or is it."""
        seen, stack = set(), [start]
        while stack:
            item = stack.pop()
            if item is goal:
                return True
            if item not in seen:
                seen.add(item)
                stack += self.current_inputs(item)
        return False

    def needed(self):
        """What a root that was not delivered leads to, through what has not ended."""
        found = set()
        stack = [r for r in self.roots if r not in self.delivered]
        while stack:
            item = stack.pop()
            if item not in found:
                found.add(item)
                if item.status < SUCCEEDED:
                    stack += self.current_inputs(item)
        return found

    def note_begin(self, item, at):
        self.begun_at.setdefault(item, at)

    def counting(self, item):
        return self.counting_from.get(item)

    def evaluate(self):
        """The outcome of all nodes, from nothing but what their attempts brought."""
        found, before = dict.fromkeys(self.items, PENDING), None
        while found != before:  # nodes may wait for later ones, or for themselves
            before = dict(found)
            for item in self.items:
                found[item] = self.evaluated(item, found)
        return found

    def evaluated(self, item, found):
        options, log = self.options[item], self.log[item]
        errors = [v.outcome for v in log if v.kind == "error"]
        if errors and (item.flags & EXTERNAL or not self.again(options, errors)):
            return ("error", {errors[-1]})
        if log and log[-1].kind == "broken":
            return ("error", {log[-1].outcome})
        inputs = [found[p] for p in self.arguments[item]]
        if not options.tolerant:
            failed = errors_of(inputs)
            if failed:
                return ("error", failed)
        if any(kind == "pending" for kind, _ in inputs):
            return PENDING
        for verdict in log:
            if verdict.kind == "nodes":
                inner = [found[p] for p in verdict.outcome]
                failed = errors_of(inner)
                if failed:
                    return ("error", failed)
        if log and log[-1].kind == "value":
            return ("value", log[-1].outcome)
        return PENDING

    def again(self, options, errors):
        kinds = tuple(TimeoutError if t is Exception else t for t in options.retry_on)
        del kinds
        last = errors[-1]
        fits = issubclass(
            ProcessTimeoutException if isinstance(last, Overran) else type(last),
            options.retry_on,
        )
        return len(errors) <= options.retry and fits

    def same_error(self, error, expected):
        if isinstance(error, ProcessRetryException):
            return any(self.same_error(error.errors[-1], [e]) for e in expected)
        return any(
            error is e or (isinstance(e, Overran) and e.matches(error))
            for e in expected
        )

    def ideal(self, item, memo):
        """The outcome of a node from its plan alone: plain recursion."""
        if item not in memo:
            memo[item] = self._ideal(item, memo)
        return memo[item]

    def _ideal(self, item, memo):
        options, plan = self.options[item], self.plans[item]
        inputs = [self.ideal(p, memo) for p in self.arguments[item]]
        if item.flags & ASSEMBLE:
            if options.tolerant:
                return ("all", *inputs)
            return "an error" if "an error" in inputs else ("all", *inputs)
        if "an error" in inputs:
            return "an error"
        attempts = 1
        if issubclass(plan.error, options.retry_on) and not item.flags & EXTERNAL:
            attempts += options.retry
        if plan.failures >= attempts:
            return "an error"
        for verdict in self.log[item]:
            if verdict.kind == "nodes":
                inner = [self.ideal(p, memo) for p in verdict.outcome]
                return "an error" if "an error" in inner else ("all", *inner)
        return (item.node, *inputs)

    # ------------------------------------------------------------------ invariants

    @invariant()
    def outcomes_are_those_of_the_model(self):
        # A knot is found out by the engine alone: take its word, if there is one.
        for item in self.items:
            if (
                item.status == FAILED
                and isinstance(item.value, CompositionError)
                and item.value.task == str(item.node)
                and not any(v.kind == "broken" for v in self.log[item])
            ):
                assert any(self.leads(p, item) for p in self.current_inputs(item))
                self.log[item].append(Verdict("broken", item.value))
                self.disturbed = True
        for item, (kind, outcome) in self.evaluate().items():
            status = item.status
            if status == SUCCEEDED:
                assert kind == "value", item
                if item.wants:
                    assert item.value is outcome
                else:
                    assert item.value is None
            elif status == FAILED:
                assert kind == "error", (item, item.value, kind, self.log[item])
                assert self.same_error(item.value, outcome)
            elif status < SUCCEEDED and not self.decided:
                assert kind == "pending" or item not in self.needed(), item

    @invariant()
    def each_item_ends_once(self):
        for item in self.items:
            if item in self.final:
                assert item.status == self.final[item]
            elif item.status >= SUCCEEDED:
                self.final[item] = item.status

    @invariant()
    def counts_are_right(self):
        live = [i for i in self.items if i.status < SUCCEEDED]
        for item in self.items:
            wants = sum(item in c.inputs for c in live)
            wants += item in self.roots and item not in self.delivered
            wants += self.uncollected[item]
            if item.status not in {CANCELLED, ABANDONED}:
                assert item.wants == wants, item
        for item in live:
            if item.status in {WAITING, EXPANDING}:
                assert item.pending == sum(p.status < SUCCEEDED for p in item.inputs)
            else:
                assert item.pending == 0
        statuses = [i.status for i in live]
        engine = self.engine
        own = [i for i in live if not i.flags & EXTERNAL]
        calls = sum(i.status in {ISSUED, RUNNING, CANCELLING} for i in own)
        assert engine._calls == calls
        idle = {WAITING, EXPANDING}
        assert engine._active == sum(s not in idle for s in statuses)
        if self.workers is not None:
            assert calls <= self.workers
            if READY in statuses:
                assert calls == self.workers
        else:
            assert READY not in statuses

    @invariant()
    def nothing_is_forgotten(self):
        engine, needed = self.engine, self.needed()
        for item in self.items:
            status = item.status
            if status in {ISSUED, RUNNING}:
                mine = item.flags & EXTERNAL or item in engine.starts
                assert mine or self.calls[item] == item.attempt
            elif status == ASSEMBLING:
                assert item in self.assembling
            elif status == CANCELLING:
                assert (item, item.attempt) in self.told
            if status in {WAITING, EXPANDING}:
                assert item.pending
            if not self.cyclic and status < SUCCEEDED and status != CANCELLING:
                assert item in needed
        if self.decided in {"failed", "cancelled"}:
            for item in self.items:
                assert item.status >= CANCELLING
                assert item.status not in {SLEEPING, EXPANDING, ASSEMBLING}

    @invariant()
    def alarms_are_set_when_and_only_when_they_are_due(self):
        live = self.engine._alarms._live
        watched = {}
        for token, owner in live.items():
            if owner is not None and not isinstance(owner, list):
                assert owner not in watched
                assert owner.extra.token == token
                watched[owner] = self.alarm_at[token]
        for item in self.items:
            expected = self.expected_alarm(item)
            if expected == "asleep":
                assert item in watched
            else:
                assert watched.get(item) == expected, (item, expected, watched.get(item), [(i, i.flags, i.node, self.begun_at.get(i), i in self.unwatched, [p.node for p in i.inputs]) for i in self.items])

    def expected_alarm(self, item):
        options, status = self.options[item], item.status
        call = (item, item.attempt)
        if status == SLEEPING:
            return "asleep"
        if item.flags & EXTERNAL:
            return None
        if status == ISSUED and options.start is not None:
            return self.issued_at[call] + options.start
        if status == RUNNING and options.timeout is not None:
            return self.begun_at[call] + options.timeout
        if status == WAITING and options.wait is not None:
            if item not in self.counting_from:
                since = self.first_begin(item)
                if since is None:
                    return None
                self.counting_from[item] = since
            return self.counting_from[item] + options.wait
        return None

    def first_begin(self, item):
        """When a body in the argument graph was entered; if before `item` was, now."""
        found, stack = set(), list(item.inputs)
        while stack:
            each = stack.pop()
            if each not in found:
                found.add(each)
                stack += self.current_inputs(each)
        begun = [
            self.begun_at.get(each, self.now)
            for each in found
            if each in self.begun_at
            or each.flags & EXTERNAL
            or each.status in {SUCCEEDED, FAILED}
        ]
        if item in self.seen:
            return min(begun, default=None)
        self.seen.add(item)
        # Nobody may have asked for the start of what was issued before.
        known = begun or found & self.unwatched
        return self.now if known else None

    @invariant()
    def the_run_is_decided_when_it_must_be(self):
        engine = self.engine
        undelivered = [r for r in self.roots if r not in self.delivered]
        failed = [
            r for r, e in self.delivered.items() if e is not None and not self.lenient[r]
        ]
        if engine.outcome == "succeeded":
            assert not undelivered
            assert not failed
            assert engine.error is None
        elif engine.outcome == "failed":
            error = engine.error
            late = isinstance(error, ProcessTimeoutException) and error.phase == "run"
            assert late or any(self.delivered[r] is error for r in failed)
        elif engine.outcome is None:
            assert not failed
            assert undelivered or self.open
            assert all(r.status < SUCCEEDED for r in undelivered)
        else:
            assert engine.outcome == "cancelled"
            assert engine.error is None
        running = [i for i in self.items if CANCELLING >= i.status >= ISSUED]
        own = [i for i in running if not i.flags & EXTERNAL]
        if engine.finished:
            assert engine.outcome is not None
            assert not own
            assert all(i.status >= SUCCEEDED or self.cyclic for i in self.items)
            assert all(not i.flags & ROOT for i in self.delivered)
        elif engine.outcome is not None:
            assert own
        assert engine.how == HOW[self.worst]

    # ------------------------------------------------------------------- the end

    def teardown(self):
        if not hasattr(self, "engine"):
            return
        engine = self.engine
        self.open = False
        self.event(lambda: engine.close(self.now))
        for _ in range(2000):
            if engine.finished:
                break
            self.go_on()
            self.check_all()
        assert engine.finished, "the run has come to a stop"
        if not (self.disturbed or self.cyclic):
            memo = {}
            for root in self.roots:
                ideal = self.ideal(root, memo)
                if root in self.delivered:
                    error = self.delivered[root]
                    if error is not None:
                        assert ideal == "an error"
                    elif root.wants:
                        assert plain(root.value) == ideal
                if ideal == "an error" and not self.lenient[root]:
                    assert engine.outcome == "failed"

    def check_all(self):
        self.outcomes_are_those_of_the_model()
        self.each_item_ends_once()
        self.counts_are_right()
        self.nothing_is_forgotten()
        self.alarms_are_set_when_and_only_when_they_are_due()
        self.the_run_is_decided_when_it_must_be()

    def go_on(self):
        """Something that happens by itself, if nothing is chosen."""
        engine = self.engine
        for item in self.items:
            if item.flags & EXTERNAL and item.status == RUNNING:
                self.calls.setdefault(item, item.attempt)
        if engine.starts:
            self.drain()
        elif self.assembling:
            self.assemble(self.assembling[0])
        elif self.calls:
            item = min(self.calls, key=lambda i: i.node)
            if (item, self.calls[item]) in self.told:
                self.end(item, "killed")
            else:
                self.result(None, item)
        else:
            live = [t for t in self.engine._alarms._live if t in self.alarm_at]
            token = min(live, key=lambda t: self.alarm_at[t])
            self.now = max(self.now, self.alarm_at[token])
            self.fire(token)


class Overran(Exception):
    """The model's picture of a `ProcessTimeoutException`."""

    def matches(self, error):
        node, phase, seconds = self.args
        return isinstance(error, ProcessTimeoutException) and (
            error.node,
            error.phase,
            error.seconds,
        ) == (str(node), phase, seconds)


Runs.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRuns = Runs.TestCase
