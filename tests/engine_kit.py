"""A driver for the engine that is operated by hand: no clock, no thread, no bodies."""

from entangle._engine import Engine
from entangle._graph.options import Options
from entangle.errors import ProcessTimeoutException


class Bench:
    """An engine, its time, and all that it has commanded, by the names of nodes."""

    def __init__(self, **options):
        self.engine = Engine(**options)
        self.now = 100.0
        self.set_alarms = []

    def add(self, name, *inputs, root=False, tolerant_root=False, **more):
        """Add a node; what is no argument of `Engine.add` is an option of it."""
        how = {key: more.pop(key, False) for key in ("assemble", "external")}
        item = self.engine.add(name, Options(**more), **how)
        self.engine.link(item, inputs)
        if root or tolerant_root:
            self.engine.root(item, tolerant=tolerant_root)
        return item

    def begin(self, **how):
        self.engine.begin(self.now, **how)

    def settle(self):
        self.engine.settle(self.now)

    def starts(self):
        """Names of what is to be started, now drained."""
        return _drain(self.engine.starts, lambda item: item.node)

    def assembles(self):
        """Names of what is to be assembled, now drained."""
        return _drain(self.engine.assembles, lambda item: item.node)

    def cancels(self):
        """(name, attempt) of calls to end, now drained."""
        return _drain(self.engine.cancels, lambda pair: (pair[0].node, pair[1]))

    def deliveries(self):
        """(name, value or error) of delivered roots, now drained."""
        return _drain(
            self.engine.deliveries,
            lambda pair: (pair[0].node, pair[1] or pair[0].value),
        )

    def alarms(self):
        """Seconds from now of the alarms that were newly asked for."""
        new = list(self.engine.alarms)
        self.engine.alarms.clear()
        self.set_alarms += new
        return [round(at - self.now, 6) for at, _ in new]

    def start(self, *items, at=None):
        for item in items:
            self._take(item)
            self.engine.started(item, item.attempt, self.now if at is None else at)

    def succeed(self, item, value=None):
        self._take(item)
        self.engine.succeeded(item, item.attempt, value, self.now)

    def fail(self, item, error=None, **how):
        self._take(item)
        error = error if error is not None else ValueError(item.node)
        self.engine.failed(item, item.attempt, error, self.now, **how)
        return error

    def expand(self, item, *producers):
        self._take(item)
        self.engine.expanded(item, item.attempt, producers, self.now, value="raw")

    def assemble(self, item):
        """Give an item from `assembles` the list of its inputs' values."""
        self.engine.assembled(item, [p.value for p in item.inputs], self.now)

    def end(self, item, how="killed"):
        self.engine.ended(item, item.attempt, how, self.now)

    def _take(self, item):
        """What is reported of a call must have been started."""
        if item in self.engine.starts:
            self.engine.starts.remove(item)

    def wake(self, seconds):
        """Let time pass, and report every alarm that falls due."""
        self.alarms()
        self.now += seconds
        due = [alarm for alarm in self.set_alarms if alarm[0] <= self.now]
        self.set_alarms = [alarm for alarm in self.set_alarms if alarm[0] > self.now]
        for _, token in sorted(due):
            self.engine.alarm(token, self.now)


def is_timeout(error, phase, seconds, node):
    return isinstance(error, ProcessTimeoutException) and (
        error.phase,
        error.seconds,
        error.node,
    ) == (phase, seconds, node)


def _drain(commands, show):
    shown = [show(command) for command in commands]
    commands.clear()
    return shown
