"""Which block is whose, and when it may be written to again: the rules alone."""

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from entangle._pool import room, segments
from entangle._pool.segments import ARENA, HERE, Segments
from entangle._worker import frames, pieces
from entangle._worker.pieces import Piece

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _nothing_released():
    pieces.released.clear()
    yield
    pieces.released.clear()


@pytest.fixture
def store():
    closed = []
    made = Segments(closed.append, most_idle=256 * MIB)
    made.closed_ones = closed
    yield made
    made.close()
    for segment in closed:
        segment.close()


def piece(place, nbytes=100):
    return Piece(place, 0, nbytes, None, readonly=False)


def reference(place, offset=0, nbytes=100):
    """Return a frame with a reference, as a worker would send it."""
    data = pieces.REFERENCE.pack(offset, nbytes, *place.fields())
    return frames.Frame(frames.RESULT, 0, b"", (data,), (frames.REFERENCE,))


def test_what_is_given_back_is_used_again(store):
    first, size, _ = store.grant(1, 1000)
    assert size % segments.PAGESIZE == 0
    second, _, _ = store.grant(1, 1000)
    assert second.start != first.start
    store.released(1, [first.block])
    third, _, _ = store.grant(2, 1000)
    assert (third.inode, third.start) == (first.inode, first.start)
    assert third.block != first.block


def test_what_one_holds_is_not_used_again(store):
    first, _, _ = store.grant(1, MIB)
    store.lend(2, [piece(first)])
    store.lend(2, [piece(first)])
    store.released(1, [first.block])
    store.released(2, [first.block])
    again, _, _ = store.grant(1, MIB)
    assert again.start != first.start
    store.released(2, [first.block])
    assert store.grant(1, MIB)[0].start == first.start


def test_a_holder_that_died_holds_nothing(store):
    first, _, _ = store.grant(1, MIB)
    store.lend(2, [piece(first)])
    store.gone(1)
    assert store.usage()[0] == 1
    store.gone(2)
    assert store.usage()[0] == 0
    store.gone(3)


def test_what_a_child_may_see_is_never_used_again(store):
    first, _, _ = store.grant(1, MIB)
    store.lend(2, [piece(first)])
    store.released(1, [-first.block])
    store.released(2, [first.block])
    again, _, _ = store.grant(1, MIB)
    assert (again.inode, again.start) != (first.inode, first.start)


def test_what_outlived_its_zygote_may_be_seen_by_strangers(store):
    first, _, _ = store.grant(1, MIB)
    store.gone(1, alone=False)
    # Nothing else was in it, so it is let go of as a whole, but not cut to nothing.
    assert [segment.inode for segment in store.closed_ones] == [first.inode]
    descriptor = os.dup(store.closed_ones[0].descriptor)
    store.closed_ones[0].close()
    assert os.fstat(descriptor).st_size == ARENA
    os.close(descriptor)


def test_memory_is_given_back_at_once_where_it_may(store):
    store.grant(1, ARENA)
    store.gone(1)
    assert store.trim(float("inf")) is None
    (segment,) = store.closed_ones
    descriptor = os.dup(segment.descriptor)
    segment.close()
    assert os.fstat(descriptor).st_size == 0
    os.close(descriptor)


def test_large_blocks_have_segments_of_their_own(store):
    one, size, whole = store.grant(1, ARENA + 1)
    assert size == whole
    store.released(1, [one.block])
    two, _, _ = store.grant(1, 2 * ARENA)
    assert two.inode != one.inode  # too small
    three, _, _ = store.grant(1, ARENA)
    assert three.inode == one.inode
    assert store.grant(1, ARENA)[0].inode not in {one.inode, two.inode}


def test_who_has_it_mapped_already_gets_it(store):
    mine, _, _ = store.grant(1, ARENA)
    other, _, _ = store.grant(2, ARENA)
    store.released(1, [mine.block])
    store.released(2, [other.block])
    assert store.grant(2, ARENA)[0].inode == other.inode
    assert store.grant(1, ARENA)[0].inode == mine.inode


def test_not_too_much_unused_memory_is_kept(store):
    places = [store.grant(1, 100 * MIB)[0] for _ in range(4)]
    store.released(1, [place.block for place in places])
    assert store.usage() == (0, 0, 200 * MIB)
    assert len(store.closed_ones) == 2


def test_what_nobody_has_used_for_long_is_closed(store):
    place, _, _ = store.grant(1, MIB)
    assert store.trim(float("inf")) is None
    assert not store.closed_ones
    store.released(1, [place.block])
    since = store.trim(0.0)
    assert since is not None
    assert store.trim(since) is None
    assert len(store.closed_ones) == 1


def test_more_than_there_is(store, monkeypatch):
    place, _, _ = store.grant(1, ARENA)
    store.released(1, [place.block])
    monkeypatch.setattr(room, "available", lambda: 1000)
    with pytest.raises(MemoryError, match="1,000 are available"):
        store.grant(1, 20 << 30)
    # What nobody used was let go of before it was said.
    assert store.usage() == (0, 0, 0)


def test_available_memory_is_the_least_of_machine_and_groups(monkeypatch, tmp_path):
    monkeypatch.setattr("entangle._worker.processors.ROOT", f"{tmp_path}/")
    assert room.available() > 1 << 40  # unknown
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 1000 kB\nSwapFree: 24 kB\n")
    assert room.available() == 1024 * 1024
    group = tmp_path / "sys/fs/cgroup"
    (group / "a").mkdir(parents=True)
    (group / "cgroup.controllers").write_text("memory")
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")
    assert room.available() == 1024 * 1024
    (group / "a/memory.max").write_text("500000\n")
    (group / "a/memory.current").write_text("400000\n")
    (group / "a/memory.stat").write_text("anon 1\ninactive_file 50000\n")
    assert room.available() == 150000
    (group / "a/memory.max").write_text("max\n")
    assert room.available() == 1024 * 1024


def test_where_there_are_no_files_in_memory(store, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert store.grant(1, MIB) is None
    assert store.grant(1, MIB) is None
    (record,) = caplog.records  # once
    assert "not implemented" in record.getMessage()


def test_references_are_checked(store):
    place, _, _ = store.grant(1, MIB)
    frame = reference(place)
    store.accept(1, frame)
    (accepted,) = frame.buffers
    assert accepted.place.fields() == place.fields()
    assert accepted.nbytes == 100
    store.released(1, [place.block])
    assert store.usage()[0] == 1  # held here
    del accepted, frame
    assert store.usage()[0] == 0
    for wrong in (
        (9, reference(place)),
        (1, reference(place)),
    ):
        with pytest.raises(frames.ProtocolError):
            store.accept(*wrong)
    other, size, _ = store.grant(2, MIB)
    with pytest.raises(frames.ProtocolError):
        store.accept(1, reference(other))
    with pytest.raises(frames.ProtocolError):
        store.accept(2, reference(other, size, 1))


def test_what_is_told_late_is_of_no_other_block(store):
    place, _, _ = store.grant(1, MIB)
    store.released(1, [place.block])
    again, _, _ = store.grant(1, MIB)
    store.released(1, [place.block, 10**9])
    assert store.usage()[0] == 1
    assert again.block != place.block


def test_a_fork_of_this_process_spoils_what_it_holds(store):
    pieces.outlived[0] = True
    place, _, _ = store.grant(HERE, MIB)
    hold = pieces.Hold(place.block)
    pieces.forked()
    del hold
    assert list(pieces.released) == [-place.block]
    assert store.grant(HERE, MIB)[0].inode != place.inode


class Blocks(RuleBasedStateMachine):
    """Whatever is done in whatever order: nobody's memory is given to another."""

    held = Bundle("held")

    def __init__(self):
        super().__init__()
        self.closed = []
        self.store = Segments(self.closed.append, most_idle=64 * MIB)
        self.holders = {}  # number -> [place, size, {holder: count}, spoiled]
        self.spoiled = []  # ranges of files

    @rule(
        target=held,
        holder=st.integers(0, 3),
        size=st.sampled_from([1, 5000, MIB, 40 * MIB, ARENA, ARENA + MIB]),
    )
    def grant(self, holder, size):
        place, nbytes, whole = self.store.grant(holder, size)
        assert nbytes >= size
        assert place.start + nbytes <= whole
        mine = (place.inode, place.start, place.start + nbytes)
        for number, (other, length, holders, _) in self.holders.items():
            if holders:
                theirs = (other.inode, other.start, other.start + length)
                assert not overlap(mine, theirs), number
        assert not any(overlap(mine, spoiled) for spoiled in self.spoiled)
        self.holders[place.block] = [place, nbytes, {holder: 1}, False]
        return place.block

    @rule(number=held, holder=st.integers(0, 3))
    def lend(self, number, holder):
        place, _, holders, _ = self.holders[number]
        if holders:
            self.store.lend(holder, [piece(place)])
            holders[holder] = holders.get(holder, 0) + 1

    @rule(number=held, holder=st.integers(0, 3), spoil=st.booleans())
    def release(self, number, holder, spoil):
        entry = self.holders[number]
        if holder in entry[2]:
            entry[3] |= spoil
            entry[2][holder] -= 1
            if not entry[2][holder]:
                del entry[2][holder]
            self._settle(entry)
        self.store.released(holder, [-number if spoil else number])

    @rule(holder=st.integers(1, 3), alone=st.booleans())
    def die(self, holder, alone):
        for entry in self.holders.values():
            if entry[2].pop(holder, None):
                entry[3] |= not alone
                self._settle(entry)
        self.store.gone(holder, alone=alone)

    def _settle(self, entry):
        place, nbytes, holders, spoiled = entry
        if not holders and spoiled:
            self.spoiled.append((place.inode, place.start, place.start + nbytes))

    @rule(number=consumes(held))
    def forget(self, number):
        """Have other blocks taken more often."""

    @precondition(lambda self: self.holders)
    @rule()
    def trim(self):
        self.store.trim(float("inf"))

    @invariant()
    def counts_agree(self):
        blocks = [entry for entry in self.holders.values() if entry[2]]
        number, nbytes, whole = self.store.usage()
        assert number == len(blocks)
        assert nbytes == sum(entry[1] for entry in blocks)
        assert whole >= nbytes
        live = {entry[0].inode for entry in blocks}
        assert not live & {segment.inode for segment in self.closed}
        # A file's number may be another one's as soon as it is closed: it is not yet.

    def teardown(self):
        self.store.close()
        for segment in self.closed:
            segment.close()


def overlap(one, other):
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


TestBlocks = Blocks.TestCase
TestBlocks.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
