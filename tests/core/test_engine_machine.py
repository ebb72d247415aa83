"""Random graphs, with events in every order that a driver could bring.

After each event all that the engine holds is compared with what the model of
`engine_model` computes anew from the events that were fed.
"""

from engine_model import OPTIONS, PLANS, SHAPES, Model, Overran, Verdict, combine
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
    ASSEMBLING,
    CANCELLED,
    CANCELLING,
    EXPANDING,
    EXTERNAL,
    FAILED,
    ISSUED,
    READY,
    RUNNING,
    SLEEPING,
    SUCCEEDED,
    WAITING,
)
from entangle.errors import CompositionError, ProcessTimeoutException

DATA = st.data()


class Runs(RuleBasedStateMachine):
    """One run of the engine, with a driver that is free to choose."""

    @initialize(
        data=DATA,
        size=st.integers(1, 9),
        workers=st.sampled_from([None, None, 1, 2]),
        timeout=st.sampled_from([None, None, None, 20.0]),
        more=st.booleans(),
        lazy=st.booleans(),
        cyclic=st.sampled_from([False, False, False, True]),
    )
    def build(self, data, size, workers, timeout, more, lazy, cyclic):
        self.engine = Engine(workers=workers, timeout=timeout, seed=size)
        self.model = Model()
        self.workers, self.open = workers, more
        self.lazy = lazy  # leaves starts undrained for a while
        self.cyclic = cyclic  # bodies may return what needs them
        self.calls = {}  # attempts that were started and are not over
        self.over = []  # (item, attempt) of those that are
        self.told = {}  # when calls were told to end
        self.overrun = {}  # those told because of a deadline
        self.assembling = []
        self.issued_at, self.entered_at, self.alarm_at = {}, {}, {}
        self.final = {}  # status in which an item has ended
        self.worst = 0
        self.disturbed = False  # by anything but the bodies
        self.decided = None
        new = self.batch(data, size)
        # At least the last, so that there is something to do.
        for item in dict.fromkeys([new[-1], data.draw(st.sampled_from(new))]):
            self.make_root(data, item)
        self.event(lambda: self.engine.begin(self.model.now, more=more))

    # ------------------------------------------------------------------- building

    def batch(self, data, size):
        new = []
        for _ in range(size):
            shape = data.draw(SHAPES)
            options = data.draw(OPTIONS)._replace(tolerant=shape == "tolerant")
            usable = [item for item in self.model.items if not item.spent]
            item = self.engine.add(
                len(self.model.items),
                options,
                assemble=shape in {"gather", "tolerant"},
                external=shape == "external",
            )
            chosen = []
            if usable and shape != "external":
                some = st.sampled_from(usable[-6:])
                chosen = data.draw(st.lists(some, max_size=6, unique_by=id))
            self.engine.link(item, chosen)
            self.model.add(item, options, data.draw(PLANS), chosen)
            new.append(item)
        return new

    def make_root(self, data, item):
        if not self.decided:
            lenient = data.draw(st.booleans())
            self.engine.root(item, tolerant=lenient)
            self.model.add_root(item, lenient=lenient)

    # ----------------------------------------------------------------- one event

    def event(self, feed):
        """Feed an event, then do with its commands what a driver does."""
        engine, model, decided = self.engine, self.model, self.decided
        model.before_event()
        live = [item for item in model.items if item.status < SUCCEEDED]
        feed()
        self.decided = engine.outcome
        if decided:
            assert engine.outcome == decided
            assert not engine.starts
            assert not engine.assembles
            assert not engine.deliveries
        while engine.alarms:
            at, token = engine.alarms.popleft()
            assert token not in self.alarm_at
            self.alarm_at[token] = at
        while engine.cancels:
            item, attempt = engine.cancels.popleft()
            assert self.calls[item] == attempt
            assert not item.flags & EXTERNAL
            assert (item, attempt) not in self.told
            self.told[item, attempt] = model.now
        for item in engine.starts:
            self.issued_at.setdefault((item, item.attempt), model.now)
        if not self.lazy:
            self.drain()
        while engine.assembles:
            item = engine.assembles.popleft()
            assert all(p.status in {SUCCEEDED, FAILED} for p in item.inputs)
            self.assembling.append(item)
        while engine.deliveries:
            root, error = engine.deliveries.popleft()
            assert root in model.roots
            assert root not in model.delivered
            assert error is root.error
            model.delivered[root] = error
            model.uncollected[root] += 1
        if self.decided in {None, "succeeded"}:
            gone = {i for i in live if i.status in {CANCELLED, ABANDONED}}
            assert not gone & model.needed()

    def drain(self):
        while self.engine.starts:
            self.pop()

    def pop(self):
        item = self.engine.starts.popleft()
        assert item not in self.calls
        assert item.status == ISSUED
        assert item.attempt == self.model.attempts_over(item) + 1
        self.calls[item] = item.attempt

    def open_calls(self):
        """The items of calls that go on, those of external items included."""
        self.calls |= {
            item: item.attempt
            for item in self.model.items
            if item.flags & EXTERNAL and item.status == RUNNING
        }
        return sorted(self.calls, key=lambda item: item.node)

    def some_call(self, data):
        calls = self.open_calls()
        return data.draw(st.sampled_from(calls)) if calls else None

    def close_call(self, item, how):
        """A call is over: its attempt, and whether the run can use what it brings."""
        attempt = self.calls.pop(item)
        self.over.append((item, attempt))
        if (item, attempt) not in self.told:
            return attempt, not self.decided
        late = self.decided or (item, attempt) not in self.overrun
        counts = not late and item in self.model.needed()
        if how != "a result" or not counts:
            self.worst = max(self.worst, HOW.index(how) if how in HOW else 0)
        return attempt, counts

    def note(self, item, kind, outcome):
        self.model.log[item].append(Verdict(kind, outcome))

    # --------------------------------------------------------------------- events

    @rule()
    def a_start_is_drained(self):
        if self.engine.starts:
            self.pop()

    @rule(data=DATA, late=st.sampled_from([0.0, 0.0, 0.5]))
    def a_body_is_entered(self, data, late):
        item = self.some_call(data)
        if item is None or item.flags & EXTERNAL:
            return
        attempt = self.calls[item]
        at = max(self.model.now - late, self.issued_at[item, attempt])
        if item.status == ISSUED:
            self.entered_at[item, attempt] = at
            self.model.begun_at.setdefault(item, at)
        self.event(lambda: self.engine.started(item, attempt, at))

    @rule(data=DATA)
    def a_body_returns(self, data):
        item = self.some_call(data)
        if item is not None:
            self.result(item, data)

    def result(self, item, data):
        """What the plan says; without `data` to draw from, no more nodes."""
        engine, now, plan = self.engine, self.model.now, self.model.plans[item]
        attempt, counts = self.close_call(item, "a result")
        if counts:
            self.model.begun_at.setdefault(item, now)
        if self.model.bodies(item) < plan.failures:
            error = plan.error(item.node, attempt)
            if counts:
                self.note(item, "error", error)
            self.event(lambda: engine.failed(item, attempt, error, now))
        elif data and plan.expands and not item.flags & EXTERNAL:
            producers = self.returned_nodes(item, data)
            if counts:
                self.note(item, "nodes", list(dict.fromkeys(producers)))
            self.event(
                lambda: engine.expanded(item, attempt, producers, now, value="raw")
            )
        else:
            value = combine(item.node, [p.value for p in item.inputs])
            if counts:
                self.note(item, "value", value)
            self.event(lambda: engine.succeeded(item, attempt, value, now))

    def returned_nodes(self, item, data):
        self.batch(data, data.draw(st.integers(0, 3)))
        usable = [
            other
            for other in self.model.items
            if not other.spent and (self.cyclic or not self.model.leads(other, item))
        ]
        if not usable:
            return []
        return data.draw(st.lists(st.sampled_from(usable[-6:]), max_size=3))

    @rule(data=DATA, fails=st.integers(0, 9))
    def a_value_is_assembled(self, data, fails):
        if self.assembling:
            item = data.draw(st.sampled_from(self.assembling))
            self.assemble(item, fails=fails == 0)

    def assemble(self, item, *, fails=False):
        self.assembling.remove(item)
        engine, now = self.engine, self.model.now
        counts = item.status == ASSEMBLING
        if fails:
            self.disturbed = True
            error = TypeError(item.node)
            if counts:
                self.note(item, "broken", error)
            self.event(lambda: engine.unassembled(item, error, now))
        else:
            value = combine("all", [p.value for p in item.inputs])
            if counts:
                self.note(item, "value", value)
            self.event(lambda: engine.assembled(item, value, now))

    @rule(data=DATA, how=st.sampled_from([*HOW[:3], HOW[4]]))
    def a_cancelled_call_ends(self, data, how):
        told = [
            item for item, attempt in self.calls.items() if (item, attempt) in self.told
        ]
        if told:
            item = data.draw(st.sampled_from(sorted(told, key=lambda i: i.node)))
            self.end(item, how)

    def end(self, item, how):
        attempt, counts = self.close_call(item, how)
        if counts:
            self.note(item, "error", self.overrun[item, attempt])
        self.event(lambda: self.engine.ended(item, attempt, how, self.model.now))

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 5.0]))
    def time_passes(self, seconds):
        self.model.now += seconds

    @rule(data=DATA)
    def an_alarm_goes_off(self, data):
        """One that is due, perhaps for the second time."""
        due = sorted(t for t, at in self.alarm_at.items() if at <= self.model.now)
        if due:
            self.wake(data.draw(st.sampled_from(due)))

    def wake(self, token):
        live = self.engine._alarms._live
        if token in live:
            owner = live[token]
            if owner is None:
                self.disturbed = True
            elif isinstance(owner, list):
                self.grace_is_over(owner)
            else:
                self.deadline_has_passed(owner)
        self.event(lambda: self.engine.alarm(token, self.model.now))

    def grace_is_over(self, calls):
        for item, attempt in calls:
            if self.calls.get(item) == attempt:
                assert self.told[item, attempt] + GRACE <= self.model.now
                _, counts = self.close_call(item, "unconfirmed")
                if counts:
                    self.note(item, "error", self.overrun[item, attempt])

    def deadline_has_passed(self, item):
        options = self.model.options[item]
        if item.status == SLEEPING:
            return
        self.disturbed = True
        phase, seconds = {
            WAITING: ("wait", options.wait),
            ISSUED: ("start", options.start),
            RUNNING: ("body", options.timeout),
        }[item.status]
        error = Overran(item.node, phase, seconds)
        if phase == "wait":
            self.note(item, "error", error)
            self.model.counting_from[item] = self.model.now
        elif item in self.engine.starts:
            self.note(item, "error", error)
        else:
            self.overrun[item, item.attempt] = error

    @rule(data=DATA, what=st.integers(0, 5))
    def something_comes_too_late(self, data, what):
        engine, now = self.engine, self.model.now
        if not self.over or what == 0:
            self.event(lambda: engine.alarm(10**9, now))
            return
        item, attempt = data.draw(st.sampled_from(self.over))
        self.event(
            [
                lambda: engine.succeeded(item, attempt, "late", now),
                lambda: engine.failed(item, attempt, OSError("late"), now),
                lambda: engine.ended(item, attempt, "cannot kill", now),
                lambda: engine.started(item, attempt, now),
                lambda: engine.expanded(item, attempt, [], now),
            ][what - 1]
        )

    @rule(data=DATA)
    def a_root_is_collected(self, data):
        todo = list(+self.model.uncollected)
        if todo:
            root = data.draw(st.sampled_from(todo))
            self.model.uncollected[root] -= 1
            self.event(lambda: self.engine.collected(root))

    @rule(data=DATA)
    def a_value_is_pinned_or_let_go(self, data):
        pinned = self.model.pinned
        usable = [i for i in self.model.items if i in pinned or not i.spent]
        if usable:
            item = data.draw(st.sampled_from(usable))
            pinned ^= {item}
            change = self.engine.pin if item in pinned else self.engine.unpin
            self.event(lambda: change(item))

    @precondition(lambda self: self.open and len(self.model.items) < 20)
    @rule(data=DATA, size=st.integers(0, 2))
    def roots_are_added(self, data, size):
        new = self.batch(data, size)
        usable = [item for item in self.model.items if not item.spent]
        if usable:
            self.make_root(data, data.draw(st.sampled_from([*new, *usable])))
        self.event(lambda: self.engine.settle(self.model.now))

    @precondition(lambda self: self.open)
    @rule()
    def no_more_roots(self):
        self.open = False
        self.event(lambda: self.engine.close(self.model.now))

    @rule(unlikely=st.integers(0, 14))
    def the_run_is_cancelled(self, unlikely):
        if unlikely == 0:
            self.disturbed = True
            self.event(lambda: self.engine.cancel(self.model.now))

    # ------------------------------------------------------------------ invariants

    @invariant()
    def outcomes_are_those_of_the_model(self):
        # That something waits for itself the engine finds out when all else has
        # ended: take its word for when, not for what.
        for item in self.model.items:
            error = item.error
            if isinstance(error, CompositionError) and error.task == str(item.node):
                assert any(self.model.leads(p, item) for p in self.model.inputs(item))
                self.note(item, "broken", error)
        needed = self.model.needed()
        for item, (kind, outcome) in self.model.outcomes().items():
            if item.status == SUCCEEDED:
                assert kind == "value"
                kept = item.wants or item in self.model.pinned
                assert item.value is (outcome if kept else None)
                assert item.spent == (not kept)
            elif item.status == FAILED:
                assert kind == "error"
                assert self.model.is_one_of(item.value, outcome)
            elif item.status < SUCCEEDED and not self.decided and item in needed:
                assert kind == "pending"

    @invariant()
    def each_item_ends_once(self):
        for item in self.model.items:
            if item.status >= SUCCEEDED:
                assert self.final.setdefault(item, item.status) == item.status
            else:
                assert item not in self.final

    @invariant()
    def counts_are_right(self):
        model = self.model
        live = [item for item in model.items if item.status < SUCCEEDED]
        for item in model.items:
            if item.status not in {CANCELLED, ABANDONED}:
                wants = sum(item in consumer.inputs for consumer in live)
                wants += item in model.roots and item not in model.delivered
                assert item.wants == wants + model.uncollected[item]
        for item in live:
            left = sum(p.status < SUCCEEDED for p in item.inputs)
            assert item.pending == left
            assert (left > 0) == (item.status in {WAITING, EXPANDING})
        calls = sum(
            ISSUED <= item.status <= CANCELLING and not item.flags & EXTERNAL
            for item in live
        )
        idle = sum(item.status in {WAITING, EXPANDING} for item in live)
        assert self.engine._calls == calls
        assert self.engine._active == len(live) - idle
        ready = sum(item.status == READY for item in live)
        if self.workers is None:
            assert not ready
        else:
            assert calls <= self.workers
            assert calls == self.workers or not ready

    @invariant()
    def nothing_is_forgotten(self):
        needed = self.model.needed()
        for item in self.model.items:
            status = item.status
            if status in {ISSUED, RUNNING} and not item.flags & EXTERNAL:
                started = self.calls.get(item) == item.attempt
                assert started != (item in self.engine.starts)
            elif status == ASSEMBLING:
                assert item in self.assembling
            elif status == CANCELLING:
                assert self.calls[item] == item.attempt
                assert (item, item.attempt) in self.told
            elif status < SUCCEEDED and not self.cyclic:
                assert item in needed
            if self.decided in {"failed", "cancelled"}:
                assert status == CANCELLING or status >= SUCCEEDED

    @invariant()
    def alarms_are_those_of_the_model(self):
        live = self.engine._alarms._live
        owned = {
            owner: self.alarm_at[token]
            for token, owner in live.items()
            if owner is not None and not isinstance(owner, list)
        }
        for item in self.model.items:
            if item.status == SLEEPING:
                assert item in owned
            else:
                assert owned.get(item) == self.expected_alarm(item)
        graced = [
            pair for calls in live.values() if isinstance(calls, list) for pair in calls
        ]
        for item, attempt in self.told:
            if self.calls.get(item) == attempt:
                assert (item, attempt) in graced

    def expected_alarm(self, item):
        options, call = self.model.options[item], (item, item.attempt)
        if item.status == ISSUED and options.start is not None:
            return self.issued_at[call] + options.start
        if item.flags & EXTERNAL:
            return None
        if item.status == RUNNING and options.timeout is not None:
            return self.entered_at[call] + options.timeout
        if item.status == WAITING and options.wait is not None:
            since = self.model.wait_counts_from(item)
            return None if since is None else since + options.wait
        return None

    @invariant()
    def the_run_is_decided_when_it_must_be(self):
        engine, model = self.engine, self.model
        undelivered = [root for root in model.roots if root not in model.delivered]
        fatal = [
            error
            for root, error in model.delivered.items()
            if error is not None and not model.lenient[root]
        ]
        if engine.outcome is None:
            assert not fatal
            assert undelivered or self.open
            assert all(root.status < SUCCEEDED for root in undelivered)
        elif engine.outcome == "failed":
            error = engine.error
            if not isinstance(error, ProcessTimeoutException) or error.phase != "run":
                assert any(error is e for e in fatal)
        else:
            assert engine.error is None
            assert not fatal
            assert engine.outcome == "cancelled" or not undelivered
        mine = [
            item
            for item in model.items
            if ISSUED <= item.status <= CANCELLING and not item.flags & EXTERNAL
        ]
        if engine.outcome is not None:
            assert engine.finished == (not mine)
        else:
            assert not engine.finished
        if engine.finished and not self.cyclic:
            assert all(item.status >= SUCCEEDED for item in model.items)
        assert engine.how == HOW[self.worst]

    # --------------------------------------------------------------------- the end

    def teardown(self):
        """Let the run come to its end by itself; it must be the right one."""
        if not hasattr(self, "engine"):
            return
        self.open = False
        self.event(lambda: self.engine.close(self.model.now))
        for _ in range(1000):
            if self.engine.finished:
                break
            self.go_on()
            for check in (
                self.outcomes_are_those_of_the_model,
                self.each_item_ends_once,
                self.counts_are_right,
                self.nothing_is_forgotten,
                self.alarms_are_those_of_the_model,
                self.the_run_is_decided_when_it_must_be,
            ):
                check()
        assert self.engine.finished
        if not self.disturbed and not self.cyclic:
            self.compare_with_plans()

    def go_on(self):
        """Something that happens without anybody's choice."""
        calls = self.open_calls()
        if self.engine.starts:
            self.drain()
        elif self.assembling:
            self.assemble(self.assembling[0])
        elif calls:
            item = calls[0]
            if (item, self.calls[item]) in self.told:
                self.end(item, "killed")
            else:
                self.result(item, None)
        else:
            token = min(self.engine._alarms._live, key=self.alarm_at.__getitem__)
            self.model.now = max(self.model.now, self.alarm_at[token])
            self.wake(token)

    def compare_with_plans(self):
        """Bodies are deterministic: the order of events must not have mattered."""
        memo = {}
        for root in self.model.roots:
            ideal = self.model.ideal(root, memo)
            error = self.model.delivered.get(root)
            if error is not None:
                assert ideal == "an error"
            elif root in self.model.delivered and root.wants:
                assert root.value == ideal
            if ideal == "an error" and not self.model.lenient[root]:
                assert self.engine.outcome == "failed"


Runs.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestRuns = Runs.TestCase
