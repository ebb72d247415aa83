"""Random graphs whose tasks misbehave, schedules of what is done to them, an oracle."""

import concurrent.futures as cf
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

from entangle.errors import (
    ProcessTerminatedException,
    ProcessTimeoutException,
    WorkerStartError,
)
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread
from entangle.workflow import workflow

# What tasks of each kind may do. Some of it ends their process.
HARMLESS = ("return", "sleep", "print", "nest", "expand")
FATAL = ("die", "leave", "garbage", "truncate", "close")
PROCESS = (*HARMLESS, "raise", "flaky", "memory", "spawn", "stop", *FATAL)
THREAD = ("return", "sleep", "nest", "expand", "raise", "flaky")
WORKFLOW = ("return", "expand", "raise")
# What is done from outside while a graph runs.
FAULTS = ("kill", "terminate", "zygote", "stop", "stop zygote", "cancel")


class OopsError(Exception):
    """What tasks raise."""


@dataclass(frozen=True)
class Step:
    """One task of a graph.

    Attributes:
        number: Its place; inputs have lower ones.
        kind: How it runs.
        deed: What it does.
        inputs: The numbers of the steps whose values it takes.
        retry: How often it may be tried again.
        timeout: Seconds, or None.
        milliseconds: For how long it sleeps, if it does.
    """

    number: int
    kind: str
    deed: str
    inputs: tuple[int, ...] = ()
    retry: int = 0
    timeout: float | None = None
    milliseconds: int = 0


@dataclass(frozen=True)
class Schedule:
    """A graph and what is done to it: pairs of milliseconds and a fault."""

    steps: tuple[Step, ...]
    faults: tuple[tuple[int, str], ...] = ()

    @property
    def value(self):
        """What the last step returns if all goes well."""
        values = {}
        for step in self.steps:
            values[step.number] = step.number + sum(values[n] for n in step.inputs)
        return values[len(self.steps) - 1]

    def needed(self):
        """Return the steps that the last one depends on, itself included."""
        found, pending = {}, [self.steps[-1]]
        while pending:
            step = pending.pop()
            if step.number not in found:
                found[step.number] = step
                pending.extend(self.steps[n] for n in step.inputs)
        return [*found.values()]


@st.composite
def steps(draw, number):
    """Draw one step."""
    kind = draw(st.sampled_from(["process"] * 5 + ["fresh", "thread", "workflow"]))
    deeds = {"thread": THREAD, "workflow": WORKFLOW}.get(kind, PROCESS)
    # Most do what they should: else no graph would ever end well.
    deed = draw(st.sampled_from(["return"] * 8 + ["sleep"] * 3 + [*deeds]))
    if deed not in deeds:
        deed = "return"
    most = min(number, 3)
    inputs = draw(st.sets(st.integers(0, number - 1), max_size=most)) if most else set()
    own_process = kind in {"process", "fresh"}
    # Nothing but a timeout ends a call that is stopped.
    times = [0.15] if deed == "stop" else [None, None, None, 0.15]
    return Step(
        number,
        kind,
        deed,
        tuple(sorted(inputs)),
        draw(st.sampled_from([0, 0, 0, 2])) if kind != "workflow" else 0,
        draw(st.sampled_from(times)) if own_process else None,
        draw(st.sampled_from([1, 20, 300])),
    )


@st.composite
def schedules(draw, faults=FAULTS):
    """Draw a graph whose last step needs most others, and some faults."""
    made = [draw(steps(number)) for number in range(draw(st.integers(1, 9)))]
    last = Step(len(made), "process", "return", tuple(range(len(made))))
    moments = st.tuples(st.integers(0, 120), st.sampled_from(faults))
    hit = tuple(sorted(draw(st.lists(moments, max_size=3))))
    return Schedule((*made, last), hit)


# -- what tasks do ---------------------------------------------------------------


def entries(path):
    """Count how often the body of each step was entered."""
    return Counter(map(int, Path(path).read_bytes().split()))


def act(path, step, *values):
    """Be the body of a step: note it, do its deed, return a number."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    os.write(log, b"%d\n" % step.number)
    os.close(log)
    total = step.number + sum(values)
    deed = DEEDS.get(step.deed)
    if deed is not None:
        return deed(path, step, total)
    return total


def sleep(path, step, total):
    time.sleep(step.milliseconds / 1000)
    return total


def write(path, step, total):
    # More than a pipe holds.
    sys.stdout.write(f"{step.number} " * 30_000 + "\n")
    return total


def nest(path, step, total):
    same = process(lambda x: x)
    return sum(gather(same(total), same(1), same(-1))())


def expand(path, step, total):
    return process(int)(total)


def fail(path, step, total):
    raise OopsError(step.number)


def flaky(path, step, total):
    if entries(path)[step.number] == 1:
        raise OopsError(step.number)
    return total


def memory(path, step, total):
    limit = 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return len(bytearray(2 * limit))


def spawn(path, step, total):
    subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(600)"],
        start_new_session=True,
    )
    return total


def stop(path, step, total):
    os.kill(os.getpid(), signal.SIGSTOP)
    return total


def die(path, step, total):
    os.kill(os.getpid(), signal.SIGKILL)


def leave(path, step, total):
    os._exit(3)


def _stream():
    from entangle._worker import main

    return main.current.sock


def garbage(path, step, total):
    _stream().send(b"no frame at all, and more than sixteen bytes of it")
    time.sleep(60)


def truncate(path, step, total):
    _stream().send(b"En\x22\0\0\0\0\0\xff\0\0\0\0\0\0\0half")
    os._exit(0)


def close(path, step, total):
    os.closerange(3, 1 << 16)
    time.sleep(60)


DEEDS = {
    "sleep": sleep,
    "print": write,
    "nest": nest,
    "expand": expand,
    "raise": fail,
    "flaky": flaky,
    "memory": memory,
    "spawn": spawn,
    "stop": stop,
    "die": die,
    "leave": leave,
    "garbage": garbage,
    "truncate": truncate,
    "close": close,
}


# -- running it ------------------------------------------------------------------


def graph(schedule, path):
    """Build the nodes of a schedule; return the last."""
    nodes = []
    for step in schedule.steps:
        options = {"retry": step.retry} if step.retry else {}
        if step.timeout is not None:
            options["timeout"] = step.timeout
        if step.kind == "fresh":
            options["fresh"] = True
        how = {"thread": thread, "workflow": workflow}.get(step.kind, process)
        task = how(**options)(act) if options else how(act)
        nodes.append(task(str(path), step, *(nodes[n] for n in step.inputs)))
    return nodes[-1]


@dataclass
class Outcome:
    """How a run has ended, and what was really done to it."""

    value: object = None
    error: BaseException | None = None
    done: list[str] = field(default_factory=list)


def signal_to(pid, number):
    try:
        os.kill(pid, number)
    except (ProcessLookupError, OSError):
        return False
    return True


def inflict(fault, future, pids, outcome):
    """Do one thing to a run; ``pids`` are a zygote's and then its workers'."""
    if fault == "cancel":
        future.cancel()
    elif not pids:
        return
    elif fault in {"stop", "stop zygote"}:
        pid = pids[0] if fault == "stop zygote" else pids[-1]
        if signal_to(pid, signal.SIGSTOP):
            time.sleep(0.03)
            signal_to(pid, signal.SIGCONT)
    else:
        pid = pids[0] if fault == "zygote" else pids[-1]
        number = signal.SIGTERM if fault == "terminate" else signal.SIGKILL
        if not signal_to(pid, number):
            return
    outcome.done.append(fault)


def run(schedule, path, pids, patience):
    """Run a schedule; return its outcome.

    Args:
        schedule: What to run, and what to do meanwhile.
        path: An empty file, for the bodies' notes.
        pids: Returns the process ids of the pool.
        patience: Seconds within which the run must be over.
    """
    outcome = Outcome()
    future = graph(schedule, path).submit()
    begun = time.monotonic()
    for moment, fault in schedule.faults:
        cf.wait([future], max(0.0, begun + moment / 1000 - time.monotonic()))
        if not future.done():
            inflict(fault, future, pids(), outcome)
    try:
        outcome.value = future.result(patience)
    except TimeoutError as error:
        if not future.done():
            raise AssertionError(f"not over after {patience} s") from error
        outcome.error = error
    except BaseException as error:
        outcome.error = error
    return outcome


def judge(schedule, outcome, path):
    """Assert that a run has ended as it may: the oracle."""
    counts = entries(path)
    needed = schedule.needed()
    if outcome.error is None:
        assert outcome.value == schedule.value
        # Each body has run, at least once.
        assert counts.keys() >= {step.number for step in needed}
    else:
        allowed = possible_errors(needed, outcome.done)
        assert isinstance(outcome.error, allowed), repr(outcome.error)
    for step in schedule.steps:
        assert counts[step.number] <= 1 + step.retry, step


def possible_errors(needed, done):
    """Return the types of errors that the run of some steps may end with."""
    errors = {type(None)}
    if "cancel" in done:
        errors.add(cf.CancelledError)
    if {"kill", "terminate", "zygote"}.intersection(done):
        # A zygote, or its workers, may die before they are up.
        errors.update((ProcessTerminatedException, WorkerStartError))
    for step in needed:
        if step.deed in FATAL or step.deed == "stop":
            errors.add(ProcessTerminatedException)
        if step.deed in {"raise", "flaky"}:
            errors.add(OopsError)
        if step.deed == "memory":
            errors.add(MemoryError)
        if step.timeout is not None:
            errors.add(ProcessTimeoutException)
    return tuple(errors)
