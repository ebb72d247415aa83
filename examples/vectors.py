"""Vectors in shared memory: two tasks fill them, others compute on their parts.

Each task maps the memory by its name and writes its own part of the result, so nothing is
copied and nobody waits for anybody else. The same sums are then taken the plain way, with
arrays that are simply returned and passed.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from entangle.process import process
from entangle.task import gather
from entangle.workflow import workflow

COUNT = 1_000_000
PARTS = 4


@process(shared_memory=True)
def ramp(count: int, smm: Any = None, sm: Any = None) -> str:
    memory = smm.SharedMemory(count * 8)
    np.frombuffer(memory.buf)[:] = np.linspace(0.0, 1.0, count)
    return str(memory.name)


@process(shared_memory=True)
def powers(base: str, exponent: str, part: int, smm: Any = None, sm: Any = None) -> int:
    a, b = (np.frombuffer(sm(name).buf) for name in (base, exponent))
    length = len(a) // PARTS
    mine = slice(part * length, (part + 1) * length)
    np.power(a[mine], b[mine], out=a[mine])
    return part


@process(shared_memory=True)
def total(name: str, smm: Any = None, sm: Any = None) -> float:
    return float(np.frombuffer(sm(name).buf).sum())


@workflow
def in_shared_memory(base: str, exponent: str) -> Any:
    parts = [powers(base, exponent, part) for part in range(PARTS)]
    return total(base).after(*parts)


@process
def plain_ramp(count: int) -> NDArray[np.float64]:
    return np.linspace(0.0, 1.0, count)


@process
def plain_powers(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.power(a, b)


@process
def plain_total(values: NDArray[np.float64]) -> float:
    return float(values.sum())


def main() -> None:
    shared = in_shared_memory(ramp(COUNT), ramp(COUNT))
    a, b = plain_ramp(COUNT), plain_ramp(COUNT)
    plain = plain_total(plain_powers(a, b))
    one, two = gather(shared, plain)()
    print(f"in shared memory {one:.6f}, passed around {two:.6f}")
    if abs(one - two) > 1e-6 * two:
        raise SystemExit("they differ")


if __name__ == "__main__":
    main()
