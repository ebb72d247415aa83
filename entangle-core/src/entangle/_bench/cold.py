"""One peer's first result in a new interpreter: `python cold.py PEER`.

Started by the harness, which takes the time of the whole process.
"""

import sys

from entangle._bench import work


def main(peer: str) -> None:
    """Import what the peer needs, run one call, print its value."""
    match peer:
        case "nothing":
            value = 1
        case "futures process":
            from concurrent.futures import ProcessPoolExecutor

            with ProcessPoolExecutor(2) as pool:
                value = pool.submit(work.one, 1).result()
        case "futures thread":
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(2) as threads:
                value = threads.submit(work.one, 1).result()
        case "multiprocessing.Pool":
            from multiprocessing import Pool

            with Pool(2) as processes:
                value = processes.apply(work.one, (1,))
        case "joblib":
            from joblib import Parallel, delayed

            (value,) = Parallel(n_jobs=2)([delayed(work.one)(1)])
        case "dask threads" | "dask processes":
            import dask

            value = dask.delayed(work.one)(1).compute(scheduler=peer.split()[1])
        case "entangle process":
            from entangle.process import process

            value = process(work.one)(1)()
        case "entangle thread":
            from entangle.thread import thread

            value = thread(work.one)(1)()
        case _:
            sys.exit(f"no peer {peer!r}")
    print(value)


if __name__ == "__main__":
    main(sys.argv[1])
