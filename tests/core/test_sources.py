"""Sources: what supplies the argument of a function, wherever that runs."""

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from life_kit import until, within

from entangle import backend
from entangle._graph.supplied import is_empty
from entangle.backend import Executor, Rate, Source, ThreadExecutor, infrastructure
from entangle.dataflow import dataflow
from entangle.errors import (
    CompositionError,
    OptionError,
    PluginError,
    ProcessRetryException,
    ProcessTimeoutException,
    SourceError,
    UnpicklableError,
)
from entangle.process import process
from entangle.task import as_completed, gather, task
from entangle.thread import thread
from entangle.workflow import workflow

pytestmark = pytest.mark.process

ME = os.getpid()
# What was opened and closed in this process, in order.
BOOKS = []


class DeskSource(Source):
    """Supplies what it is asked, and who was asked where.

    Args:
        label: What is written on it.
        every: How many seconds lie between two calls, at least; 0 for none.
        fails: How many attempts fail.
        retries: How many more attempts it would make.
        pause: How many seconds before each.
        bound: Whether what it supplies can't travel.
        secret: Nobody's business.
    """

    def __init__(
        self,
        *,
        label: str = "",
        every: float = 0.0,
        fails: int = 0,
        retries: int = 0,
        pause: float = 0.0,
        bound: bool = False,
        secret: str = "",
    ):
        self.label = label
        self.every = every
        self.fails, self.retries, self.pause = fails, retries, pause
        self.bound = bound

    @classmethod
    def check_options(cls, *, label="", **_):
        if label == "none":
            raise ValueError("label='none' is no label")

    def check_function(self, function, *, travels):
        if self.bound and travels:
            raise TypeError("what is bound can't travel")

    def check_call(self, values, names):
        if values > 1:
            raise TypeError("the desk takes one value")
        if "bad" in names:
            raise TypeError("the desk knows no bad=")

    @property
    def rate(self):
        return Rate(1, self.every) if self.every else None

    @contextmanager
    def supply(self, asked):
        if asked.attempt <= self.fails:
            error = SourceError(f"attempt {asked.attempt} failed")
            error.retries, error.pause = self.retries, self.pause
            raise error
        BOOKS.append("open")
        try:
            yield {
                "label": self.label,
                "values": asked.values,
                "parameters": asked.parameters,
                "attempt": asked.attempt,
                "pid": os.getpid(),
                "thread": threading.current_thread().name,
            }
        finally:
            BOOKS.append("close")


desk = backend.source(DeskSource, secrets={"secret"})


def said(data):
    """Return what the call was asked, without where."""
    return data["label"], data["values"], data["parameters"]


@process
@desk(label="p")
def in_process(data):
    return *said(data), (data["pid"], os.getpid())


@thread
@desk
def in_thread(data):
    return *said(data), data["pid"] == ME, data["thread"]


def test_a_process_is_its_own_worker():
    """Source and function share a process, which is not this one."""
    *rest, (asked, ran) = in_process(a=1, b=[2])()
    assert rest == ["p", (), {"a": 1, "b": [2]}]
    assert asked == ran != ME
    assert in_process("v")()[:3] == ("p", ("v",), {})


def test_a_thread_is_its_own_worker():
    """Source and function share a thread of this process."""
    label, values, parameters, here, name = in_thread({"x": 1}, y=2)()
    assert (label, values, parameters, here) == ("", ({"x": 1},), {"y": 2}, True)
    assert name.startswith("entangle-thread")


def test_order_of_decorators_means_nothing():
    """All orders of a stack give the same value."""
    stack = [process, desk(label="o"), task(retry=1), task(timeout=20), task(limit=3)]
    for order in itertools.permutations(stack):
        made = said
        for decorator in order:
            made = decorator(made)
        assert made.options == stack[0](desk(label="o")(said)).options._replace(
            retry=1, timeout=20, limit=3
        )
    assert made(q=1)() == ("o", (), {"q": 1})


def test_arguments_may_be_nodes():
    """What other tasks give becomes a parameter, also inside of containers."""

    @process
    def two():
        return 2

    assert in_process(a=two(), b=[two(), 3])()[2] == {"a": 2, "b": [2, 3]}
    assert in_process(two())()[1] == (2,)


def test_large_arguments_and_values():
    """Buffers go their usual way."""

    @process
    @desk
    def size(data):
        return bytes(data["parameters"]["blob"])

    blob = os.urandom(3 << 20)
    assert size(blob=blob)() == blob


@thread
@desk
async def later(data):
    return *said(data), data["thread"], threading.current_thread().name


def test_a_coroutine_in_a_thread_is_not_held_up():
    """The source is asked in a thread of the pool, the coroutine runs on the loop."""
    *rest, asked_in, ran_in = later(x=1)()
    assert rest == ["", (), {"x": 1}]
    assert asked_in.startswith("entangle-thread")
    assert ran_in == "entangle-asyncio"


def test_a_coroutine_in_a_process():
    """One process does both."""

    @process
    @desk
    async def later(data):
        return data["pid"], os.getpid()

    asked, ran = later()()
    assert asked == ran != ME


def test_a_workflow():
    """Its body gets the value and returns a graph."""

    @workflow
    @desk
    def flow(data):
        return gather(in_process(n=data["parameters"]["n"]), in_process(n=2))

    assert [each[2] for each in flow(n=1)()] == [{"n": 1}, {"n": 2}]


def test_without_a_body_the_value_is_that():
    """An ellipsis or a docstring alone; also pass, which compiles to the same."""

    @process
    @desk
    def dots(data): ...

    @thread
    @desk
    def doc(data):
        """Say what it is."""

    @process
    @desk
    async def later(data): ...

    for each in (dots, doc, later):
        assert said(each(x=1)()) == ("", (), {"x": 1})


def test_what_is_a_body_and_what_is_none():
    """Anything that could be seen is a body."""

    async def later(data): ...

    async def awaits(data):
        await data

    free = 1

    def closes(data):
        return free

    def dots(data): ...

    def passes(data):
        pass

    def doc(data):
        """Say nothing."""

    def constant(data):
        return 5

    def same(data):
        return data

    assert all(map(is_empty, (later, dots, passes, doc)))
    assert not any(map(is_empty, (awaits, closes, constant, same, print, len)))


class Shop:
    def __init__(self, name):
        self.name = name

    @thread
    @desk
    def sell(self, data):
        return self.name, said(data)

    @process
    @desk
    def send(self, data):
        return self.name, said(data)

    @staticmethod
    @thread
    @desk
    def close(data):
        return said(data)

    @classmethod
    @thread
    @desk
    def open(cls, data):
        return cls.__name__, said(data)


def test_methods():
    """The instance is the first argument; the source does not see it."""
    shop = Shop("corner")
    assert shop.sell(x=1)() == ("corner", ("", (), {"x": 1}))
    assert shop.send("v")() == ("corner", ("", ("v",), {}))
    assert shop.close(x=1)() == ("", (), {"x": 1})
    assert Shop.open(x=1)() == ("Shop", ("", (), {"x": 1}))
    with pytest.raises(TypeError, match=r"method: call it on an instance"):
        Shop.sell()


def test_map_and_starmap():
    """Each item is a call's one value."""
    assert [v[1] for v in in_process.map([1, {"a": 2}])()] == [(1,), ({"a": 2},)]
    assert [v[1] for v in in_thread.starmap([(1,), (2,)])()] == [(1,), (2,)]

    @process
    def items():
        return [1, 2, 3]

    assert [v[1] for v in in_process.map(items())()] == [(1,), (2,), (3,)]
    assert in_thread.map(["v"], more=1)()[0][1:3] == (("v",), {"more": 1})


def test_after_as_completed_and_await():
    """What every node can."""
    import asyncio

    first = in_thread(n=1)
    assert in_process(n=2).after(first)()[2] == {"n": 2}
    nodes = [in_process(n=n) for n in range(4)]
    values = {future.result()[2]["n"] for _, future in as_completed(nodes)}
    assert values == {0, 1, 2, 3}

    async def main():
        return await in_thread(n=3)

    assert asyncio.run(main())[2] == {"n": 3}


def test_flows():
    """A pushed value is the call's one value; keywords are constants."""

    @dataflow
    @desk(label="outer")
    def outer(data):
        return {"n": data["values"][0]}

    @dataflow
    @process
    @desk(label="inner")
    def inner(data):
        return said(data)

    @dataflow
    @thread
    @desk
    async def later(data):
        return said(data)

    flow = outer(inner(k=1), later())
    assert flow(5) == (("inner", ({"n": 5},), {"k": 1}), ("", ({"n": 5},), {}))
    assert list(flow.stream([1, 2]))[1][1] == ("", ({"n": 2},), {})


def test_a_flow_whose_stage_would_get_two_values():
    """Refused when the flow is first called, by the source."""

    @dataflow
    def one(n):
        return n

    @dataflow
    @desk
    def two(data):
        return data

    joined = two()
    with pytest.raises(TypeError, match="the desk takes one value"):
        one(dataflow(task(lambda n: n))(joined), dataflow(task(lambda n: n))(joined))(1)


# -- elsewhere -----------------------------------------------------------------------


class CellarExecutor(Executor):
    """Runs calls in threads, and says so.

    Args:
        size: How large.
    """

    capabilities = backend.Capabilities(kill=True)

    def __init__(self, *, size: int = 1):
        super().__init__()
        self.pool = ThreadPoolExecutor(2, "entangle-cellar")

    def start(self, call):
        self.pool.submit(self.work, call)

    def work(self, call):
        try:
            call.succeeded(call.invoke())
        except BaseException as error:
            call.failed(error)

    def cancel(self, call, grace):
        call.cancelled("abandoned")

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait, cancel_futures=cancel_futures)
        self.pool.shutdown(wait)


cellar = infrastructure(CellarExecutor)


def where(data):
    return *said(data), data["pid"], threading.current_thread().name


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_place_elsewhere_gets_the_value(order):
    """A local worker is asked, the function runs at the place, in any order."""
    stack = [process, cellar, desk(label="e"), task(retry=1)]
    made = where
    for index in order:
        made = stack[index](made)
    *rest, pid, name = made(x=1)()
    assert rest == ["e", (), {"x": 1}]
    assert pid != ME
    assert name.startswith("entangle-cellar")


def test_foreign_executors_and_names():
    """As places elsewhere."""
    with ThreadPoolExecutor(1, "foreign") as foreign, ThreadExecutor() as ours:
        for executor, begin in (
            (foreign, "foreign"),
            (ours, "entangle"),
            ("thread", ""),
        ):
            node = task(executor=executor)(desk(where))("v")
            _, values, _, pid, name = node()
            assert values == ("v",)
            assert pid != ME
            assert name.startswith(begin)


def test_what_cannot_travel_is_refused_where_it_is_written():
    """In either order, naming both decorators; and where the value would be given back."""
    for stack in ([desk(bound=True), cellar], [cellar, desk(bound=True)]):
        with pytest.raises(CompositionError, match="what is bound can't travel") as got:
            stack[1](stack[0](where))
        assert len(got.value.origins) == 2
    with pytest.raises(CompositionError, match="can't travel"):
        thread(desk(bound=True)(_later))

    def dots(data): ...

    with pytest.raises(CompositionError, match="can't travel"):
        desk(bound=True)(dots)
    assert desk(bound=True)(said)(x=1)() == ("", (), {"x": 1})


async def _later(data):
    return data


def test_a_value_that_does_not_pickle_is_named():
    """It is an error of the call, no hang."""

    class LockSource(Source):
        """Supplies a lock."""

        @contextmanager
        def supply(self, asked):
            yield threading.Lock()

    lock = backend.source(LockSource)
    with pytest.raises(UnpicklableError, match="lock"):
        cellar(lock(where))()()


def test_replaced_and_inline(monkeypatch):
    """The same program without the place, and in one thread."""
    made = cellar(desk(where))
    monkeypatch.setenv("ENTANGLE_TARGETS", "cellar=local")
    *_, pid, name = made(x=1)()
    assert pid != ME
    assert name == "MainThread"
    monkeypatch.delenv("ENTANGLE_TARGETS")
    monkeypatch.setenv("ENTANGLE_INLINE", "1")
    with pytest.warns(RuntimeWarning, match="executor"):
        *rest, pid, name = made(x=1)()
    assert (rest, pid) == (["", (), {"x": 1}], ME)
    assert in_process(1)()[:3] == ("p", (1,), {})
    assert later(1)()[1] == (1,)


def test_only_the_failed_half_is_tried_again(tmp_path):
    """What was supplied is kept while the function, elsewhere, tries again."""

    @cellar
    @task(retry=3)
    @desk
    def third(data):
        with open(tmp_path / "tries", "a") as file:
            file.write(f"{data['pid']} ")
        if len((tmp_path / "tries").read_text().split()) < 3:
            raise ValueError("not yet")
        return data["attempt"]

    assert third()() == 1
    assert len(set((tmp_path / "tries").read_text().split())) == 1


# -- policies ------------------------------------------------------------------------


def test_a_source_has_attempts_of_its_own():
    """As many as its error says; the function is called once."""
    made = process(desk(fails=2, retries=2)(said))
    assert made()()[0] == ""
    made = thread(desk(fails=3, retries=2)(said))
    with pytest.raises(SourceError, match="attempt 3 failed") as got:
        made()()
    assert isinstance(got.value.__cause__, ProcessRetryException)
    assert got.value.__cause__.attempts == 3


@pytest.mark.parametrize(
    ("retry", "retries", "attempts"), [(1, 3, 4), (3, 1, 4), (2, 0, 3)]
)
def test_attempts_are_never_multiplied(retry, retries, attempts):
    """There are as many as the larger of the two allows."""
    made = thread(retry=retry)(desk(fails=99, retries=retries)(said))
    with pytest.raises(SourceError, match=f"attempt {attempts} failed"):
        made()()


def test_another_ones_source_error_is_no_reason():
    """A task without a source does not try again for what a nested run raised."""
    calls = []

    @thread
    def outer():
        calls.append(1)
        error = SourceError("of somebody else")
        error.retries = 3
        raise error

    with pytest.raises(SourceError):
        outer()()
    assert calls == [1]


def test_pauses_hold_no_worker():
    """Fifty calls that wait for half a second each are over in a second or so."""
    made = process(desk(fails=1, retries=1, pause=0.5)(said))
    with within(10):
        assert len(made.map(range(50))()) == 50


def test_what_was_opened_is_closed():
    """After the function, also when it fails."""

    @thread
    @desk
    def fails(data):
        BOOKS.append("body")
        raise ValueError("in the body")

    BOOKS.clear()
    with pytest.raises(ValueError, match="in the body"):
        fails()()
    assert BOOKS == ["open", "body", "close"]


def test_timeouts_end_source_and_function():
    """The body is both."""

    class SlowSource(Source):
        """Supplies nothing, for long."""

        @contextmanager
        def supply(self, asked):
            time.sleep(60)
            yield None

    slow = backend.source(SlowSource)
    with within(20), pytest.raises(ProcessTimeoutException):
        process(timeout=0.3)(slow(said))()()


def stamps(every, **options):
    @thread(**options)
    @desk(every=every)
    def stamp(data):
        return time.monotonic()

    return stamp


def test_a_rate_spaces_calls_evenly():
    """Also those of several runs; each begins no sooner than it may."""
    stamp = stamps(0.05)
    begun = time.monotonic()
    runs = [stamp.map(range(5)).submit() for _ in range(2)]
    moments = sorted(moment for run in runs for moment in run.result())
    assert all(at - begun >= n * 0.05 for n, at in enumerate(moments))


def test_a_rate_holds_for_all_processes():
    """The caller lets them in."""

    @process
    @desk(every=0.05)
    def stamp(data):
        return time.monotonic()

    begun = time.monotonic()
    moments = sorted(stamp.map(range(6))())
    assert all(at - begun >= n * 0.05 for n, at in enumerate(moments))


def test_waiting_for_a_turn_can_be_cancelled():
    """At once, with nothing begun; and the next run is not held up by it."""
    stamp = stamps(60.0)
    assert stamp()() > 0
    with within(10):
        future = gather(*[stamp() for _ in range(3)]).submit()
        assert future.cancel()
        assert until(future.cancelled_how) == "already done"


def test_a_failure_ends_those_that_wait():
    """A run does not wait for turns that nobody needs any more."""
    stamp = stamps(60.0)

    @thread
    def fails():
        raise ValueError("first")

    assert stamp()() > 0
    with within(10), pytest.raises(ValueError, match="first"):
        gather(stamp(), stamp(), fails())()


def test_limits():
    """At most so many at once, as for any task."""
    inside, most = [], []

    class CountingSource(Source):
        """Counts who is inside."""

        def check_call(self, values, names):
            """Anything goes."""

        @contextmanager
        def supply(self, asked):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()
            yield None

    counting = backend.source(CountingSource)
    thread(limit=2)(counting(said_nothing)).map([{}] * 12)()
    assert 1 <= max(most) <= 2


def said_nothing(data):
    return 0


class LogSource(Source):
    """Writes down that it was asked.

    Args:
        path: Where.
        token: What nobody may see.
    """

    def __init__(self, *, path: str, token: str = ""):
        self.path = path

    def check_call(self, values, names):
        """Anything goes."""

    @contextmanager
    def supply(self, asked):
        with open(self.path, "a") as file:
            file.write("x")
        yield str(asked.parameters)


logged = backend.source(LogSource, secrets={"token"})


@pytest.mark.parametrize("how", [process, thread, cellar])
def test_kept_values_are_known_by_call_and_source(how, tmp_path, monkeypatch):
    """A hit asks nobody; other parameters, and other options, are other values."""
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "log"

    def made(**options):
        return task(cache=True)(how(logged(path=str(path), **options)(length)))

    for _ in range(2):
        assert made()(a=1)() == 8
    assert path.read_text() == "x"
    made()(a=22)()
    assert path.read_text() == "xx"
    made(token="t")(a=1)()
    assert path.read_text() == "xx"
    other = tmp_path / "other"
    task(cache=True)(how(logged(path=str(other))(length)))(a=1)()
    assert other.read_text() == "x"


def length(data):
    return len(data)


def test_a_hit_makes_no_place(tmp_path, monkeypatch):
    """What is kept is found without whoever would compute it; refusals come first."""
    monkeypatch.setenv("ENTANGLE_CACHE_DIR", str(tmp_path / "cache"))
    made = []

    class CountedExecutor(CellarExecutor):
        """Counts how many are made.

        Args:
            size: How large.
        """

        def __init__(self, *, size: int = 1):
            super().__init__(size=size)
            made.append(self)

    counted = infrastructure(CountedExecutor)
    kept = task(cache=True)(counted(logged(path=str(tmp_path / "log"))(length)))
    assert kept(a=1)() == 8
    assert len(made) == 1
    from entangle.task import shutdown

    shutdown()
    assert kept(a=1)() == 8
    assert len(made) == 1
    nowhere = task(cache=True, executor="nowhere")(logged(path="/nowhere")(length))
    with pytest.raises(PluginError, match="nowhere"):
        nowhere(a=1)()


def test_kept_for_a_run(tmp_path):
    """Equal calls of one run are one."""
    path = tmp_path / "log"
    made = task(cache="run")(thread(logged(path=str(path))(length)))
    assert gather(made(a=1), made(a=1), made(a=2))() == [8, 8, 8]
    assert path.read_text() == "xx"


def test_shared_memory_beside_a_source():
    """The function is given both handles, the source neither."""

    @process(shared_memory=True)
    @desk
    def both(data, smm=None, sm=None):
        memory = smm.SharedMemory(8)
        return sm(memory.name).size >= 8, said(data)

    assert both(x=1)() == (True, ("", (), {"x": 1}))


# -- mistakes ------------------------------------------------------------------------


def none():
    return 1


def two(a, b):
    return a


def keyword(data, *, more):
    return data


@pytest.mark.parametrize(
    ("function", "words"),
    [(none, "takes none"), (two, "more than one: a, b"), (keyword, "keyword 'more'")],
)
def test_functions_that_do_not_fit(function, words):
    """Told where they are decorated, with the line."""
    with pytest.raises(CompositionError, match=words) as got:
        desk(function)
    assert got.value.origins[0].startswith(f"{__file__}:")


def test_optional_parameters_stay_what_they_are():
    """One is needed; defaults remain."""

    @thread
    @desk
    def fits(data, more=5, *rest, key=1):
        return data["label"], more, rest, key

    assert fits(x=1)() == ("", 5, (), 1)


def test_calls_are_checked_where_they_are_written():
    """By the source, with the function's name."""
    for call in (lambda: in_process(1, 2), lambda: in_process.map([1], [2])):
        with pytest.raises(
            TypeError, match=r"in_process\(\): the desk takes one value"
        ):
            call()
    with pytest.raises(TypeError, match=r"in_thread\(\): the desk knows no bad="):
        in_thread(bad=1)


def test_options_are_checked():
    """As those of every configured decorator."""
    with pytest.raises(OptionError, match="did you mean 'label'"):
        desk(lable="x")
    with pytest.raises(OptionError, match="label must be str"):
        desk(label=1)
    with pytest.raises(OptionError, match="no label"):
        desk(label="none")
    with pytest.raises(TypeError, match="no subclass"):
        backend.source(dict)


def test_calls_like_a_function():
    """Checked as its calls would be, and by the source."""

    def like(value, /, *, limit=1):
        """Stand for what calls look like."""

    likely = backend.source(DeskSource, name="likely", calls_like=like)

    class Here:
        @thread
        @likely
        def method(self, data):
            return said(data)

    made = thread(likely(said))
    assert made(1, limit=2)() == ("", (1,), {"limit": 2})
    assert Here().method(3)() == ("", (3,), {})
    for wrong in (lambda: made(), lambda: made(1, 2), lambda: made(1, more=1)):
        with pytest.raises(TypeError, match=r"said\(\)"):
            wrong()


def test_the_default_takes_keywords_only():
    """A source that says nothing of its calls."""
    made = logged(path="/nowhere")(length)
    assert made(a=1).kwargs == {"a": 1}

    class PlainSource(Source):
        """Supplies None."""

        @contextmanager
        def supply(self, asked):
            yield None

    plain = backend.source(PlainSource)
    with pytest.raises(TypeError, match="keywords only"):
        plain(length)(1)


def test_plans_show_the_source_without_its_secrets():
    """And that a local worker asks it, where the function runs elsewhere."""
    shown = str(desk(label="x", secret="canary")(said)(a=1).plan())
    assert "@desk(label='x', secret=…)" in shown
    assert "canary" not in shown
    shown = str(cellar(desk(said))(a=1).plan())
    assert "in cellar()" in shown
    assert "local worker" in shown


def test_a_task_comes_back_from_elsewhere():
    """A task that a worker returns a call of is this process's own."""

    @process
    def calls():
        return in_process(x=1)

    assert calls()()[2] == {"x": 1}


def test_sources_close_with_the_pool():
    """What they keep between calls ends with `shutdown`."""
    from entangle.task import shutdown

    closed = []

    class OpenSource(Source):
        """Stays open."""

        @contextmanager
        def supply(self, asked):
            yield Path.cwd()

        def close(self):
            closed.append(self)

    made = thread(backend.source(OpenSource)(str_of))
    assert made()() == str(Path.cwd())
    shutdown()
    assert len(closed) == 1
    assert made()() == str(Path.cwd())


def str_of(data):
    return str(data)
