"""The part of the suite about streams: noise, cuts, other versions, narrow pipes."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from entangle.errors import (
    EntangleError,
    PlaceError,
    ProcessTerminatedException,
    ProcessTimeoutException,
)
from entangle.process import process
from entangle.task import gather, task

from .bodies import SPOILERS, begin_and_sleep, graphs, same, touch, turned
from .conformance import ExecutorConformance
from .fakes import RecordedCall
from .faulty_stream import FaultyStream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from entangle.backend import Executor, Stream, StreamExecutor


class StreamConformance(ExecutorConformance):
    """Inherit it as `ExecutorConformance`, with a `StreamExecutor` as ``executor``.

    Its places have to be of this Python's minor version.

    Attributes:
        cuts: At how many bytes of each direction a stream is cut, one place for each.
        most_output: How many bytes a task prints at most.
    """

    cuts: ClassVar[int] = 6
    most_output: ClassVar[int] = 100_000_000

    @pytest.fixture
    def faults(
        self, executor: StreamExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> Faults:
        """What is put between the executor and the places that it opens."""
        return Faults(executor, monkeypatch)

    # -- before the first call ---------------------------------------------------

    @pytest.mark.parametrize(
        "noise",
        [
            b"Welcome to far!\r\nYou have mail.",
            b"\n" * 1000,
            bytes(range(256)) * 400,
            b"\n0123456789abcdef01234567 3.11.0 cpython-311\n",
            b"\n0123456789abcdef0123456",
        ],
        ids=["greeting", "lines", "binary", "an answer", "a part of one"],
    )
    def test_noise_before_the_answer(
        self, executor: Executor, faults: Faults, noise: bytes
    ) -> None:
        """Whatever shells and systems say first is skipped."""
        faults.put(noise=noise)
        assert self.run(executor, same, 1) == 1

    @pytest.mark.parametrize("version", ["2.7.18", "3.8.18"])
    def test_a_python_that_is_too_old(
        self, executor: Executor, faults: Faults, version: str
    ) -> None:
        """The error names the version that is there."""
        faults.put(version=version)
        with pytest.raises(PlaceError, match=version):
            self.run(executor, same, 1)
        faults.clear()
        assert self.run(executor, same, 2) == 2

    def test_a_place_that_never_answers(
        self, executor: Executor, faults: Faults
    ) -> None:
        """A call's `start` ends the wait, and the place with it."""
        faults.put(silent=True)
        with pytest.raises(ProcessTimeoutException) as caught:
            task(executor=executor, start=0.5)(same)(1)()
        assert caught.value.phase == "start"
        faults.clear()
        assert self.run(executor, same, 2) == 2

    def test_a_place_that_can_not_be_opened(
        self, executor: Executor, faults: Faults
    ) -> None:
        """What `open` raises is what the caller sees; the next call tries again."""
        faults.refuse(PermissionError("nobody may"))
        with pytest.raises(PermissionError, match="nobody may"):
            self.run(executor, same, 1)
        faults.clear()
        assert self.run(executor, same, 2) == 2

    # -- cuts --------------------------------------------------------------------

    @pytest.mark.parametrize("direction", ["cut_read", "cut_write"])
    def test_a_stream_that_is_cut(
        self, executor: Executor, faults: Faults, direction: str
    ) -> None:
        """At whatever byte: the value or an error, soon, and the next call runs."""
        faults.put()
        payload = os.urandom(300_000)
        assert self.run(executor, same, payload) == payload
        stream = faults.streams[-1]
        total = stream.read_count if direction == "cut_read" else stream.written_count
        stream.kill()
        chance = random.Random(total)  # noqa: S311 - the same places each time
        places = [1, total - 1, *(chance.randrange(total) for _ in range(self.cuts))]
        for place in places[: self.cuts]:
            faults.put(**{direction: place})
            call = self.begin(executor, same, payload)
            end = call.end(self.patience)
            if end.kind == "failed":
                assert isinstance(end.detail, EntangleError), (place, end.detail)
            else:
                assert end.detail == payload, place
            faults.drop()
        faults.clear()
        assert self.run(executor, same, 2) == 2

    def test_garbage_in_the_stream(self, executor: Executor, faults: Faults) -> None:
        """What is no packet ends the place, with an error that says so."""
        spoiled: list[bool] = []

        def spoil(data: bytes) -> bytes:
            return b"\xff" * len(data) if spoiled else data

        faults.put(spoil=spoil)
        assert self.run(executor, same, 1) == 1
        spoiled.append(True)
        with pytest.raises(ProcessTerminatedException):
            self.run(executor, same, 2)
        faults.clear()
        assert self.run(executor, same, 3) == 3

    def test_a_place_that_is_ended(self, executor: Executor, faults: Faults) -> None:
        """Its calls fail soon, and the next one gets another place."""
        faults.put()
        assert self.run(executor, same, 1) == 1
        call = self.begin(executor, time.sleep, self.patience)
        self.until(call.has_started, "the body runs")
        begun = time.monotonic()
        faults.streams[-1].kill()
        end = call.end(self.patience)
        assert isinstance(end.detail, ProcessTerminatedException), end
        assert time.monotonic() - begun < self.patience / 2
        # One that nobody uses is found to be gone, too.
        assert self.run(executor, same, 2) == 2
        faults.streams[-1].kill()

        def works() -> bool:
            # One call may be on its way there when the end is read.
            end = self.begin(executor, same, 3).end(self.patience)
            return end.kind == "succeeded"

        self.until(works, "the next calls get another place")

    # -- narrow and wide ---------------------------------------------------------

    def test_a_narrow_stream(self, executor: Executor, faults: Faults) -> None:
        """Much both ways at once, printed too: all arrives, nothing waits for ever."""
        faults.put(narrow=20_000)
        self.run(executor, same, 1)

        def speak(data: bytes) -> bytes:
            for number in range(20_000):
                print(number, "x" * 40)
            return data[::-1]

        payload = os.urandom(3_000_000)
        begun = [self.begin(executor, speak, payload) for _ in range(3)]
        for call in begun:
            assert call.end(self.patience * 2).detail == payload[::-1]
            assert len(call.text("stdout").splitlines()) == 20_000

    def test_a_small_call_is_not_kept_by_a_large_one(
        self, executor: Executor, folder: Path | None
    ) -> None:
        """Ending a call does not wait for what others have to send."""
        if folder is None:
            pytest.skip("its calls can't be looked at")
        stop = str(folder / "stop")

        def wait(stop: str, seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end and not os.path.exists(stop):
                time.sleep(0.01)

        call = self.begin(executor, wait, stop, self.patience)
        self.until(call.has_started, "the body runs")
        large = self.begin(executor, len, bytes(50_000_000))
        executor.cancel(call, self.patience)
        assert call.end(self.patience).detail == "killed"
        touch(stop)
        assert large.end(self.patience).detail == 50_000_000

    def test_a_flood_of_output(self, executor: Executor) -> None:
        """A task that never stops printing spoils nothing and fills no memory."""

        def flood(count: int) -> int:
            block = b"\x1b[31m\xff\0 no text " * 65536
            for _ in range(count // len(block)):
                os.write(1, block)
            return count

        call = _Counting(flood, self.most_output)
        executor.start(call)
        assert call.end(self.patience * 4).detail == self.most_output
        assert call.printed > self.most_output // 2
        assert self.run(executor, same, 1) == 1

    @pytest.mark.parametrize("name", SPOILERS)
    def test_bodies_that_spoil_their_descriptors(
        self, executor: Executor, name: str
    ) -> None:
        """The stream is none of what a body finds at 0, 1 and 2."""
        assert self.run(executor, SPOILERS[name]) == name
        assert self.run(executor, same, 5) == 5

    def test_a_body_that_writes_to_all_descriptors(self, executor: Executor) -> None:
        """It may spoil what its own worker has, and nobody else's."""

        def write_to_all() -> None:
            for descriptor in range(3, 256):
                try:
                    os.write(descriptor, b"spoilt")
                except OSError:
                    continue

        call = self.begin(executor, write_to_all)
        assert call.end(self.patience).kind in {"succeeded", "failed"}
        assert self.run(executor, same, 5) == 5

    # -- graphs inside of tasks --------------------------------------------------

    def test_a_graph_inside_of_a_task(self, executor: Executor) -> None:
        """The caller runs it, as many at once as the task asks for."""
        assert self.run(executor, graphs, 4) == [os.getpid(), 0, 1, 2, 3]
        data = os.urandom(3_000_000)
        assert self.run(executor, turned, data) == data[::-1]

    def test_an_error_inside_of_a_task(self, executor: Executor) -> None:
        """It is raised in the task, as what it is."""

        def caught(number: str) -> str:
            try:
                process(int)(number)()
            except ValueError as error:
                return str(error)
            return ""

        assert "ten" in self.run(executor, caught, "ten")

    def test_a_graph_ends_with_its_task(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        """What a task waits for is ended with it, wherever it runs."""
        begun = tmp_path / "begun"

        def wait(folder: str) -> None:
            process(begin_and_sleep)(folder)()

        call = self.begin(executor, wait, str(begun))
        self.until(lambda: begun.exists() and bool(begun.read_text()), "it runs")
        executor.cancel(call, self.patience)
        assert call.end(self.patience).detail == "killed"
        pid = begun.read_text()
        self.until(lambda: not os.path.exists(f"/proc/{pid}"), "it is gone")
        assert self.run(executor, same, 2) == 2

    def test_a_stream_that_is_cut_under_a_graph(
        self, executor: Executor, faults: Faults
    ) -> None:
        """At whatever byte: the value or an error, soon, and the next call runs."""
        faults.put()
        assert self.run(executor, graphs, 2) == [os.getpid(), 0, 1]
        stream = faults.streams[-1]
        totals = {
            "cut_read": stream.read_count,
            "cut_write": stream.written_count,
        }
        stream.kill()
        chance = random.Random(sum(totals.values()))  # noqa: S311 - the same each time
        for number in range(self.cuts):
            direction = ("cut_read", "cut_write")[number % 2]
            place = chance.randrange(totals[direction] // 2, totals[direction])
            faults.put(**{direction: place})
            end = self.begin(executor, graphs, 2).end(self.patience)
            if end.kind == "failed":
                assert isinstance(end.detail, EntangleError), (place, end.detail)
            else:
                assert end.detail == [os.getpid(), 0, 1], place
            faults.drop()
        faults.clear()
        assert self.run(executor, same, 2) == 2

    # -- several ----------------------------------------------------------------

    def test_functions_travel_once(self, executor: Executor, faults: Faults) -> None:
        """A function that is called again is not sent again."""
        faults.put()
        blob = os.urandom(200_000)

        def use(number: int) -> int:
            return number + len(blob)

        use_blob = task(executor=executor)(use)
        gather(*[use_blob(number) for number in range(20)])()
        written = faults.streams[-1].written_count
        assert gather(*[use_blob(number) for number in range(20)])() == [
            number + len(blob) for number in range(20)
        ]
        assert faults.streams[-1].written_count - written < 50_000

    def test_an_unused_place_is_closed(
        self, executor: StreamExecutor, faults: Faults
    ) -> None:
        """After `idle` seconds nothing of it is left, and the next call opens one."""
        executor.idle = 0.2
        faults.put()
        assert self.run(executor, same, 1) == 1
        self.until(lambda: faults.streams[-1].closed, "the place was closed")
        assert self.run(executor, same, 2) == 2
        assert len(faults.streams) > 1


class _Counting(RecordedCall):
    """A call that counts what is printed instead of keeping it."""

    __slots__ = ("printed",)

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(function, *args)
        self.printed = 0

    def output(self, stream: str, text: str) -> None:
        del stream
        self.printed += len(text)


class Faults:
    """Spoils the streams that an executor opens from now on.

    Attributes:
        streams: Those that were opened under a fault.
    """

    def __init__(
        self, executor: StreamExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.streams: list[FaultyStream] = []
        self._open = executor.open
        self._faults: dict[str, Any] | None = None
        self._error: BaseException | None = None
        monkeypatch.setattr(executor, "open", self._opened)

    def put(self, **faults: Any) -> None:
        """Have the next streams be `FaultyStream`s with these faults."""
        self._error = None
        self._faults = faults

    def refuse(self, error: BaseException) -> None:
        """Have no stream be opened."""
        self._error = error

    def clear(self) -> None:
        """Have the next streams be as they are; end those that were spoiled."""
        self._faults = self._error = None
        self.drop()

    def drop(self) -> None:
        """End the streams that were spoiled."""
        for stream in self.streams:
            if not stream.closed:
                stream.kill()

    def _opened(self, command: Sequence[str]) -> Stream:
        if self._error is not None:
            raise self._error
        stream = self._open(command)
        if self._faults is None:
            return stream
        self.streams.append(FaultyStream(stream, **self._faults))
        return self.streams[-1]
