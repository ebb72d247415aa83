"""An endless source through three stages, in order, until there is enough.

Numbers are tested for being prime by processes, and the sum goes on as long as the loop
does. Nothing is drawn further ahead than the buffer allows.
"""

from collections.abc import Iterator
from itertools import count

from entangle.dataflow import dataflow, process, thread

drawn: list[int] = []


def numbers() -> Iterator[int]:
    for number in count(1_000_001, 2):
        drawn.append(number)
        yield number


@dataflow
@process
def factor(number: int) -> tuple[int, int]:
    divisor = 3
    while divisor * divisor <= number and number % divisor:
        divisor += 2
    return number, number if divisor * divisor > number else divisor


@dataflow
@thread
def describe(found: tuple[int, int]) -> str:
    number, divisor = found
    return f"{number} is {'prime' if divisor == number else f'{divisor} x ...'}"


if __name__ == "__main__":
    primes = 0
    for taken, (line,) in enumerate(factor(describe()).stream(numbers(), buffer=8), 1):
        if line.endswith("prime"):
            primes += 1
            print(line)
        if primes == 3:
            print("drawn ahead of what was needed: at most 8:", len(drawn) - taken <= 8)
            break
