"""The other side of jobs: documents, signatures, addresses, the program itself."""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle._jobs import program
from entangle._jobs.packing import document, pack
from entangle._worker import calls, documents, sandbox, sealing, transport
from entangle.backend import DirectoryStore
from entangle.testing import RecordedCall

KEY = b"k" * 32
ABOUT = ["run", "job", 1]


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.lists(st.binary()))
def test_documents_come_back_as_they_went(facts, parts):
    facts.pop("lengths", None)
    read, found = documents.read(documents.write(facts, parts))
    assert read == facts
    assert [bytes(part) for part in found] == parts


@given(st.binary(max_size=200))
def test_what_is_no_document(data):
    with pytest.raises(documents.DamagedError):
        documents.read(data)


@given(st.binary(), st.data())
def test_a_seal_breaks_at_any_change(body, data):
    sealed = sealing.seal(KEY, ABOUT, body)
    assert bytes(sealing.unseal(KEY, ABOUT, sealed)) == body
    at = data.draw(st.integers(0, len(sealed) - 1))
    changed = bytearray(sealed)
    changed[at] ^= data.draw(st.integers(1, 255))
    for forged, about, key in (
        (bytes(changed), ABOUT, KEY),
        (sealed[:at], ABOUT, KEY),
        (sealed + b"\0", ABOUT, KEY),
        (sealed, ["run", "job", 2], KEY),
        (sealed, ["run", "other", 1], KEY),
        (sealed, ABOUT, b"x" * 32),
    ):
        with pytest.raises(sealing.ForgedError):
            sealing.unseal(key, about, forged)


class Flaky(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def _answer(self, body=b""):
        codes = self.server.codes
        code = codes.pop(0) if codes else 200
        self.server.asked += 1
        self.send_response(code)
        if code != 200:
            body = self.server.refusal
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self._answer(self.server.held)

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.codes:
            self.server.held = data
        self._answer()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transport, "_PAUSE", 0.0)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
    made.codes, made.asked, made.held, made.refusal = [], 0, b"", b""
    made.url = f"http://127.0.0.1:{made.server_port}/object?signature=secret"
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_store_that_refuses_for_a_while(server, capsys):
    server.codes = [503, 500, 429]
    transport.put(server.url, b"value")
    assert (server.held, server.asked) == (b"value", 4)
    server.codes = [503]
    assert transport.get(server.url) == b"value"
    assert "secret" not in capsys.readouterr().err


def test_a_store_that_refuses_for_good(server):
    server.codes = [503] * 100
    with pytest.raises(transport.TransportError, match="503") as caught:
        transport.put(server.url, b"value")
    assert "secret" not in str(caught.value)
    assert server.asked == 6


def test_a_store_says_why_it_refuses(server):
    """As S3 says it; the token that it may say, too, is not passed on."""
    server.refusal = (
        b'<?xml version="1.0"?>\n<Error><Code>ExpiredToken</Code><Message>The provided '
        b"token has expired.</Message><Token-0>secret</Token-0></Error>"
    )
    server.codes = [400]
    with pytest.raises(transport.TransportError) as caught:
        transport.put(server.url, b"value")
    assert "400" in str(caught.value)
    assert "(ExpiredToken: The provided token has expired.)" in str(caught.value)
    assert "secret" not in str(caught.value)
    server.refusal = b"<html>\xff<Code></Code>"
    server.codes = [403]
    with pytest.raises(transport.TransportError, match=r"403: Forbidden$"):
        transport.put(server.url, b"value")
    assert server.asked == 2


def test_a_network_is_waited_for(server, monkeypatch):
    """For as long as is said; what a store refuses is not."""
    monkeypatch.setattr(transport, "_PAUSE", 0.0)
    losses = [ConnectionResetError("lost")] * 50
    write = transport._write

    def lossy(url, data):
        if losses:
            raise losses.pop()
        write(url, data)

    monkeypatch.setattr(transport, "_write", lossy)
    transport.put(server.url, b"value", 3600.0)
    assert (server.held, server.asked) == (b"value", 1)
    losses += [ConnectionResetError("lost")] * 50
    with pytest.raises(transport.TransportError, match="lost"):
        transport.put(server.url, b"other")
    assert len(losses) == 44
    losses.clear()
    server.codes = [503] * 100
    with pytest.raises(transport.TransportError, match="503"):
        transport.put(server.url, b"other", 3600.0)
    assert server.asked == 7


def test_what_is_not_allowed_is_not_tried_again(server):
    server.codes = [403] * 100
    with pytest.raises(transport.TransportError, match="403"):
        transport.get(server.url)
    assert server.asked == 1


def test_what_was_changed_is_not_taken(server):
    transport.put(server.url, b"value")
    digest = hashlib.sha256(b"value").hexdigest()
    assert transport.get(server.url, digest) == b"value"
    server.held = b"other"
    with pytest.raises(transport.TransportError, match="was changed"):
        transport.get(server.url, digest)


def call_of(function, *args, answer=None, expires=2e9):
    facts = {
        "run": "run",
        "job": "job",
        "attempt": 1,
        "key": KEY.hex(),
        "answer": answer,
        "started": None,
        "expires": expires,
        "limit": None,
    }
    return document(pack(RecordedCall(function, *args), None, "here"), facts, None)


@pytest.fixture
def _own_main(monkeypatch):
    monkeypatch.setattr("entangle._worker.functions.enter_main", lambda: None)


@pytest.mark.usefixtures("_own_main")
def test_a_sandbox_answers_and_is_used_again():
    import base64

    def greet(name):
        print("hello", name)
        return len(name)

    for name in ("you", "there"):
        event = {"call": {"data": base64.b64encode(call_of(greet, name)).decode()}}
        answer = base64.b64decode(sandbox.handler(event)["answer"])
        facts, parts = documents.read(sealing.unseal(KEY, ABOUT, answer))
        assert facts["kind"] == calls.VALUE
        assert bytes(parts[-1]) == f"hello {name}\n".encode()
    assert sys.stdout.write is not None


@pytest.mark.usefixtures("_own_main")
def test_a_value_that_is_too_large_for_an_answer(tmp_path):
    import base64

    put = f"file://{tmp_path}/answer"
    for answer, said in ((put, "stored"), (None, "too_large")):
        data = call_of(bytes, 5_000_000, answer=answer)
        event = {"call": {"data": base64.b64encode(data).decode()}}
        assert sandbox.handler(event)[said] > 5_000_000
    assert (tmp_path / "answer").stat().st_size > 5_000_000


def launched(
    tmp_path, document, *, forged=False, python=sys.executable, line=program.BOOTSTRAP
):
    """Run the very line that jobs are started with, and see that no file stays."""
    store = DirectoryStore(tmp_path / "store")
    store.put("program", program.archive())
    store.put("call", document)
    digests = [program.digest(), hashlib.sha256(document).hexdigest()]
    if forged:
        digests[0] = "00"
    pointer = {
        name: {"url": store.read_url(name, 60), "sha256": digest}
        for name, digest in zip(("program", "call"), digests, strict=True)
    }
    folder = tmp_path / "tmp"
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [python, "-I", "-c", line],
        env={
            "ENTANGLE_JOB": json.dumps(pointer),
            "TMPDIR": str(folder),
            "PATH": "/bin",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not list(folder.iterdir())
    return done


@pytest.mark.process
def test_the_program_needs_nothing(tmp_path):
    """Not even what this environment has installed: it brings all along."""
    answer = tmp_path / "answer"

    def body():
        print("printed")
        return sorted(name for name in os.environ if name.startswith("ENTANGLE"))

    done = launched(tmp_path, call_of(body, answer=f"file://{answer}"))
    assert (done.returncode, done.stdout) == (0, "printed\n")
    facts, parts = documents.read(sealing.unseal(KEY, ABOUT, answer.read_bytes()))
    assert facts["kind"] == calls.VALUE
    assert b"ENTANGLE" not in bytes(parts[0])


@pytest.mark.process
def test_a_job_that_is_told_to_end_while_it_begins(tmp_path):
    made = 'd=tempfile.mkdtemp(prefix="entangle-job-")\n'
    assert made in program.BOOTSTRAP
    line = program.BOOTSTRAP.replace(made, f"{made}os.kill(os.getpid(), 15)\n")
    answer = tmp_path / "answer"
    done = launched(tmp_path, call_of(len, (), answer=f"file://{answer}"), line=line)
    assert done.returncode == 128 + signal.SIGTERM
    assert not answer.exists()


@pytest.mark.process
def test_a_program_that_was_changed_is_not_run(tmp_path):
    done = launched(tmp_path, call_of(len, ()), forged=True)
    assert done.returncode == 1
    assert "the program was changed" in done.stderr


@pytest.mark.process
def test_an_answer_that_can_not_be_left(tmp_path):
    """The job fails, so that its place knows."""
    done = launched(tmp_path, call_of(len, (), answer="file:///proc/answer"))
    assert done.returncode == 75
    assert "can't write file:///proc/answer" in done.stderr


@pytest.mark.process
def test_a_job_whose_time_is_over(tmp_path):
    import time

    answer = tmp_path / "answer"
    url = f"file://{answer}"
    begun = time.monotonic()
    done = launched(tmp_path, call_of(time.sleep, 100, answer=url, expires=1.0))
    assert time.monotonic() - begun < 50
    assert done.returncode == 0
    facts, _ = documents.read(sealing.unseal(KEY, ABOUT, answer.read_bytes()))
    assert facts["kind"] == calls.DIED
    assert facts["expired"]
