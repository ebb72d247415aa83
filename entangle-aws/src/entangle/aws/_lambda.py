"""Tasks shipped to AWS Lambda: each call is one invocation of a function made for it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence  # noqa: TC003 - options are checked by it
from typing import TYPE_CHECKING, Any, ClassVar, Final

from entangle.backend import Capabilities
from entangle.errors import (
    JobLostError,
    ProcessTimeoutException,
)

from . import _reserved
from ._account import HERE, Account
from ._checks import check
from ._invoking import AT_ONCE, invoked
from ._place import AwsExecutor
from ._runtime import Runtime
from .errors import AwsError, answered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Future

    from entangle.backend import FoundJob, Job, JobState

    from ._exchange import Exchange
    from ._s3 import S3Store

LONGEST: Final = 900  # seconds that a function may run, says AWS
_MEMORY: Final = (128, 10_240)  # MB
_STORAGE: Final = (512, 10_240)  # MB
_TIMED_OUT: Final = re.compile(r"Task timed out after ([0-9.]+) seconds")


class LambdaExecutor(AwsExecutor):
    """A function of AWS Lambda that runs a task's calls: it is made at the first one.

    The function is known by what is in it: it is made once for each Python version,
    size and list of packages, kept, and used by all programs of the account. A call
    waits for its invocation, at most 500 at once. A running one can't be ended: it ends
    by itself, at the latest after ``timeout``.

    Args:
        memory: MB of memory; processors come in proportion, 1,769 MB is one.
        timeout: Seconds that a call may run, 900 at most.
        packages: What pip installs beside the task, when the function is made:
            ``["numpy>=2"]``; also files and folders of this machine.
        architecture: ``"x86_64"`` or ``"arm64"``.
        python: The version of Python, as ``"3.12"``; by default this one's.
        storage: MB of temporary files.
        concurrency: How many calls run at once at most, reserved for the function as
            long as this executor is open; 0 for what the account has.
        execution_role: The role that the function runs in, by name or ARN; it needs
            no permission but to write its log.
        bucket: A bucket for calls and values of more than some megabytes, and for
            packages of more than 50; empty for none.
        layers: ARNs of layers with what can't be installed by pip.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(paid=True)
    inline_bytes: ClassVar[int] = 5_500_000
    has_program: ClassVar[bool] = True

    def __init__(
        self,
        *,
        aws: Account = HERE,
        memory: int = 1024,
        timeout: int = 300,
        packages: Sequence[str] = (),
        architecture: str = "x86_64",
        python: str = "",
        storage: int = 512,
        concurrency: int = 0,
        execution_role: str = "entangle-lambda",
        bucket: str = "",
        layers: Sequence[str] = (),
    ) -> None:
        super().__init__(aws, bucket, LONGEST + 300.0)
        self._timeout = timeout
        self._runtime = Runtime(
            self._session,
            memory=memory,
            timeout=timeout,
            packages=tuple(packages),
            architecture=architecture,
            python=python,
            storage=storage,
            concurrency=concurrency,
            role=execution_role,
            bucket=bucket,
            layers=tuple(layers),
        )
        self.python = self._runtime.version
        # More would be throttled.
        self.at_once = min(concurrency or AT_ONCE, AT_ONCE)

    @classmethod
    def check_options(
        cls,
        *,
        memory: int = 1024,
        timeout: int = 300,
        architecture: str = "x86_64",
        python: str = "",
        storage: int = 512,
        concurrency: int = 0,
        **options: Any,
    ) -> None:
        """Refuse what types can't tell.

        Raises:
            ValueError: An option has an unusable value.
        """
        check(options)
        ranges = (
            ("memory", memory, _MEMORY),
            ("timeout", timeout, (1, LONGEST)),
            ("storage", storage, _STORAGE),
            ("concurrency", concurrency, (0, 1_000_000)),
        )
        for name, value, (least, most) in ranges:
            if not least <= value <= most:
                raise ValueError(
                    f"{name} must be from {least} to {most:,}, not {value}"
                )
        if architecture not in {"x86_64", "arm64"}:
            raise ValueError(
                f"architecture must be 'x86_64' or 'arm64', not {architecture!r}"
            )
        if python and not re.fullmatch(r"3\.(9|1[0-9])", python):
            raise ValueError(f"python must be a version like '3.12', not {python!r}")

    @property
    def name(self) -> str:
        """What the place is called in messages."""
        return "lmbda"

    def store(self) -> S3Store | None:
        """Return the store in the bucket, if one is named."""
        return super().store() if self._bucket else None

    def create(self, job: Job) -> Future[bytes]:
        """Invoke the function, and return what its answer will be."""
        self._runtime.ready()
        exchange = self._session.exchange
        return exchange.run(self._answered(exchange, job))

    async def _answered(self, exchange: Exchange, job: Job) -> bytes:
        try:
            answer, said = await self._invoked(exchange, job)
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            # Somebody has deleted it since it was looked for.
            self._runtime.gone()
            await exchange.aside(self._runtime.ready)
            answer, said = await self._invoked(exchange, job)
        return await exchange.aside(lambda: self._value(job, answer, said))

    def _value(self, job: Job, answer: dict[str, Any], said: bytes) -> bytes:
        """Return what an invocation has answered.

        Raises:
            Exception: It has none; says why.
        """
        function = self._runtime.name
        if "FunctionError" in answer:
            raise self._failure(job, function, said, log_of(answer))
        told = json.loads(said)
        if "answer" in told:
            return base64.b64decode(told["answer"])
        if "stored" in told:
            return self.fetch("", job.answer_key)
        raise AwsError(
            f"the value of {job.task} has {told.get('too_large', 0):,} bytes, more than "
            "can be answered: name a bucket for it with @lmbda(bucket=...)",
            service="lambda",
            operation="Invoke",
            resource=function,
        )

    async def _invoked(
        self, exchange: Exchange, job: Job
    ) -> tuple[dict[str, Any], bytes]:
        return await invoked(
            exchange,
            self._session,
            self._runtime.name,
            InvocationType="RequestResponse",
            LogType="Tail",
            Payload=job.payload,
        )

    def _failure(self, job: Job, function: str, said: bytes, log: str) -> Exception:
        """Return what has happened to a function that did not answer."""
        kind, message = error_of(said)
        error: Exception
        if timed_out(kind, message):
            error = ProcessTimeoutException(
                node=job.task, phase="body", seconds=float(self._timeout)
            )
        else:
            memory = ran_out_of_memory(kind, message, log)
            error = JobLostError(
                node=job.task,
                place=self.name,
                resource=function,
                reason=": ".join(filter(None, (kind, message))),
                out_of_memory=memory,
            )
        if log:
            error.add_note(f"The last of its log:\n{log.rstrip()}")
        return error

    def poll(self, handles: Sequence[str]) -> Mapping[str, JobState]:
        """Nothing is asked after: calls wait for their answers."""
        del handles
        return {}

    def delete(self, handle: str, *, over: bool) -> bool:
        """Give back what was reserved; nothing is left of an invocation."""
        del over
        if handle:
            _reserved.withdraw(self._session, handle)
        return True

    def find(self) -> Iterable[FoundJob]:
        """Find what is reserved: invocations leave nothing, and functions are free."""
        return _reserved.found(self._session)

    def closed(self) -> None:
        """Give back what was reserved, and let go of the account's clients."""
        self._runtime.close()
        super().closed()


def log_of(answer: Mapping[str, Any]) -> str:
    """Return the last 4 KB of what an invocation has logged."""
    return base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")


def error_of(said: bytes) -> tuple[str, str]:
    """Return type and message of the error that a function has answered."""
    told = answered(said)
    return str(told.get("errorType", "")), str(told.get("errorMessage", ""))


def timed_out(kind: str, message: str) -> bool:
    """Tell whether AWS has ended a function for its time."""
    return kind == "Sandbox.Timedout" or (
        not kind and _TIMED_OUT.search(message) is not None
    )


def ran_out_of_memory(kind: str, message: str, log: str) -> bool:
    """Tell whether AWS has ended a function for its memory."""
    killed = kind == "Runtime.ExitError" and "signal: killed" in message
    return kind == "Runtime.OutOfMemory" or killed or "Runtime.OutOfMemory" in log
