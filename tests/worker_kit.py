"""The caller's side of a worker, as the tests drive it."""

import mmap
import os
import pickle
import socket
import threading
import time

from entangle._worker import attach, codec, failures, frames, functions, page
from entangle._worker import main as worker

PAGE = mmap.PAGESIZE
WITHIN = 10.0  # seconds for what takes milliseconds


def running(pid):
    """Tell whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition):
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def double(number):
    return 2 * number


def values(body):
    """Return what a frame of values, or the page, says: number, nanoseconds, value."""
    found = []
    at = 0
    while at < len(body):
        number, took, size = page.VALUE.unpack_from(body, at)
        at += page.VALUE.size
        found.append((number, took, pickle.loads(body[at : at + size])))
        at += size
    return found


class Caller:
    """The caller's side of a worker that runs in a thread of this process."""

    def __init__(self, overrides=None, unsettled=None):
        self.sock, theirs = socket.socketpair()
        self.page = mmap.mmap(-1, PAGE)
        tokens, self.grants = os.pipe2(os.O_NONBLOCK)
        self.tokens = tokens
        self.worker = worker.Worker(
            theirs, self.page, tokens, overrides or {}, unsettled
        )
        self.reader = frames.FrameReader()
        self.frames = []
        self.values = []
        self.error = None
        self.functions = 0
        self.number = 0
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        try:
            self.worker.serve()
        except BaseException as error:
            self.error = error

    def send(self, kind, body=b"", buffers=()):
        frames.send(self.sock, frames.pack(kind, body, buffers))

    def receive(self):
        """Return the next frame."""
        while not self.frames:
            self.frames = self.reader.read(self.sock.recv_into)
        return self.frames.pop(0)

    def function(self, fn):
        """Send a function; return its number."""
        self.functions += 1
        data = functions.encode_function(fn)
        self.send(frames.FUNCTION, worker.NUMBER.pack(self.functions) + data)
        return self.functions

    def call(self, fn, *args, flags=0, kwargs=None):
        """Ask for one call; return its number."""
        number = fn if isinstance(fn, int) else self.function(fn)
        self.number += 1
        entry = (self.number, number, args, kwargs, flags)
        self.send(frames.CALLS, pickle.dumps([entry]))
        return self.number

    def rich_call(self, fn, *args, ahead=True, **kwargs):
        """Ask for one call with any arguments."""
        number = self.function(fn)
        data, own, buffers, shared = attach.encode_arguments(args, kwargs)
        for one in shared if ahead else ():
            body = worker.NUMBER.pack(one.number)
            self.send(frames.SHARED, body, (one.data, *one.buffers))
        self.number += 1
        entry = (self.number, number, data, own, worker.RICH)
        self.send(frames.CALLS, pickle.dumps([entry]), buffers)
        return self.number

    def answer(self):
        """Return the kind and the value of the next answer; raise what it raised."""
        if not self.values:
            frame = self.receive()
            if frame.kind == frames.VALUES:
                self.values = values(frame.body)
        if self.values:
            number, _, value = self.values.pop(0)
            return number, value
        number, _ = worker.ANSWER.unpack_from(frame.body)
        rest = bytes(frame.body[worker.ANSWER.size :])
        if frame.kind == frames.FAILED:
            return number, failures.decode_failure(rest)
        assert frame.kind in {frames.RESULT, frames.GRAPH}
        blob = attach.received(frame.buffers[0], frame.buffers[1:], frame.marks[1:])
        return number, codec.decode(blob)

    def value(self, fn, *args, **options):
        """Run one call and return its value or its error."""
        number = self.call(fn, *args, **options)
        answered, value = self.answer()
        assert answered == number
        return value

    def close(self):
        self.sock.close()
        self.thread.join(10)
        self.worker.sock.close()
        os.close(self.grants)
        os.close(self.tokens)
        self.page.close()
