"""Ranges of files in memory, mapped, replaced and looked at."""

import os

import pytest

from entangle._worker import mapping
from entangle._worker.mapping import PAGE


@pytest.fixture
def file():
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 8 * PAGE)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def mapped(file):
    made = []

    def map_it(*, private, offset=0, pages=8):
        nbytes = pages * PAGE
        address = mapping.map_range(file, offset, nbytes, private=private)
        made.append((address, nbytes))
        return address, mapping.view(address, nbytes, lambda: None)

    yield map_it
    for address, nbytes in made:
        mapping.unmap(address, nbytes)


def test_a_shared_mapping_writes_to_the_file(file, mapped):
    _, view = mapped(private=False, offset=PAGE, pages=2)
    view[:3] = b"abc"
    assert os.pread(file, 3, PAGE) == b"abc"


def test_a_private_mapping_keeps_what_is_written(file, mapped):
    os.pwrite(file, b"before", 0)
    _, view = mapped(private=True)
    view[0:1] = b"B"
    assert bytes(view[:6]) == b"Before"
    assert os.pread(file, 6, 0) == b"before"


def test_a_private_mapping_is_no_snapshot(file, mapped):
    """The fact that all rules about using blocks again rest on."""
    _, view = mapped(private=True)
    view[0:1] = b"x"
    os.pwrite(file, b"new", PAGE)
    os.pwrite(file, b"new", 0)
    assert bytes(view[PAGE : PAGE + 3]) == b"new"
    assert bytes(view[:3]) == b"x\0\0"


def test_a_private_mapping_takes_the_place_of_a_shared_one(file, mapped):
    address, view = mapped(private=False)
    view[:6] = b"shared"
    assert mapping.map_range(file, 0, 8 * PAGE, private=True, at=address) == address
    assert bytes(view[:6]) == b"shared"
    view[:6] = b"mine.."
    assert os.pread(file, 6, 0) == b"shared"


def test_its_own_pages_are_known(mapped):
    address, view = mapped(private=True)
    assert not mapping.own_pages(address, 8 * PAGE)
    view[5 * PAGE]  # reading makes no page one's own
    assert not mapping.own_pages(address, 8 * PAGE)
    view[3 * PAGE + 7] = 1
    assert mapping.own_pages(address, 8 * PAGE)
    assert mapping.own_pages(address + 3 * PAGE + 100, 1)
    assert not mapping.own_pages(address, 3 * PAGE)
    assert not mapping.own_pages(address + 4 * PAGE, 4 * PAGE)
    # A range that ends or begins within the page.
    assert mapping.own_pages(address + PAGE, 2 * PAGE + 1)
    assert not mapping.own_pages(address + PAGE, 2 * PAGE)


def test_memory_that_nothing_is_mapped_at_counts_as_own(monkeypatch):
    """Where the table can't be read, what may have changed is copied."""
    assert mapping.own_pages(id(object()), 1)
    monkeypatch.setattr(mapping, "_PAGEMAP", "/nonexistent")
    assert mapping.own_pages(0, 1)


def test_the_address_of_buffers():
    data = bytearray(100)
    first = mapping.address_of(data)
    assert mapping.address_of(memoryview(data)[10:]) == first + 10
    assert mapping.address_of(memoryview(data).toreadonly()[3:]) == first + 3
    assert mapping.address_of(b"") != 0
    data.append(1)  # nothing exports it any more


def test_the_last_view_says_that_it_is_gone(file):
    address = mapping.map_range(file, 0, PAGE, private=False)
    told = []
    view = mapping.view(address, 100, lambda: told.append(1))
    assert view.nbytes == 100
    part = view[10:].cast("H")
    del view
    assert not told
    del part
    assert told == [1]
    mapping.unmap(address, PAGE)


def test_memory_is_got_before_it_is_written(file, mapped):
    address, _ = mapped(private=False)
    mapping.populate(address, 8 * PAGE, file, 0)
    assert os.fstat(file).st_blocks * 512 >= 8 * PAGE


def test_memory_that_is_not_there_is_an_error_and_no_signal(file):
    """Beyond the end of the file, as on a full file system, writing is SIGBUS."""
    address = mapping.map_range(file, 0, 16 * PAGE, private=False)
    try:
        with pytest.raises(OSError, match="can't be had"):
            mapping.populate(address, 16 * PAGE, file, 0)
    finally:
        mapping.unmap(address, 16 * PAGE)


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("cpus", [{0}, {0, 1}])
def test_much_memory_is_got_by_two(threads, cpus, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    pages = 101
    monkeypatch.setattr(mapping, "_LARGE", 3 * PAGE)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cpus)
    if not threads:
        monkeypatch.setattr(mapping._thread, "start_new_thread", refuse)
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, pages * PAGE)
    address = mapping.map_range(descriptor, 0, 2 * pages * PAGE, private=False)
    try:
        mapping.populate(address, pages * PAGE, descriptor, 0)
        assert os.fstat(descriptor).st_blocks * 512 == pages * PAGE
        # What either half lacks is told.
        with pytest.raises(OSError, match="can't be had"):
            mapping.populate(address, 2 * pages * PAGE, descriptor, 0)
        with pytest.raises(OSError, match="can't be had"):
            mapping.populate(address + 60 * PAGE, 60 * PAGE, descriptor, 0)
    finally:
        mapping.unmap(address, 2 * pages * PAGE)
        os.close(descriptor)


def test_older_systems_reserve_it(file, mapped, monkeypatch):
    monkeypatch.setattr(mapping, "_MADV_POPULATE_WRITE", 12345)
    address, _ = mapped(private=False)
    mapping.populate(address, 8 * PAGE, file, 0)
    assert os.fstat(file).st_blocks * 512 >= 8 * PAGE


def test_what_cannot_be_mapped(file):
    with pytest.raises(OSError, match="can't be mapped"):
        mapping.map_range(file, 1, PAGE, private=True)
    with pytest.raises(OSError, match="can't be mapped"):
        mapping.map_range(-1, 0, PAGE, private=True)


def test_whole_pages():
    assert [mapping.pages(n) for n in (0, 1, PAGE, PAGE + 1)] == [
        0,
        PAGE,
        PAGE,
        2 * PAGE,
    ]
