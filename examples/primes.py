"""Count primes in segments, results taken as they land.

The small primes are computed once and handed to every segment: one node used by many is
run once. `as_completed` runs all segments as one run and yields each when it is done.
"""

from math import isqrt

from entangle.process import process
from entangle.task import as_completed

LIMIT = 2_000_000
SEGMENT = 250_000


@process
def sieve(limit: int) -> list[int]:
    """Return the primes up to a limit."""
    flags = bytearray([1]) * (limit + 1)
    flags[:2] = b"\0\0"
    for n in range(2, isqrt(limit) + 1):
        if flags[n]:
            flags[n * n :: n] = bytes(len(range(n * n, limit + 1, n)))
    return [n for n, flag in enumerate(flags) if flag]


@process
def count(start: int, stop: int, small: list[int]) -> int:
    """Count the primes in a segment, given all primes up to the root of its end."""
    flags = bytearray([1]) * (stop - start)
    for prime in small:
        first = max(prime * prime, -(-start // prime) * prime)
        flags[first - start :: prime] = bytes(len(range(first, stop, prime)))
    return sum(flags) - max(0, 2 - start)


def main() -> None:
    """Count the primes below LIMIT."""
    small = sieve(isqrt(LIMIT))
    segments = [
        count(start, min(start + SEGMENT, LIMIT), small)
        for start in range(0, LIMIT, SEGMENT)
    ]
    total = 0
    for done, (_, future) in enumerate(as_completed(segments), start=1):
        total += future.result()
        print(f"{done} of {len(segments)} segments")
    print(f"{total} primes below {LIMIT}")


if __name__ == "__main__":
    main()
