"""The calls that wait for a worker, in the order in which they get one."""

from __future__ import annotations

import time
from bisect import insort
from collections import deque
from heapq import heapify, heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from .batching import MOST_AT_ONCE
from .jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TURN: Final = 1.0  # seconds after which who has waited longest goes first
_FEW: Final = 64  # calls that are over and may stay until they would be next

_arrival = attrgetter("arrival")


class Line(deque[Job]):
    """First come first served among runs, and within one the deepest calls first.

    What a task has asked for by a graph of its own goes ahead of the other calls of
    the run that the task belongs to, in whose places these go further back: other
    runs wait as long as they would anyway. Else, where each task runs a graph, all of
    them would begin, and sit in a process, before the first of them could end. The
    same would come of many runs of one such task each; so while too many sit there
    already, a task that is known to run graphs is held back, whatever its run, for as
    long as anything waits that tasks have asked for; one that was asked for itself, for
    as long as anything of that is not known to run graphs.

    So that no call waits for ever behind tasks that run one graph after the other, who
    has waited longest has a turn now and then, and keeps it until it has left. Those
    that are held back have theirs the more seldom, the more sit there.

    It is itself what leaves next: all that waits as long as no task has asked for
    anything, else the next call, or some next ones if they are tiny.

    Args:
        crowd: Tells how many more tasks than there should be wait for others.
        clock: The time in seconds.
    """

    def __init__(
        self,
        crowd: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._crowd = crowd
        self._clock = clock
        self._mixed = False  # whether tasks have asked for anything since it was empty
        self._plain: deque[Job] = deque()  # what no task has asked for, as it came
        self._asks: dict[Job, None] = {}  # what tasks have asked for, as it came
        self._leaves: set[Job] = set()  # of these, what runs no graphs as far as known
        self._deepest: dict[int, list[tuple[int, int, int, Job]]] = {}  # by run
        self._slots: deque[tuple[int, int]] = deque()  # their arrivals and runs
        self._passed: dict[int, deque[Job]] = {}  # by run, who has lost a place to one
        self._held: deque[Job] = deque()  # back, for the crowd
        self._gone = 0  # how many of all these are over
        self._let: Job | None = None  # whose turn it is, until it has left
        self._since = self._held_since = clock()  # when nobody's was, last

    def add(self, job: Job) -> None:
        """Put a job at the end, or where it belongs."""
        if _rank(job)[1]:
            self._ask(job)
        elif self._mixed:
            self._plain.append(job)
        else:
            self.append(job)

    def add_all(self, jobs: Iterable[Job]) -> None:
        """Put jobs at the end that no task has asked for."""
        (self._plain if self._mixed else self).extend(jobs)

    def put_back(self, job: Job) -> None:
        """Put a job first that had left, but for who has its turn."""
        self.insert(int(self._turn() is not None), job)

    def settle(self) -> bool:
        """Have the next job first; tell whether there is any."""
        if not self._mixed:
            return bool(self)
        if self._turn() is None:
            while self and self._is_held(self[0]):
                self._hold(self.popleft())
            self._give_turn()
        if not self:
            self._choose()
        self._mixed = bool(self)
        return self._mixed

    def size(self) -> int:
        """Return how many jobs wait; some of them may be over."""
        passed = sum(map(len, self._passed.values())) if self._passed else 0
        others = len(self._plain) + len(self._asks) + len(self._held)
        return len(self) + others + passed

    def jobs(self) -> list[Job]:
        """Return all jobs that wait, in no certain order; some may be over."""
        passed = [job for jobs in self._passed.values() for job in jobs]
        return [*self, *self._held, *passed, *self._plain, *self._asks]

    def drain(self) -> list[Job]:
        """Take all jobs out."""
        jobs = sorted(self.jobs(), key=_arrival)
        self._keep(lambda _: False)
        return jobs

    def left(self) -> None:
        """One of its jobs is over: it is let go of soon, with what it holds."""
        self._gone += 1
        if self._gone > _FEW and self._gone > self.size() // 2:
            self._keep(lambda job: not job.over)

    # -- what tasks have asked for ---------------------------------------------------

    def _ask(self, job: Job) -> None:
        if not self._mixed:
            self._mixed = True
            self._plain.extend(self)
            self.clear()
        run, depth = _rank(job)
        root: int = getattr(job.call, "root", 0) or job.arrival
        # Of equals those of the oldest task, so that some task comes to its end.
        heap = self._deepest.setdefault(run, [])
        heappush(heap, (-depth, root, job.arrival, job))
        self._asks[job] = None
        if not job.prepared.shipped.nests:
            self._leaves.add(job)
        self._slots.append((job.arrival, run))

    def _choose(self) -> None:
        """Have the next jobs leave: one, or as many as may be sent together."""
        while len(self) < MOST_AT_ONCE:
            job = self._next()
            if job is None:
                return
            self.append(job)
            if not job.tiny() or job.prepared.key != self[0].prepared.key:
                return

    def _next(self) -> Job | None:
        """Take the next job out; None if there is none."""
        while self._held and not self._is_held(self._held[0]):
            job = self._held.popleft()
            if not job.over:
                return job
        while self._slots or self._plain:
            first = self._next_of_all()
            if first is None or first.over:
                continue
            if not self._is_held(first):
                return first
            self._hold(first)
        return self._held.popleft() if self._held else None

    def _next_of_all(self) -> Job | None:
        """Take out who comes first; None if its place was left before."""
        plain, slots = self._plain, self._slots
        if slots and not (plain and plain[0].arrival < slots[0][0]):
            run = slots.popleft()[1]
            return self._asked_in(run) or self._passed_in(run)
        job = plain.popleft()
        run = _rank(job)[0]
        other = self._asked_in(run) or self._passed_in(run)
        if other is None:
            return job
        self._passed.setdefault(run, deque()).append(job)
        return other

    def _asked_in(self, run: int) -> Job | None:
        heap = self._deepest.get(run)
        while heap:
            job = heappop(heap)[3]
            if self._take(job):
                return job
        self._deepest.pop(run, None)
        return None

    def _take(self, ask: Job) -> bool:
        """Take out what a task has asked for; False if it was taken out before."""
        self._leaves.discard(ask)
        return self._asks.pop(ask, self) is None

    def _passed_in(self, run: int) -> Job | None:
        jobs = self._passed.get(run)
        if not jobs:
            return None
        job = jobs.popleft()
        if not jobs:
            del self._passed[run]
        return job

    # -- turns -----------------------------------------------------------------------

    def _is_held(self, job: Job) -> bool:
        if not job.prepared.shipped.nests or self._crowd() <= 0:
            return False
        return bool(self._leaves if _rank(job)[1] else self._asks)

    def _hold(self, job: Job) -> None:
        insort(self._held, job, key=_arrival)

    def _turn(self) -> Job | None:
        """Return who is first since it has its turn; None for nobody."""
        let = self._let
        if let is not None and (let.over or not self or self[0] is not let):
            # It has left. From now on the others count the time.
            self._let = let = None
            self._since = self._clock()
        return let

    def _give_turn(self) -> None:
        now = self._clock()
        let: Job | None = None
        if now - self._since > TURN:
            let = self._take_longest()
        pause = TURN * max(1, self._crowd())
        if let is None and self._held and now - self._held_since > pause:
            let = self._held.popleft()
            self._held_since = now
        if let is not None:
            self._let = let
            self.appendleft(let)

    def _take_longest(self) -> Job | None:
        """Take out who has waited longest of those that are not held back."""
        fronts = map(self._front, [*self._passed.values(), self._plain])
        found = [job for job in fronts if job is not None]
        ask = next((job for job in self._asks if not self._is_held(job)), None)
        if ask is not None:
            found.append(ask)
        if not found:
            return None
        longest = min(found, key=_arrival)
        if ask is not None and longest is ask:
            self._take(ask)
        elif self._plain and longest is self._plain[0]:
            self._plain.popleft()
        else:
            self._passed_in(_rank(longest)[0])
        return longest

    def _front(self, jobs: deque[Job]) -> Job | None:
        """Return the first of some that is not held back; who is goes aside."""
        while jobs and (jobs[0].over or self._is_held(jobs[0])):
            job = jobs.popleft()
            if not job.over:
                self._hold(job)
        return jobs[0] if jobs else None

    def _keep(self, wanted: Callable[[Job], bool]) -> None:
        """Let go of all but some."""
        self._gone = 0
        several = self, self._plain, self._held, *self._passed.values()
        for jobs in several:
            kept = [*filter(wanted, jobs)]
            jobs.clear()
            jobs.extend(kept)
        self._passed = {run: jobs for run, jobs in self._passed.items() if jobs}
        self._asks = dict.fromkeys(filter(wanted, self._asks))
        self._leaves.intersection_update(self._asks)
        for heap in self._deepest.values():
            heap[:] = [entry for entry in heap if entry[3] in self._asks]
            heapify(heap)


def _rank(job: Job) -> tuple[int, int]:
    if job.rank is None:
        job.rank = job.call.rank()
    return job.rank
