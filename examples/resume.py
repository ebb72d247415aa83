"""Results that outlive the program: a second run goes on where the first one died.

The program starts itself twice. The first time it kills itself half-way; the second time
what was computed by then is found on disk, and only the rest is computed.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from entangle.process import process

YEARS = [2019, 2020, 2021, 2022]


@process(cache=True)
def harvest(year: int) -> float:
    """Take long, as a simulation does."""
    print(f"computing {year}")
    return (year - 2000) * 1.5


@process(cache=True)
def mean(values: list[float]) -> float:
    print("computing the mean")
    return sum(values) / len(values)


def work(*, dies: bool) -> None:
    for year in YEARS[:2]:
        harvest(year)()
    if dies:
        print("killed", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    print("mean", mean([harvest(year) for year in YEARS])())


def main() -> None:
    """Run the work three times, with one cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ENTANGLE_CACHE_DIR": str(Path(folder, "cache"))}
        for how in ("dies", "ends", "ends"):
            print(f"run that {how}:")
            subprocess.run(  # noqa: S603 - itself
                [sys.executable, __file__, how],
                env=environment,
                check=how == "ends",
            )


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if len(sys.argv) > 1:
        work(dies=sys.argv[1] == "dies")
    else:
        main()
