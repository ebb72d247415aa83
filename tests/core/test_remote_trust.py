"""From a place that is not trusted nothing is unpickled, whatever it sends."""

import os
import sys

import pytest
from life_kit import until
from remote_kit import HereExecutor

from entangle._worker import frames
from entangle.errors import ProcessTerminatedException, TaskError
from entangle.task import gather, task
from entangle.testing import RecordedCall

pytestmark = pytest.mark.process


@pytest.fixture
def stranger():
    with HereExecutor(trust=False) as executor:
        yield executor


@pytest.fixture(autouse=True)
def no_pickles(monkeypatch, request):
    """Have every pickle that this process would read be an error of the test's."""
    if "stranger" not in request.fixturenames:
        return
    from entangle._remote import crew
    from entangle._worker import codec, failures

    def loads(*_, **__):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(codec, "loads", loads)
    monkeypatch.setattr(failures, "loads", loads)
    monkeypatch.setattr(crew.pickle, "loads", loads)


def test_plain_data_pass(stranger):
    value = {"a": [1, (2.5, None)], "b": {b"x"}, "c": "é"}
    assert (
        stranger.submit(lambda: {"a": [1, (2.5, None)], "b": {b"x"}, "c": "é"}).result(
            20
        )
        == value
    )
    same = task(executor=stranger)(lambda n: [n])
    assert gather(*[same(n) for n in range(100)])() == [[n] for n in range(100)]
    assert len(stranger.submit(lambda: bytes(5_000_000)).result(20)) == 5_000_000


def test_other_values_are_refused(stranger):
    for function, name in (
        (object, "object"),
        (lambda: [{1: print}], r"result\[0\]\[1\]"),
    ):
        with pytest.raises(TaskError, match=name):
            stranger.submit(function).result(20)


def test_returned_nodes_are_refused(stranger):
    def build():
        from entangle.process import process

        return process(abs)(-1)

    with pytest.raises(TaskError, match="Node"):
        task(executor=stranger)(build)()()


def test_errors_are_texts(stranger):
    class OddError(Exception):
        def __str__(self):
            raise OSError

    def fail(odd):
        raise OddError if odd else ValueError("why")

    with pytest.raises(TaskError, match="why") as caught:
        task(executor=stranger)(fail)(False)()
    assert caught.value.type_name == "ValueError"
    assert "in fail" in caught.value.traceback_text
    with pytest.raises(TaskError, match="Odd"):
        task(executor=stranger)(fail)(True)()


def test_output_and_ends_are_as_elsewhere(stranger, capfd):
    task(executor=stranger)(print)("from afar")()
    assert capfd.readouterr().out == "from afar\n"
    with pytest.raises(ProcessTerminatedException) as caught:
        task(executor=stranger)(os._exit)(3)()
    assert caught.value.exit_code == 3


ATTACKS = {
    "values": "send(frames.pack(frames.VALUES, page.VALUE.pack(1, 1, 4) + b'N...'))",
    "result": "send(frames.pack(frames.RESULT, ANSWER.pack(1, 1), (b'N.',)))",
    "graph": "send(frames.pack(frames.GRAPH, ANSWER.pack(1, 1), (b'N.',)))",
    "failure": "send(frames.pack(frames.FAILED, ANSWER.pack(1, 1) + b'N.'))",
    "nested": "send(frames.pack(frames.NESTED, b'N.'))",
    "released": "send(frames.pack(frames.RELEASED, b'N.'))",
    "module": "send(frames.pack(frames.MODULE, b'N. os'))",
    "no frame": "worker.sock.sendall(b'garbage' * 10)",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_place_may_not_send(stranger, attack):
    """It ends the call with an error, and nothing was unpickled."""

    def body(code):
        from entangle._worker import frames, main, page

        worker = main.current
        names = {"frames": frames, "page": page, "ANSWER": main.ANSWER}
        exec(code, {"worker": worker, "send": worker.send, **names})
        return 1

    with pytest.raises((ProcessTerminatedException, TaskError)):
        stranger.submit(body, ATTACKS[attack]).result(20)

    def works():
        # An answer that came twice is held against the call that came after.
        try:
            return stranger.submit(abs, -1).result(20) == 1
        except ProcessTerminatedException:
            return False

    until(works)


def test_modules_that_are_not_loaded_are_not_given(stranger, tmp_path, monkeypatch):
    """A place gets the source of what the program uses, not of what lies beside it."""
    (tmp_path / "secret_settings.py").write_text("PASSWORD = 1\n")
    (tmp_path / "used_settings.py").write_text("SIZE = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    import used_settings

    assert used_settings.SIZE == 2

    def look(name):
        return __import__(name).__file__

    assert stranger.submit(look, "used_settings").result(20)
    with pytest.raises(TaskError, match="No module named 'secret_settings'"):
        stranger.submit(look, "secret_settings").result(20)
    del sys.modules["used_settings"]


def test_references_to_memory_are_refused():
    """Also from trusted places: it is another machine's."""
    from entangle._remote.worker import _no_references

    reader = frames.FrameReader(_no_references)
    head = frames.HEADER.pack(frames.MAGIC, frames.RESULT, 0, 1, 0)
    body = frames.LENGTH.pack(56 << 2 | frames.REFERENCE) + bytes(56)
    with pytest.raises(frames.ProtocolError, match="another machine"):
        reader.feed(head + body)


def test_a_call_of_its_own(stranger):
    call = RecordedCall(lambda: print("x") or {1})
    stranger.start(call)
    assert call.end().detail == {1}
    assert call.text("stdout") == "x\n"
