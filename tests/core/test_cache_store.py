"""Entries are whole or not there; their number of bytes is bounded; they are one's own."""

import errno
import fcntl
import os
import pickle
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entangle._cache import directory, encoding, entry, room
from entangle._cache import store as module
from entangle._cache.store import HITS_BITS, Store
from entangle.errors import CacheDirectoryError, OptionError

KEY = bytes(range(20))
OTHER = bytes(range(1, 21))
ROOT = os.geteuid() == 0


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "v1"), 10**9)


def save(store, value, key=KEY):
    return store.save(key, "task", "module", *encoding.encode(value, "value"))


def load(store, key=KEY):
    found = store.load(key)
    return None if found is None else (pickle.loads(found.data, buffers=found.buffers),)


def files(store):
    return [row.path for row in room.rows(store.folder)]


BIG = np.arange(entry.MAPPED // 8 + 5)
VALUES = [
    None,
    {"a": [1, 2]},
    b"x" * 100_000,
    np.arange(1000),
    BIG,
    np.asfortranarray(BIG[:-5].reshape(64, -1)),
    [BIG, np.arange(600), BIG[:-1] * 2, np.zeros(0)],
    bytearray(300_000),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back(store, value):
    assert load(store) is None
    save(store, value)
    (back,) = load(store)
    assert type(back) is type(value)
    assert pickle.dumps(back) == pickle.dumps(value)


def test_arrays_are_mapped_and_as_writable_as_they_were(store):
    frozen = BIG.copy()
    frozen.flags.writeable = False
    save(store, [BIG, frozen, BIG[:600].copy()])
    ((big, still, small),) = load(store)
    assert big.flags.writeable
    assert small.flags.writeable
    assert not still.flags.writeable
    maps = Path("/proc/self/maps").read_text()
    assert store.path(KEY) in maps
    assert store.path(KEY) not in map(os.path.realpath, Path("/proc/self/fd").iterdir())
    big[0] = 99
    ((again, _, _),) = load(store)
    assert again[0] == 0
    del big, still, small, again
    assert store.path(KEY) not in Path("/proc/self/maps").read_text()


def test_two_mappings_of_one_entry_do_not_see_each_other(store):
    save(store, BIG)
    found = store.load(KEY, spare=True)
    one = pickle.loads(found.data, buffers=found.buffers)
    other = pickle.loads(found.data, buffers=found.spare)
    one[:] = 7
    assert (other == BIG).all()


def test_a_mapped_array_outlives_its_file(store):
    save(store, BIG)
    (back,) = load(store)
    save(store, BIG * 2)
    store.remove(KEY)
    assert (back == BIG).all()


@pytest.mark.parametrize("value", [{"a": 1}, BIG[: entry.MAPPED // 8]])
def test_an_entry_cut_off_anywhere_is_none(store, value):
    save(store, value)
    whole = Path(store.path(KEY)).read_bytes()
    lengths = (
        range(len(whole))
        if len(whole) < 2000
        else [*range(600), *range(600, len(whole), 997)]
    )
    for length in lengths:
        Path(store.path(KEY)).write_bytes(whole[:length])
        assert load(store) is None
        assert not files(store)
    Path(store.path(KEY)).write_bytes(whole + b"\0")
    assert load(store) is None
    Path(store.path(KEY)).write_bytes(whole)
    assert load(store) is not None


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_an_entry_with_any_bit_changed_that_a_hit_reads_is_none(store, data):
    save(store, [1, "text", np.arange(600), BIG])
    path = Path(store.path(KEY))
    whole = bytearray(path.read_bytes())
    section = int.from_bytes(whole[28:36], "little") + 44
    place = data.draw(st.integers(0, section - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    assert load(store) is None


def test_every_byte_of_a_small_entry_counts(store):
    save(store, {"a": 1})
    path = Path(store.path(KEY))
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        assert load(store) is None


def test_an_entry_under_anothers_name_is_none(store):
    save(store, 1)
    other = Path(store.path(OTHER))
    other.parent.mkdir(exist_ok=True)
    os.rename(store.path(KEY), other)
    assert load(store, OTHER) is None


def test_a_link_or_a_folder_is_no_entry(store, tmp_path):
    save(store, 1)
    elsewhere = tmp_path / "elsewhere"
    os.rename(store.path(KEY), elsewhere)
    os.symlink(elsewhere, store.path(KEY))
    assert load(store) is None
    assert elsewhere.exists()
    os.mkdir(store.path(KEY))
    assert load(store) is None
    with pytest.raises(OSError, match="directory"):
        save(store, 2)
    assert not os.listdir(f"{store.folder}/tmp")


def test_hits_are_counted_and_the_clock_never_goes_back(store, monkeypatch):
    save(store, 1)
    now = time.time_ns()
    stamps = []
    for jump in (0, 10**18, -(10**18), -now, 5):
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: now + jump)
        assert load(store)
        stamps.append(os.stat(store.path(KEY)).st_mtime_ns)
    assert stamps == sorted(stamps)
    assert len({stamp >> HITS_BITS for stamp in stamps}) == 5
    assert [stamp & (2**HITS_BITS - 1) for stamp in stamps] == [1, 2, 3, 4, 5]


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    store = Store(str(tmp_path / "v1"), 1_000_000)
    keys = [bytes([number]) * 20 for number in range(40)]
    for number, key in enumerate(keys):
        save(store, os.urandom(50_000), key)
        assert sum(row.nbytes for row in room.rows(store.folder)) <= 1_000_000
        assert load(store, keys[0])
        assert load(store, key)
    left = [key for key in keys if store.has(key)]
    assert left == [keys[0], *keys[41 - len(left) :]]
    assert len(left) > 15


def test_another_limit_counts_at_once(tmp_path):
    store = Store(str(tmp_path / "v1"), 10**9)
    for number in range(10):
        save(store, os.urandom(10_000), bytes([number]) * 20)
    save(Store(store.folder, 50_000), os.urandom(1000), OTHER)
    assert sum(row.nbytes for row in room.rows(store.folder)) <= 50_000
    assert store.has(OTHER)


def test_what_is_bigger_than_all_is_refused(tmp_path):
    store = Store(str(tmp_path / "v1"), 1000)
    with pytest.raises(OSError, match="more than all entries may take"):
        save(store, bytes(2000))
    assert not files(store)


def test_a_full_disk_leaves_nothing_behind(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    save(store, 1, OTHER)
    for place, function in ((os, "pwrite"), (module, "_sync"), (os, "rename")):
        with monkeypatch.context() as patched:
            patched.setattr(place, function, full)
            with pytest.raises(OSError, match="No space"):
                save(store, BIG)
        assert not os.listdir(f"{store.folder}/tmp")
        assert len(files(store)) == 1
    save(store, BIG)


def test_a_limit_on_files_leaves_nothing_behind(store):
    save(store, 1, OTHER)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            save(store, BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not os.listdir(f"{store.folder}/tmp")
    assert load(store) is None


def test_without_mappings_an_entry_is_read_instead_of_mapped(store, monkeypatch):
    save(store, BIG)

    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(entry.mapping, "private", refuse)
    (back,) = load(store)
    assert (back == BIG).all()
    assert back.flags.writeable


def test_the_directory_may_vanish_any_time(store, tmp_path):
    import shutil

    save(store, BIG)
    (back,) = load(store)
    shutil.rmtree(store.folder)
    assert load(store) is None
    assert (back == BIG).all()
    save(store, 2)
    assert load(store) == (2,)


def test_abandoned_files_are_swept_and_those_at_work_are_not(store):
    save(store, 1)
    folder = Path(store.folder, "tmp")
    for name in ("abandoned", "young", "held"):
        (folder / name).write_bytes(b"x")
        if name != "young":
            os.utime(folder / name, (1, 1))
    with open(folder / "held", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert room.sweep(store.folder) == 1
        assert sorted(os.listdir(folder)) == ["held", "young"]


WRITER = """
import os, sys
import numpy as np
from entangle._cache import encoding
from entangle._cache.store import Store
store = Store(sys.argv[1], 10**9)
value = [sys.argv[2], np.full(200_000, int(sys.argv[2]))]
print("ready", flush=True)
while True:
    store.save(bytes(range(20)), "t", "m", *encoding.encode(value, "v"))
"""


@pytest.mark.process
def test_programs_that_write_one_key_and_are_killed(store):
    """Whatever is found at any moment is one of their values, whole."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store.folder, str(number)],
            stdout=subprocess.PIPE,
        )
        for number in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == b"ready\n"
        seen = 0
        deadline = time.monotonic() + 20
        while seen < 150 and time.monotonic() < deadline:
            found = load(store)
            if found is not None:
                ((name, array),) = found
                assert (array == int(name)).all()
                seen += 1
        assert seen == 150
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    ((name, array),) = load(store)
    assert (array == int(name)).all()
    for each in os.scandir(f"{store.folder}/tmp"):
        os.utime(each.path, (1, 1))
    room.sweep(store.folder)
    assert not os.listdir(f"{store.folder}/tmp")


# -- the directory -------------------------------------------------------------------


@pytest.fixture
def ours(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv(directory.DIRECTORY, str(path))
    return path


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv(directory.DIRECTORY, str(tmp_path / "a"))
    assert directory.path() == str(tmp_path / "a")
    monkeypatch.delenv(directory.DIRECTORY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert directory.path() == str(tmp_path / "entangle")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert directory.path() == str(tmp_path / ".cache" / "entangle")


def test_it_is_made_for_its_user_alone(ours):
    assert directory.checked() == str(ours / "v1")
    assert stat.S_IMODE(ours.stat().st_mode) == 0o700
    store = Store(directory.checked(), 10**9)
    save(store, 1)
    for folder, _, names in os.walk(ours):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for name in names:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
def test_one_that_others_may_write_to_is_refused(ours, mode):
    ours.mkdir()
    ours.chmod(mode)
    with pytest.raises(CacheDirectoryError, match="others may write") as caught:
        directory.checked()
    assert caught.value.path == str(ours)


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
def test_the_umask_opens_nothing(ours, umask):
    before = os.umask(umask)
    try:
        ours.mkdir(mode=0o755)
        save(Store(directory.checked(), 10**9), 1)
    finally:
        os.umask(before)
    for folder, _, _ in os.walk(ours / "v1"):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    (ours / "v1").chmod(0o770)
    with pytest.raises(CacheDirectoryError, match="others may write"):
        directory.checked()


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_somebody_elses_is_refused(ours):
    ours.mkdir(mode=0o700)
    os.chown(ours, 12345, 12345)
    with pytest.raises(CacheDirectoryError, match=r"another user \(12345\)"):
        directory.checked()


def test_a_file_is_refused(ours, monkeypatch):
    ours.write_text("")
    with pytest.raises(CacheDirectoryError, match="no directory"):
        directory.checked()
    monkeypatch.setenv(directory.DIRECTORY, str(ours / "below"))
    with pytest.raises(CacheDirectoryError, match="is a file"):
        directory.checked()


def test_a_link_to_ones_own_is_fine(ours, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    ours.symlink_to(tmp_path / "elsewhere")
    assert directory.checked() == str(ours / "v1")
    ours.unlink()
    ours.symlink_to(tmp_path / "nowhere")
    with pytest.raises(CacheDirectoryError):
        directory.checked()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("123", 123),
        ("1kB", 1000),
        ("1.5 MB", 1_500_000),
        ("2GiB", 2**31),
        ("1T", 10**12),
    ],
)
def test_sizes(text, size, monkeypatch):
    monkeypatch.setenv(directory.SIZE, text)
    assert directory.size() == size


@pytest.mark.parametrize("text", ["x", "-1", "1 parsec", "nan", "inf", "1e400", "GB"])
def test_what_is_no_size_is_refused(text, monkeypatch):
    monkeypatch.setenv(directory.SIZE, text)
    with pytest.raises(OptionError, match=directory.SIZE):
        directory.size()
