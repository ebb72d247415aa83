"""A place for jobs without processes, whose time and turns belong to the test."""

import json
from unittest import mock

from entangle._jobs.desk import Desk
from entangle._jobs.packing import pack
from entangle._jobs.papers import Papers
from entangle._jobs.session import Session
from entangle._jobs.ticket import Ticket
from entangle._worker import calls, job, transport
from entangle.backend import (
    Capabilities,
    FoundJob,
    JobExecutor,
    JobState,
    LogPiece,
    Pace,
)
from entangle.testing import ManualClock, RecordedCall


class TurnCrew:
    """Does nothing until it is told to."""

    def __init__(self):
        self.works = []
        self.closed = False

    def run(self, work):
        self.works.append(work)

    def close(self):
        self.closed = True

    def turn(self):
        works, self.works = self.works, []
        for work in works:
            work()


class Shelf(JobExecutor):
    """Keeps jobs; the test says what becomes of them."""

    capabilities = Capabilities(kill=True, started=True)
    pace = Pace(first=1.0, factor=2.0, most=60.0, jitter=0.25)

    def __init__(self, *, kept=None, output=False):
        super().__init__(lifetime=3600)
        self.capabilities = self.capabilities._replace(output=output)
        self.logs = {}
        self.log_error = None
        self.logs_asked = []
        self.kept = kept
        self.jobs = {}
        self.states = {}
        self.asked = []
        self.deleted = []
        self.refusals = []
        self.poll_error = None
        self.ends_at_once = True

    def store(self):
        return self.kept

    def create(self, job):
        if self.refusals:
            raise self.refusals.pop(0)
        self.jobs[job.name] = job
        self.states[job.name] = JobState("waiting")
        return job.name

    def poll(self, handles):
        self.asked.append(len(handles))
        if self.poll_error:
            raise self.poll_error
        return {name: self.states[name] for name in handles if name in self.states}

    def log(self, cursors):
        self.logs_asked.append(len(cursors))
        if self.log_error:
            raise self.log_error
        return {
            name: LogPiece(self.logs[name], f"after {len(self.logs[name])}")
            for name in cursors
            if name in self.logs
        }

    def delete(self, handle, *, over):
        self.deleted.append((handle, over))
        return self.ends_at_once

    def find(self):
        return [FoundJob(name, job.tags, 0.0) for name, job in self.jobs.items()]


class Bench:
    """A desk with a shelf, a clock and a crew that stand still."""

    def __init__(self, kept, **place):
        self.clock = ManualClock()
        self.crew = TurnCrew()
        self.place = Shelf(kept=kept, **place)
        self.store = kept
        self.papers = Papers(
            Session(3600), kept, "shelf", numbered=self.place.capabilities.output
        )
        self.desk = Desk(self.place, self.papers, self.clock.now, self.crew, seed=1)

    def submit(self, function, *args):
        call = RecordedCall(function, *args)
        session = self.papers.session
        ticket = Ticket(
            call,
            pack(call, None, "shelf"),
            session.run_of(call),
            session.next_name(),
            self.clock.now(),
        )
        self.desk.submit(ticket, serve=False)
        return call, ticket

    def turn(self, seconds=0.0):
        """Let time pass, make a round, do what came of it."""
        self.clock.advance(seconds)
        pause = self.desk.round()
        self.crew.turn()
        return pause

    def there(self, function=len, *args):
        """Have a job that its place has."""
        call, ticket = self.submit(function, *(args or ((),)))
        self.turn()
        assert ticket.stage == "there"
        return call, ticket

    def turns(self, number=4, seconds=120.0):
        for _ in range(number):
            self.turn(seconds)

    def document(self, ticket):
        """Return the facts and parts that a job reads."""
        pointer = json.loads(self.place.jobs[ticket.name].payload)["call"]
        return calls.collected(transport.get(pointer["url"], pointer["sha256"]))

    def answered(self, ticket, printed=(), told=(), **changes):
        """Return what a job would answer, run here."""
        facts, parts = self.document(ticket)
        # This process keeps its own main module.
        with mock.patch("entangle._worker.functions.enter_main"):
            said, answer = calls.run(facts, parts, lambda: None)
        output = job.Output()
        for stream, text in printed:
            output.take(stream, text)
        return job.sealed({**facts, **changes}, {**said, **dict(told)}, answer, output)

    def answer(self, ticket, data=None):
        """Put a job's answer where it belongs."""
        facts, _ = self.document(ticket)
        transport.put(facts["answer"], self.answered(ticket) if data is None else data)
