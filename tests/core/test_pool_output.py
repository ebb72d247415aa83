"""Output of tasks: whole lines, each by itself, none lost, none twice."""

import io
import itertools
import os
import sys
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from entangle._pool.output import Printer, Source


class Pipe:
    """A pipe whose reading end is a source."""

    def __init__(self):
        self.read, self.write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read, False)
        self.emitted = []
        self.source = Source(self.read, self.emitted.append)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for end in (self.read, self.write):
            if end >= 0:
                os.close(end)

    def hang_up(self):
        os.close(self.write)
        self.write = -1


@settings(max_examples=100, deadline=None)
@given(
    st.text(alphabet="ab\nä€😀\r", max_size=60),
    st.lists(st.integers(0, 200), max_size=10),
)
def test_however_it_is_cut(text, cuts):
    data = text.encode()
    cuts = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    with Pipe() as pipe:
        for start, end in itertools.pairwise(cuts):
            os.write(pipe.write, data[start:end])
            assert pipe.source.read()
            assert all(part.endswith("\n") for part in pipe.emitted)
        pipe.source.finish()
        assert "".join(pipe.emitted) == text
        pipe.source.finish()
        assert "".join(pipe.emitted) == text


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_bytes_that_are_no_text(data, cut):
    with Pipe() as pipe:
        for part in (data[:cut], data[cut:]):
            os.write(pipe.write, part)
            pipe.source.read()
        pipe.hang_up()
        assert not pipe.source.read()
        assert "".join(pipe.emitted) == data.decode(errors="replace")


def test_more_than_one_read_takes():
    with Pipe() as pipe:
        text = "0123456789abcde\n" * 4096  # as much as a pipe holds
        os.write(pipe.write, text.encode())
        assert pipe.source.read()
        assert "".join(pipe.emitted) == text


def test_a_closed_descriptor():
    assert Source(-1, print).read() is False


def test_each_stream_gets_its_own(capsys):
    printer = Printer()
    assert not printer.pending()
    printer.take("stdout", 1, "a\n")
    printer.take("stderr", 1, "b\n")
    assert printer.pending()
    printer.flush()
    assert not printer.pending()
    assert capsys.readouterr() == ("a\n", "b\n")


def test_sources_never_share_a_line(capsys):
    printer = Printer()
    for source, text in [(1, "one"), (1, " more"), (2, "two\n"), (1, "x"), (1, "\n")]:
        printer.take("stdout", source, text)
        printer.flush()
    assert capsys.readouterr().out == "one more\ntwo\nx\n"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.text(alphabet="ab\n", min_size=1, max_size=4)),
        max_size=12,
    )
)
def test_a_line_holds_text_of_one_source(texts):
    stream = io.StringIO()
    before, sys.stdout = sys.stdout, stream
    try:
        printer = Printer()
        # Letters that tell who wrote them.
        named = [
            (source, text.translate({97: 65 + source, 98: 65 + source}))
            for source, text in texts
        ]
        for source, text in named:
            printer.take("stdout", source, text)
            printer.flush()
    finally:
        sys.stdout = before
    lines = stream.getvalue().split("\n")
    assert all(len(set(line)) <= 1 for line in lines)
    for source in range(3):
        letter = chr(65 + source)
        wrote = "".join(text for each, text in named if each == source)
        assert stream.getvalue().count(letter) == wrote.count(letter)


def test_a_stream_that_is_not_there(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    printer = Printer()
    printer.take("stdout", 1, "lost\n")
    printer.flush()
    assert not printer.pending()


class Refusing(io.StringIO):
    """A stream whose other end is gone."""

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise ValueError("closed")


def test_a_broken_stream_fails_nobody(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Refusing())
    printer = Printer()
    printer.take("stdout", 1, "lost\n")
    printer.flush()


def test_a_stream_that_cannot_be_flushed(monkeypatch):
    class Bare:
        def __init__(self):
            self.texts = []

        def write(self, text):
            self.texts.append(text)

    bare = Bare()
    monkeypatch.setattr(sys, "stdout", bare)
    printer = Printer()
    printer.take("stdout", 1, "kept\n")
    printer.flush()
    assert bare.texts == ["kept\n"]


def test_a_stream_that_cannot_encode(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    printer = Printer()
    printer.take("stdout", 1, "gr\xfcn\n")
    printer.flush()
    assert raw.getvalue() == b"gr\\xfcn\n"


def test_a_printer_that_becomes_full_while_it_writes_says_so_too(monkeypatch):
    """Else a task that was kept from printing meanwhile would wait for ever."""
    printer = Printer()
    told, found = [], []

    class Slow:
        def write(self, text):
            if not found:
                printer.take("stdout", 2, "x" * (9 << 20))
                found.append(printer.full())

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Slow())
    printer.on_room.append(lambda: told.append(printer.full()))
    printer.take("stdout", 1, "one\n")
    printer.flush()
    assert (found, told) == ([True], [False])
    printer.take("stdout", 1, "two\n")
    printer.flush()
    assert told == [False]  # nobody waits any more


def test_a_printer_that_is_full_says_when_it_has_room(capsys):
    printer, heard = Printer(), []
    printer.on_room.append(lambda: heard.append(printer.full()))
    printer.take("stdout", 1, "x\n")
    printer.flush()
    assert heard == []
    printer.take("stdout", 1, "x" * (9 << 20))
    assert printer.full()
    printer.flush()
    assert heard == [False]


def test_a_task_that_never_stops_printing_cannot_keep_the_reader(monkeypatch):
    # A device that always has more, in place of the pipe.
    descriptor = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
    emitted = []
    source = Source(descriptor, emitted.append)
    assert source.read()
    os.close(descriptor)
    source.finish()
    assert set(emitted[0]) == {"\0"}


def test_flush_waits_for_another_thread_that_writes(monkeypatch):
    writing, go = threading.Event(), threading.Event()

    class Slow(io.StringIO):
        def write(self, text):
            writing.set()
            go.wait(60)
            return super().write(text)

    slow = Slow()
    monkeypatch.setattr(sys, "stdout", slow)
    printer = Printer()
    printer.take("stdout", 1, "first\n")
    other = threading.Thread(target=printer.flush)
    other.start()
    assert writing.wait(60)
    threading.Timer(0.01, go.set).start()
    printer.flush()
    assert slow.getvalue() == "first\n"
    other.join()
