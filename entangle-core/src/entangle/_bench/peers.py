"""The peers, each behind the same few methods.

A peer is opened before a measurement and closed after it. A method that a peer can't
offer, or not in reasonable time, is missing from its class.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, ClassVar

from . import work
from .floor import FloorPool, Job
from .graphs import Layered, Report, drive

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
WORKERS = max(2, CPUS)
# What each peer does by default on Linux up to Python 3.13, and its fastest.
CONTEXT = multiprocessing.get_context("fork")


class Peer:
    """One way to run calls.

    Attributes:
        name: how the table calls it.
        kind: what it is compared with: process, thread or fresh.
        shares: the part of a workload that it is given where it is slow.
        needs: the module without which it is skipped.
    """

    name: ClassVar[str]
    kind: ClassVar[str] = "process"
    shares: ClassVar[Mapping[str, float]] = {}
    needs: ClassVar[str] = "os"

    def open(self) -> None:
        """Start what can be started beforehand, and make it warm."""

    def close(self) -> None:
        """End it all."""


class Floor(Peer):
    """Bare workers."""

    name = "floor: a bare worker"
    pool: FloorPool

    def open(self) -> None:
        """Fork the workers."""
        self.pool = FloorPool(WORKERS)

    def close(self) -> None:
        """End the workers."""
        self.pool.close()

    def call(self) -> None:
        """Run one call and wait for it."""
        self.pool.call(work.noop)

    def fanout(self, count: int) -> int:
        """Run independent calls; return how many came back."""
        back = 0

        def landed(number: int, value: int) -> Iterable[Job]:
            nonlocal back
            assert number == value
            back += 1
            return ()

        self.pool.run([(n, work.one, (n,)) for n in range(count)], landed)
        return back

    def chain(self, count: int) -> int:
        """Feed each call with the last one's value; return the last."""
        value = 0
        for _ in range(count):
            value = self.pool.call(work.inc, value)
        return value

    def layers(self, graph: Layered) -> list[int]:
        """Run a graph; return the last layer's values."""
        parents = graph.parents
        missing = [len(set(p or ())) for p in parents]
        users: list[list[int]] = [[] for _ in parents]
        for node, above in enumerate(parents):
            for parent in set(above or ()):
                users[parent].append(node)
        values = [0] * len(parents)

        def job(node: int) -> Job:
            above = parents[node]
            if above is None:
                return node, work.add, (node, 0, 0)
            return node, work.add, tuple(values[parent] for parent in above)

        def landed(node: int, value: int) -> Iterable[Job]:
            values[node] = value
            ready = []
            for user in users[node]:
                missing[user] -= 1
                if not missing[user]:
                    ready.append(job(user))
            return ready

        self.pool.run([job(n) for n, m in enumerate(missing) if not m], landed)
        return values[-graph.width :]


class Futures(Peer):
    """Any executor of concurrent.futures, driven by a counter where it must be."""

    executor: Executor

    def make(self) -> Executor:
        """Return a new executor."""
        raise NotImplementedError

    def open(self) -> None:
        """Start all workers."""
        self.executor = self.make()
        list(self.executor.map(work.one, range(4 * WORKERS)))

    def close(self) -> None:
        """End the workers."""
        self.executor.shutdown()

    def call(self) -> None:
        """Run one call and wait for it."""
        self.executor.submit(work.noop).result()

    def fanout(self, count: int) -> int:
        """Run independent calls; return how many came back."""
        futures = [self.executor.submit(work.one, n) for n in range(count)]
        return len([future.result() for future in futures])

    def busy(self, count: int, seconds: float) -> None:
        """Run independent calls that take their time."""
        list(self.executor.map(work.spin, [seconds] * count))

    def chain(self, count: int) -> int:
        """Feed each call with the last one's value; return the last."""
        value = 0
        for _ in range(count):
            value = self.executor.submit(work.inc, value).result()
        return value

    def layers(self, graph: Layered) -> list[int]:
        """Run a graph; return the last layer's values."""

        def submit(arguments: tuple[int, int, int], node: int, report: Report) -> None:
            def done(future: Future[int]) -> None:
                report(node, future.result())

            self.executor.submit(work.add, *arguments).add_done_callback(done)

        return drive(graph, submit)


class FuturesProcess(Futures):
    """ProcessPoolExecutor."""

    name = "futures process"

    def make(self) -> Executor:
        """Return a pool of forked processes."""
        return ProcessPoolExecutor(WORKERS, CONTEXT)


class FuturesThread(Futures):
    """ThreadPoolExecutor."""

    name = "futures thread"
    kind = "thread"

    def make(self) -> Executor:
        """Return a pool of threads."""
        return ThreadPoolExecutor(WORKERS)


class MultiprocessingPool(Peer):
    """multiprocessing.Pool, by apply and apply_async."""

    name = "multiprocessing.Pool"

    def open(self) -> None:
        """Start all workers."""
        self.pool = CONTEXT.Pool(WORKERS)
        self.pool.map(work.one, range(4 * WORKERS))

    def close(self) -> None:
        """End the workers."""
        self.pool.close()
        self.pool.join()

    def call(self) -> None:
        """Run one call and wait for it."""
        self.pool.apply(work.noop)

    def fanout(self, count: int) -> int:
        """Run independent calls; return how many came back."""
        results = [self.pool.apply_async(work.one, (n,)) for n in range(count)]
        return len([result.get() for result in results])

    def chain(self, count: int) -> int:
        """Feed each call with the last one's value; return the last."""
        value = 0
        for _ in range(count):
            value = self.pool.apply(work.inc, (value,))
        return value

    def layers(self, graph: Layered) -> list[int]:
        """Run a graph; return the last layer's values."""

        def submit(arguments: tuple[int, int, int], node: int, report: Report) -> None:
            def done(value: int) -> None:
                report(node, value)

            self.pool.apply_async(work.add, arguments, callback=done)

        return drive(graph, submit)


class Joblib(Peer):
    """joblib.Parallel with loky, a graph level by level."""

    name = "joblib"
    needs = "joblib"
    shares: ClassVar = {"call": 0.1, "chain": 0.1}

    def open(self) -> None:
        """Start all workers."""
        from joblib import Parallel

        self.parallel = Parallel(n_jobs=WORKERS)
        self.parallel.__enter__()
        self._run(work.one, [(n,) for n in range(4 * WORKERS)])

    def close(self) -> None:
        """End the workers, which would stay for five minutes."""
        from joblib.externals.loky import get_reusable_executor

        self.parallel.__exit__(None, None, None)
        get_reusable_executor().shutdown(wait=True)

    def _run(
        self, function: Callable[..., Any], calls: Iterable[tuple[int, ...]]
    ) -> list[Any]:
        from joblib import delayed

        lazy = delayed(function)
        return list(self.parallel(lazy(*arguments) for arguments in calls))

    def call(self) -> None:
        """Run one call and wait for it."""
        self._run(work.noop, [()])

    def fanout(self, count: int) -> int:
        """Run independent calls; return how many came back."""
        return len(self._run(work.one, [(n,) for n in range(count)]))

    def chain(self, count: int) -> int:
        """Feed each call with the last one's value; return the last."""
        value = 0
        for _ in range(count):
            (value,) = self._run(work.inc, [(value,)])
        return value

    def layers(self, graph: Layered) -> list[int]:
        """Run a graph; return the last layer's values."""
        values: list[int] = self._run(work.add, [(n, 0, 0) for n in range(graph.width)])
        for first in range(graph.width, len(graph.parents), graph.width):
            above = first - graph.width
            level = graph.parents[first : first + graph.width]
            values = self._run(
                work.add, [tuple(values[p - above] for p in ps or ()) for ps in level]
            )
        return values


class Dask(Peer):
    """dask.delayed on one of its local schedulers."""

    needs = "dask"
    shares: ClassVar = {"call": 0.2, "fanout": 0.2, "chain": 0.2, "layers": 0.1}
    scheduler: ClassVar[str]

    def open(self) -> None:
        """Import dask and start all workers."""
        import dask

        self.pool: Executor = (
            ThreadPoolExecutor(WORKERS)
            if self.kind == "thread"
            else ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn"))
        )
        self.settings = dask.config.set(scheduler=self.scheduler, pool=self.pool)
        self.settings.__enter__()
        self.fanout(4 * WORKERS)

    def close(self) -> None:
        """End the workers."""
        self.settings.__exit__(None, None, None)
        self.pool.shutdown()

    def call(self) -> None:
        """Run one call and wait for it."""
        from dask import delayed

        delayed(work.noop)().compute()

    def fanout(self, count: int) -> int:
        """Run independent calls; return how many came back."""
        from dask import compute, delayed

        lazy = delayed(work.one)
        return len(compute(*[lazy(n) for n in range(count)]))

    def chain(self, count: int) -> int:
        """Feed each call with the last one's value; return the last."""
        from dask import delayed

        lazy, node = delayed(work.inc), delayed(work.inc)(0)
        for _ in range(count - 1):
            node = lazy(node)
        return int(node.compute())

    def layers(self, graph: Layered) -> list[int]:
        """Run a graph; return the last layer's values."""
        from dask import compute

        return list(compute(*self.nodes(graph)[-graph.width :]))

    def nodes(self, graph: Layered) -> list[Any]:
        """Build a graph and return all its nodes."""
        from dask import delayed

        lazy = delayed(work.add)
        nodes: list[Any] = []
        for node, parents in enumerate(graph.parents):
            nodes.append(
                lazy(*[nodes[p] for p in parents] if parents else (node, 0, 0))
            )
        return nodes


class DaskProcesses(Dask):
    """The processes scheduler."""

    name = "dask processes"
    scheduler = "processes"


class DaskThreads(Dask):
    """The threads scheduler."""

    name = "dask threads"
    kind = "thread"
    scheduler = "threads"


class ProcessEach(Peer):
    """multiprocessing.Process: a new process for each call."""

    name = "multiprocessing.Process"
    kind = "fresh"

    def call(self) -> None:
        """Run one call and wait for it."""
        assert self.fanout(1) == 1

    def fanout(self, count: int) -> int:
        """Run independent calls, a few at once; return how many came back."""
        back = 0
        queue = CONTEXT.SimpleQueue()
        for first in range(0, count, WORKERS):
            batch = [
                CONTEXT.Process(target=_put, args=(queue, n))
                for n in range(first, min(count, first + WORKERS))
            ]
            for process in batch:
                process.start()
            for process in batch:
                queue.get()
                process.join()
                back += 1
        return back


class ForkEach(Peer):
    """os.fork alone: what a new process costs at least in a program of this size."""

    name = "floor: os.fork"
    kind = "fresh"

    def call(self) -> None:
        """Run one call and wait for it."""
        assert self.fanout(1) == 1

    def fanout(self, count: int) -> int:
        """Run independent calls, a few at once; return how many came back."""
        back = 0
        for first in range(0, count, WORKERS):
            ends = []
            for number in range(first, min(count, first + WORKERS)):
                read, write = os.pipe()
                pid = os.fork()
                if not pid:
                    os.write(write, b"%d" % work.one(number))
                    os._exit(0)
                os.close(write)
                ends.append((number, pid, read))
            for number, pid, read in ends:
                assert int(os.read(read, 100)) == number
                os.close(read)
                os.waitpid(pid, 0)
                back += 1
        return back


def _put(queue: Any, value: int) -> None:
    queue.put(work.one(value))


PEERS: tuple[type[Peer], ...] = (
    Floor,
    FuturesProcess,
    MultiprocessingPool,
    Joblib,
    DaskProcesses,
    FuturesThread,
    DaskThreads,
    ProcessEach,
    ForkEach,
)
