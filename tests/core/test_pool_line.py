"""In which order calls get workers."""

import itertools
import weakref
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from entangle._pool.line import TURN, Line

arrivals = itertools.count(1)


class Waiting:
    """A job, as far as a line looks at it.

    Args:
        name: A letter for its run, then how many calls wait for it, then a number; a
            capital letter where its function is known to run graphs.
        root: When the outermost of the calls came that wait for it.
    """

    over = False

    def __init__(self, name, root=0):
        self.name = name
        self.call = SimpleNamespace(root=root)
        self.rank = ord(name[0].lower()), int(name[1])
        self.arrival = next(arrivals)
        nests = name[0].isupper()
        self.prepared = SimpleNamespace(shipped=SimpleNamespace(nests=nests), key="k")

    def tiny(self):
        return False


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


class Crowd:
    """How many tasks wait for others, and should not."""

    more = 0

    def __call__(self):
        return self.more


def line(names, clock=None, crowd=None):
    made = Line(crowd or Crowd(), clock or Clock())
    add(made, names)
    return made


def add(made, names):
    for name in names.split():
        made.add(Waiting(name))
    made.settle()


def take(made):
    assert made.settle()
    return made.popleft().name


def order(made):
    """Take all out."""
    found = []
    while made.settle():
        found.append(made.popleft().name)
    assert not made.size()
    assert not made.jobs()
    return " ".join(found)


def test_first_come_first_served():
    assert order(line("a01 b01 a02 b02")) == "a01 b01 a02 b02"


def test_what_is_asked_for_goes_ahead_in_its_order():
    assert order(line("a01 a02 a11 a12 a13")) == "a11 a12 a13 a01 a02"


def test_the_deepest_first_and_equals_as_they_came():
    made = line("a01 a02 a11 a12")
    add(made, "a13 a21")
    # Who was about to leave does so.
    assert order(made) == "a11 a21 a12 a13 a01 a02"


def test_equals_by_the_task_that_came_first():
    """So some task comes to its end, before all have come to the middle."""
    made = line("a01 a02 a03")
    for name, root in (("a11", 9), ("a12", 8), ("a13", 9), ("a14", 8)):
        made.add(Waiting(name, root))
    assert order(made) == "a12 a14 a11 a13 a01 a02 a03"


def test_other_runs_keep_their_places():
    assert order(line("a01 a02 b01 a03 a11 a12")) == "a11 a12 b01 a01 a02 a03"
    every = order(line("a01 a02 b01 a03 a11 a12 b11"))
    assert every == "a11 a12 b11 a01 a02 a03 b01"


def test_who_has_waited_longest_has_a_turn_and_keeps_it():
    clock = Clock()
    made = line("a01 a02", clock)
    clock.now += TURN + 0.1
    add(made, "a11 a12")
    clock.now += TURN + 0.1
    add(made, "a13")
    assert take(made) == "a01"
    add(made, "a14")
    assert order(made) == "a11 a12 a13 a14 a02"


def test_who_is_put_back_goes_first_but_for_who_has_a_turn():
    clock = Clock()
    made = line("a01 a02", clock)
    clock.now += TURN + 0.1
    add(made, "a11")
    made.put_back(Waiting("a03"))
    assert order(made) == "a01 a03 a11 a02"
    made = line("a01 a02")
    made.put_back(Waiting("a03"))
    assert order(made) == "a03 a01 a02"


def test_the_turn_ends_when_who_has_it_has_left():
    """Nothing is kept of it, and from then on the others count the time."""
    clock = Clock()
    made = line("a01 a02", clock)
    clock.now += TURN + 0.1
    add(made, "a11 a12")
    let = weakref.ref(made[0])
    clock.now += 10 * TURN
    assert take(made) == "a01"
    assert take(made) == "a11"
    assert let() is None
    clock.now += TURN + 0.1
    made.settle()
    assert order(made) == "a02 a12"


def test_who_runs_graphs_is_held_back_for_a_crowd():
    """Whatever its run is: it would but sit there as well."""
    crowd = Crowd()
    made = line("A01 B01 c01 D01", crowd=crowd)
    crowd.more = 1
    add(made, "e11")
    assert [take(made), take(made)] == ["c01", "e11"]
    # While nothing else waits there is no reason to.
    assert take(made) == "A01"
    crowd.more = 0
    made.add(Waiting("e12"))
    assert order(made) == "B01 D01 e12"


def test_who_is_held_back_has_turns_as_well():
    """The more seldom, the more sit there."""
    clock, crowd = Clock(), Crowd()
    made = line("A01 B01 C01", clock, crowd)
    add(made, "e11")
    crowd.more = 3
    found, began = [], clock.now
    while len(found) < 2:
        if (name := take(made)) in {"A01", "B01"}:
            found.append(clock.now - began)
        add(made, "e11")
        clock.now += TURN / 10
    assert 3 * TURN < found[0] < 3.5 * TURN
    assert 6 * TURN < found[1] < 7 * TURN
    del name


def served(made, clock, more, until):
    """Serve one after the other, while more come each time, until some have been."""
    found = []
    while made.settle() and len(found) < 200 and not set(until.split()) <= set(found):
        add(made, more)
        found.append(take(made))
        clock.now += TURN / 10
    return found


def test_a_task_that_runs_graphs_for_ever_keeps_nobody_waiting():
    clock = Clock()
    made = line("a01 a02 a03", clock)
    assert {"a01", "a02", "a03"} <= set(served(made, clock, "a11", "a01 a02 a03"))


def test_another_run_takes_no_turn_of_who_waits_longer():
    clock = Clock()
    made = line("a01", clock)
    assert "a01" in served(made, clock, "b01 a11", "a01")


def test_who_is_not_outermost_has_a_turn_as_well():
    clock = Clock()
    made = line("a11 a12", clock)
    assert {"a11", "a12"} <= set(served(made, clock, "a21", "a11 a12"))


def test_who_is_over_takes_no_turn():
    clock = Clock()
    made = line("a01 a02 a03", clock)
    for job in list(made)[:2]:
        job.over = True
    clock.now += TURN + 0.1
    add(made, "a11")
    assert order(made) == "a03 a11"


def test_all_is_taken_out():
    made = line("a01")
    made.add(Waiting("a11"))
    assert [job.name for job in made.drain()] == ["a01", "a11"]
    assert not made.settle()
    assert not made.size()


def test_who_waits_behind_who_is_held_back_has_turns():
    """Of a run that goes on asking, too; and so has who is held back in it."""
    clock, crowd = Clock(), Crowd()
    made = line("A01 a02", clock, crowd)
    add(made, "a11")
    crowd.more = 1
    found = served(made, clock, "a11", "A01 a02")
    assert found.index("a02") < 25
    assert "A01" in found


def test_who_was_asked_for_is_held_back_for_what_runs_no_graphs():
    """A thread of a server asks for a task that runs a graph: each has a run."""
    crowd = Crowd()
    made = line("A11 B11 C11 d21", crowd=crowd)
    crowd.more = 1
    add(made, "e21")
    # The last three since a recursion would not come to its end else.
    assert order(made) == "d21 e21 A11 B11 C11"


def test_who_is_held_back_keeps_its_place():
    """Though nothing else waits for a moment, again and again."""
    clock, crowd = Clock(), Crowd()
    made = line("A01 B01 C01 D01", clock, crowd)
    crowd.more = 1
    found = []
    for number in range(4):
        add(made, f"e1{number}")
        found += [take(made), take(made)]
    assert [name for name in found if name[0].isupper()] == ["A01", "B01", "C01", "D01"]


def test_what_has_left_is_not_kept():
    """Though who came before it still waits."""
    made = line("a11")
    made.add(Waiting("a12", root=1))
    first = Waiting("a13", root=2**60)
    made.add(first)
    left = []
    for _ in range(1000):
        job = Waiting("a14", root=5)
        made.add(job)
        left.append(weakref.ref(job))
        del job
        take(made)
    assert sum(reference() is not None for reference in left) < 10


def test_who_is_over_is_let_go_of():
    """Though nothing leaves, since all workers are busy."""
    made = line(" ".join(f"a0{number}" for number in range(200)) + " a11 b11")
    jobs = [weakref.ref(job) for job in made.jobs()]
    for reference in jobs[:150]:
        reference().over = True
        made.left()
    assert sum(reference() is not None for reference in jobs) < 150
    assert made.size() < 150
    assert len(order(made).split()) == made.size() + 52


names = st.tuples(st.sampled_from("abc"), st.integers(0, 3)).map(
    lambda each: f"{each[0]}{each[1]}"
)


@given(st.lists(st.tuples(st.lists(names, max_size=5), st.integers(0, 3))))
def test_runs_keep_their_places_and_the_deepest_of_each_goes_first(arrivals):
    """By runs it is first come first served, however jobs come and leave."""
    made, places, waiting = line(""), [], []

    def leave():
        job = made.popleft()
        run = places.pop(0)
        several = [each for each in waiting if each.rank[0] == run]
        assert job is min(several, key=lambda each: (-each.rank[1], each.arrival))
        waiting.remove(job)

    for several, leaving in arrivals:
        for number, name in enumerate(several):
            job = Waiting(f"{name}{number}")
            made.add(job)
            places.append(job.rank[0])
            waiting.append(job)
        for _ in range(leaving):
            if made.settle():
                leave()
        assert made.size() == len(waiting)
        assert {*made.jobs()} == {*waiting}
    while made.settle():
        leave()
    assert not waiting


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(names, st.booleans()), max_size=5),
            st.integers(0, 3),
            st.integers(-1, 2),
            st.sampled_from([0.0, 0.4, 1.1]),
            st.integers(0, 30),
        )
    )
)
def test_nobody_is_lost(arrivals):
    """Whatever the crowd is, whose turn, who is put back, and who is over."""
    clock, crowd = Clock(), Crowd()
    made, waiting = line("", clock, crowd), set()
    for several, leaving, more, seconds, over in arrivals:
        crowd.more = more
        clock.now += seconds
        for number, (name, nests) in enumerate(several):
            job = Waiting(f"{name.upper() if nests else name}{number}")
            made.add(job)
            waiting.add(job)
        for _ in range(leaving):
            if made.settle():
                job = made.popleft()
                if job.over or number_of(job) != 2:
                    waiting.discard(job)
                else:
                    made.put_back(job)
        if over < len(waiting):
            job = sorted(waiting, key=lambda each: each.arrival)[over]
            job.over = True
            made.left()
    left = set()
    while made.settle():
        left.add(made.popleft())
    assert {job for job in waiting if not job.over} <= left <= waiting
    assert not made.size()


def number_of(job):
    return int(job.name[2])
