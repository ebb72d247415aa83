"""One peer's first value in a new interpreter: `python cold.py PEER`.

Started by the harness, which takes the time of the whole process. The value is that of
a graph of five calls, in three levels.
"""

import sys
from collections.abc import Callable
from typing import Any

from entangle._bench import work

VALUE = 9


def pooled(submit: Callable[..., Any], value: Callable[[Any], int]) -> int:
    """Drive a pool that knows no dependencies through the graph.

    Args:
        submit: Starts a function with arguments.
        value: Waits for what `submit` returned.
    """
    first, second, third = (
        submit(work.inc, 1),
        submit(work.inc, 2),
        submit(work.add, 1, 1, 1),
    )
    fourth = submit(work.inc, value(third))
    return value(submit(work.add, value(first), value(second), value(fourth)))


def graph(inc: Callable[..., Any], add: Callable[..., Any]) -> Any:
    """Build the graph for a peer that knows dependencies."""
    return add(inc(1), inc(2), inc(add(1, 1, 1)))


def main(peer: str) -> None:
    """Import what the peer needs, run the graph, print its value."""
    value: Any
    match peer:
        case "nothing":
            value = VALUE
        case "futures process":
            from concurrent.futures import ProcessPoolExecutor

            with ProcessPoolExecutor(2) as pool:
                value = pooled(pool.submit, lambda future: future.result())
        case "futures thread":
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(2) as threads:
                value = pooled(threads.submit, lambda future: future.result())
        case "multiprocessing.Pool":
            from multiprocessing import Pool

            with Pool(2) as processes:
                value = pooled(
                    lambda fn, *args: processes.apply_async(fn, args),
                    lambda result: result.get(),
                )
        case "joblib":
            from joblib import Parallel, delayed

            with Parallel(n_jobs=2) as parallel:
                level = [delayed(work.inc)(1), delayed(work.inc)(2)]
                first, second, third = parallel([*level, delayed(work.add)(1, 1, 1)])
                (fourth,) = parallel([delayed(work.inc)(third)])
                (value,) = parallel([delayed(work.add)(first, second, fourth)])
        case "dask threads" | "dask processes":
            import dask

            node = graph(dask.delayed(work.inc), dask.delayed(work.add))
            value = node.compute(scheduler=peer.split()[1])
        case "entangle process":
            from entangle.process import process

            value = graph(process(work.inc), process(work.add))()
        case "entangle thread":
            from entangle.thread import thread

            value = graph(thread(work.inc), thread(work.add))()
        case _:
            sys.exit(f"no peer {peer!r}")
    print(value)


if __name__ == "__main__":
    main(sys.argv[1])
