"""Sessions of SSM: a byte stream to the keeper of an instance, by AWS's own plugin."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import secrets
import select
import shlex
import subprocess
import threading
import time
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from entangle.backend import CommandStream, Ended, Stream

from . import _sdk
from ._keeper import BEAT, COMMAND, DATA, END, MOST, Frames, encoded, greeting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._ec2_instance import Instance
    from ._sdk import Session

_DOCUMENT: Final = (
    "AWS-StartSSHSession"  # any port of the loopback, by standard streams
)
_PORT: Final = 46_327
_VARIABLE: Final = "AWS_SSM_START_SESSION_RESPONSE"
_LAST_WITHOUT: Final = (1, 2, 497, 0)  # that doesn't look into the variable
_SILENCE: Final = (
    120.0  # seconds without a sign of life after which an instance is lost
)
_GONE: Final = 300.0  # as above, of the client: it may be busy, or a laptop asleep
_BEAT: Final = 15.0
_GREETING: Final = 30.0  # seconds for what is said first
_TURN: Final = 200  # milliseconds
_KEPT: Final = 2000  # bytes of what a session says beside


class Key:
    """What one instance knows its client by: it is told the digest alone."""

    def __init__(self) -> None:
        self.secret = secrets.token_hex(32).encode()

    def work(self, python: str, patience: float) -> str:
        """Return what an instance has to run, as lines of a shell.

        Args:
            python: What its Python is called.
            patience: Seconds that it waits for its client.
        """
        program = resources.files("entangle.aws").joinpath("_keeper.py").read_text()
        digest = hashlib.sha256(self.secret).hexdigest()
        numbers = f"{_PORT} {digest} {patience:.0f} {_GONE:.0f}"
        return (
            f"{shlex.quote(python)} - {numbers} <<'ENTANGLE'\n{program}ENTANGLE\n"
        ).rstrip()


class Refused(Exception):  # noqa: N818 - told to nobody but us
    """A session has ended before the keeper has answered: it may not be there yet."""


def connected(
    session: Session,
    plugin: str,
    instance: Instance,
    key: Key,
    command: Sequence[str],
    withheld: Sequence[str],
    unwanted: Callable[[], bool],
) -> Connection:
    """Reach the keeper of an instance, and have it start a Python.

    Args:
        session: The account.
        plugin: AWS's plugin.
        instance: The instance, which the connection ends with itself.
        key: What it was told.
        command: What it is to run.
        withheld: What must not be sent there.
        unwanted: Whether nobody waits for this any more.

    Raises:
        Refused: The keeper does not answer; what it said instead.
        AwsError: There can be no session.
    """
    arguments, variables = _started(session, plugin, instance.name)
    stream = CommandStream(arguments, env=variables)
    try:
        connection = Connection(stream, instance, withheld)
        connection.greet(key.secret, command, unwanted)
    except BaseException:
        stream.kill()
        raise
    return connection


def _started(
    session: Session, plugin: str, instance: str
) -> tuple[list[str], dict[str, str]]:
    """Start a session; return the command that speaks over it, and its environment."""
    client = session.client("ssm")
    request = {
        "Target": instance,
        "DocumentName": _DOCUMENT,
        "Parameters": {"portNumber": [str(_PORT)]},
    }
    with _sdk.asking("ssm", instance):
        answer = client.start_session(**request)
    names = ("SessionId", "TokenValue", "StreamUrl")
    response = json.dumps({name: answer[name] for name in names})
    variables = {**os.environ, **session.variables()}
    if version(plugin) > _LAST_WITHOUT:
        # Arguments are seen by all users of this machine.
        variables[_VARIABLE] = response
        response = _VARIABLE
    told = json.dumps(request)
    where = str(client.meta.endpoint_url)
    profile = session.profile
    command = [plugin, response, session.region, "StartSession", profile, told, where]
    return command, variables


@functools.cache
def version(plugin: str) -> tuple[int, ...]:
    """Return the version of AWS's plugin; empty if it does not say.

    Raises:
        OSError: It can't be run.
    """
    done = subprocess.run(  # noqa: S603 - found on the PATH by its name
        [plugin, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    found = re.search(rb"\d+(\.\d+)+", done.stdout)
    return tuple(map(int, found[0].split(b"."))) if found else ()


class Connection(Stream):
    """A stream to the Python that a keeper has started, in an instance that it owns.

    Beside its bytes, signs of life go both ways: a session that is not used is ended
    by the service, and a network that is lost does not say so.

    Args:
        stream: To the keeper, with what the plugin says beside.
        instance: The instance.
        withheld: What must not be sent.
    """

    def __init__(
        self, stream: CommandStream, instance: Instance, withheld: Sequence[str]
    ) -> None:
        self._stream = stream
        self._instance = instance
        self._withheld = [secret.encode() for secret in withheld]
        self._sent = b""  # the last of it, where something must not be
        self._frames = Frames()
        self._found: list[tuple[bytes, bytes]] = []
        self._rest = b""
        self._ended: Ended | None = None
        self._noise = b""
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._beating = threading.Thread(
            target=self._beat, name=f"entangle-aws-{instance.name}", daemon=True
        )

    def greet(
        self, secret: bytes, command: Sequence[str], unwanted: Callable[[], bool]
    ) -> None:
        """Make sure that the keeper is there, and tell it what to run.

        Raises:
            Refused: It is not.
        """
        wanted = greeting(secret)
        until = time.monotonic() + _GREETING
        try:
            self._stream.write(secret)
            while wanted not in self._noise:
                if unwanted() or time.monotonic() > until:
                    raise Refused(f"nothing came for {_GREETING:g} s")
                if not self._ready(_TURN):
                    continue
                data = self._stream.read(1 << 16)
                if not data:
                    raise Refused(f"the session has ended{self._said()}")
                self._noise = (self._noise + data)[-_KEPT:]
            self._noise = b""
            self._send(COMMAND, json.dumps([*command]).encode())
        except OSError as error:
            raise Refused(f"the session has ended{self._said()}") from error
        self._beating.start()

    def read(self, size: int) -> bytes:
        """Return what has come.

        Raises:
            TimeoutError: Nothing is heard any more.
        """
        while not self._rest:
            while not self._found:
                if not self._ready(int(_SILENCE * 1000)):
                    raise TimeoutError(
                        f"nothing was heard of {self._instance.name} for "
                        f"{_SILENCE:g} s: it has lost its network, or is stopped"
                    )
                data = self._stream.read(1 << 16)
                if not data or not self._took(data):
                    return b""
            kind, body = self._found.pop(0)
            if kind == DATA:
                self._rest = body
            elif kind == END:
                self._ended = _ending(body)
                return b""
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Send all of it.

        Raises:
            PermissionError: It holds credentials.
        """
        if self._withheld:
            self._check(bytes(data))
        left = memoryview(data)
        while left:
            self._send(DATA, left[:MOST])
            left = left[MOST:]

    def close(self) -> None:
        """End the session, and the instance."""
        self._end(self._stream.close)

    def kill(self) -> None:
        """End both at once."""
        self._end(self._stream.kill)

    def ended(self) -> Ended:
        """Say how the Python has ended, or else the instance, or the session."""
        name = self._instance.name
        if self._ended is not None:
            detail = f"{name}: {self._ended.detail}".rstrip(": ")
            return self._ended._replace(detail=detail)
        fate = self._instance.fate()
        if fate:
            return Ended(detail=f"{name} has ended: {fate}")
        return Ended(detail=f"the session with {name} has ended{self._said()}")

    def _end(self, end: Callable[[], None]) -> None:
        self._over.set()
        try:
            # First, since it is what costs.
            self._instance.end()
        finally:
            end()
            self._beating.join()

    def _said(self) -> str:
        """Return what the plugin has said beside, after a colon, if anything."""
        noise = self._noise.decode(errors="replace").split()
        said = " ".join((self._stream.ended().detail, *noise)).strip()
        return f": {said}" if said else ""

    def _check(self, data: bytes) -> None:
        data = self._sent + data
        for secret in self._withheld:
            if secret in data:
                raise PermissionError(
                    f"what was to be sent to {self._instance.name} holds the keys of "
                    "@aws: let boto3 find them, with keys=[]"
                )
        self._sent = data[-max(map(len, self._withheld)) :]

    def _ready(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self._stream.descriptors()[0], select.POLLIN)
        return bool(poll.poll(milliseconds))

    def _took(self, data: bytes) -> bool:
        """Take frames apart; False if it is something else: the plugin's last words."""
        try:
            self._found = self._frames.feed(data)
        except ValueError:
            self._noise = data[-_KEPT:]
            return False
        return True

    def _send(self, kind: bytes, data: bytes | memoryview = b"") -> None:
        frame = encoded(kind, data)
        with self._writing:
            self._stream.write(frame)

    def _beat(self) -> None:
        while not self._over.wait(_BEAT):
            # Where it is held, there is traffic enough.
            if not self._writing.acquire(blocking=False):
                continue
            try:
                self._stream.write(encoded(BEAT))
            except (OSError, ValueError):
                return
            finally:
                self._writing.release()


def _ending(body: bytes) -> Ended:
    told: dict[str, Any] = json.loads(body)
    code, said = int(told["code"]), str(told["said"])
    if code < 0:
        return Ended(signal=-code, detail=said)
    return Ended(exit_code=code, detail=said)
