"""A sum of products: the smallest graph with something to run in parallel.

Calling a decorated function runs nothing; it makes a node. Nodes among the arguments
are the graph's edges. `one`, `two` and `three` depend on nothing, so they run at once,
each in a process of its own.
"""

import os

from entangle.process import process


@process
def one() -> int:
    print(f"one   in process {os.getpid()}")
    return 1


@process
def two() -> int:
    print(f"two   in process {os.getpid()}")
    return 2


@process
def three() -> int:
    print(f"three in process {os.getpid()}")
    return 3


@process
def mult(a: int, b: int) -> int:
    print(f"mult  {a} * {b}")
    return a * b


@process
def add(a: int, b: int) -> int:
    print(f"add   {a} + {b}")
    return a + b


result = add(mult(one(), two()), three())

# `entangle run` imports this file under its own name and calls `result` itself.
if __name__ == "__main__":
    print(f"caller is process {os.getpid()}")
    print(f"result {result()}")
