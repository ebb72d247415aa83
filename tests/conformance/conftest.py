"""The places that one suite of tests runs over: every executor and decorator."""

import asyncio
import concurrent.futures
import functools
import importlib.util
import multiprocessing
import multiprocessing.resource_tracker
from dataclasses import dataclass, field

import pytest
from gates import Gate

from entangle.backend import InlineExecutor, ProcessExecutor, ThreadExecutor
from entangle.process import process
from entangle.task import task
from entangle.thread import thread
from entangle.workflow import workflow


@dataclass
class Place:
    """A way to run a function, and what can be relied on there.

    Attributes:
        decorate: Makes the decorator from options.
        own_process: Calls run in another process, on copies of their arguments.
        kills: A running call can be ended.
        concurrent: Several calls run at once.
        foreign: Not ours: what it raises for its own troubles is its affair.
        options: The options that ask something of the place, and are honoured.
    """

    name: str
    decorate: object
    own_process: bool = False
    kills: bool = False
    concurrent: bool = True
    foreign: bool = False
    inline: bool = False
    is_async: bool = False
    options: frozenset = field(default_factory=frozenset)

    def task(self, fn, **options):
        """Make a task of a function."""
        if self.is_async:
            fn = _as_coroutine(fn)
        return self.decorate(**options)(fn)


def _as_coroutine(fn):
    @functools.wraps(fn)
    async def call(*args, **kwargs):
        await asyncio.sleep(0)
        value = fn(*args, **kwargs)
        return await value if asyncio.iscoroutine(value) else value

    return call


def _given(executor):
    return functools.partial(task, executor=executor)


HEAVY = ["pytest", *(["numpy"] if importlib.util.find_spec("numpy") else [])]
OWN = frozenset({"timeout", "fresh", "preload", "env", "cwd", "nice"})
NAMES = (
    "inline executor",
    "thread executor",
    "process executor",
    "cf threads",
    "cf processes",
    "loky",
    "@process",
    "@process(fresh)",
    "@thread",
    "async @thread",
    "@workflow",
    "ENTANGLE_INLINE",
)


@pytest.fixture(params=NAMES)
def place(request):
    """Every place in turn."""
    yield from _open(request, request.param)


@pytest.fixture(params=["inline executor", "thread executor", "process executor"])
def executor(request):
    """Every executor of ours in turn, shut down at the end."""
    make = {
        "inline executor": InlineExecutor,
        "thread executor": ThreadExecutor,
        "process executor": ProcessExecutor,
    }
    with make[request.param]() as made:
        yield made


def _foreign_threads():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield Place("cf threads", _given(pool), foreign=True)


def _foreign_processes():
    # The only start method that leaves no process behind.
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:
        yield Place("cf processes", _given(pool), own_process=True, foreign=True)


PLACES = (
    Place(
        "inline executor", lambda **o: _given(InlineExecutor())(**o), concurrent=False
    ),
    Place("thread executor", lambda **o: _given(ThreadExecutor())(**o)),
    Place(
        "process executor",
        lambda **o: _given(ProcessExecutor())(**o),
        own_process=True,
        kills=True,
        options=OWN,
    ),
    Place("@process", process, own_process=True, kills=True, options=OWN),
    Place(
        "@process(fresh)",
        # What the module of these tests imports, or else each call does so anew.
        functools.partial(process, fresh=True, preload=HEAVY),
        own_process=True,
        kills=True,
        options=OWN,
    ),
    Place("@thread", thread),
    Place(
        "async @thread",
        thread,
        kills=True,
        is_async=True,
        options=frozenset({"timeout"}),
    ),
    Place("@workflow", workflow),
    Place("ENTANGLE_INLINE", process, concurrent=False, inline=True, options=OWN),
)


def _open(request, name):
    if name == "cf threads":
        yield from _foreign_threads()
    elif name == "cf processes":
        yield from _foreign_processes()
    elif name == "loky":
        pool = request.getfixturevalue("loky_pool")
        if pool is None:
            pytest.skip("loky is not installed")
        yield Place(name, _given(pool), own_process=True, foreign=True)
    else:
        if name == "ENTANGLE_INLINE":
            request.getfixturevalue("monkeypatch").setenv(name, "1")
        yield next(place for place in PLACES if place.name == name)


@pytest.fixture
def gate(tmp_path):
    """A gate for bodies to wait at."""
    made = Gate(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def _loky_tracker():
    """The helper processes that loky keeps as long as the program lives."""
    if importlib.util.find_spec("loky") is None:
        yield None
        return
    import loky
    from loky.backend import resource_tracker

    trackers = (
        resource_tracker._resource_tracker,
        multiprocessing.resource_tracker._resource_tracker,
    )
    for tracker in trackers:
        tracker.ensure_running()
    yield loky
    for tracker in trackers:
        tracker._stop()


@pytest.fixture(autouse=True, scope="module")
def loky_pool(_loky_tracker):
    """One pool of loky's for a module, from its start on: starting one takes long."""
    if _loky_tracker is None:
        yield None
        return
    pool = _loky_tracker.ProcessPoolExecutor(2)
    pool.submit(int).result()
    yield pool
    pool.shutdown(wait=True)
