"""Functions of AWS Lambda that are there already: tasks that are but their names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from entangle.backend import Capabilities, Executor
from entangle.errors import (
    EntangleError,
    PlaceBusyError,
    ProcessTerminatedException,
    ProcessTimeoutException,
    UnpicklableError,
)

from . import _sdk
from ._account import HERE, Account
from ._invoking import AT_ONCE, invoked
from ._lambda import error_of, log_of, ran_out_of_memory, timed_out
from .errors import AwsError, RemoteFunctionError

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future

    from entangle.backend import Call

    from ._exchange import Exchange

Invocation = Literal["wait", "forget"]
_MOST: Final = 6 << 20  # bytes of arguments, says AWS
_MOST_FORGOTTEN: Final = 1 << 20
_LONGEST_PAUSE: Final = 20.0
_PATIENCE: Final = 3600.0  # seconds of throttling, where the task doesn't say


def event(*args: Any, **kwargs: Any) -> Any:
    """Return what a function is given: what its calls are checked against."""
    if args and kwargs:
        raise TypeError("give a Lambda function arguments by position or by name")
    if kwargs:
        return kwargs
    return args[0] if len(args) == 1 else [*args]


class LambdaProxyExecutor(Executor):
    """A function of AWS Lambda that is there already; the task is but its name.

    It gets the call's arguments as JSON: those by name as an object, several by
    position as a list, a single one as it is. What it answers is the value. What it
    prints stays in its log; an error of its own is raised as `RemoteFunctionError`,
    with the last of that log.

    Args:
        function: Its name or ARN.
        invocation: ``"wait"`` for its answer, or ``"forget"``: the call is over when
            AWS has taken it, and its value is the request's identifier.
        qualifier: Its version or alias; empty for the latest.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(paid=True)

    def __init__(
        self,
        *,
        aws: Account = HERE,
        function: str,
        invocation: Invocation = "wait",
        qualifier: str = "",
    ) -> None:
        super().__init__()
        self._session = _sdk.session(aws)
        self._function = function
        self._forget = invocation == "forget"
        self._qualifier = qualifier
        self._room = asyncio.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._wanted: dict[Call, Future[None]] = {}
        self._closed = False

    @classmethod
    def check_options(
        cls, *, function: str, invocation: str = "wait", qualifier: str = ""
    ) -> None:
        """Refuse what types can't tell.

        Raises:
            ValueError: An option has an unusable value.
        """
        del qualifier
        if not function:
            raise ValueError("function must be the name or ARN of a Lambda function")
        if invocation not in {"wait", "forget"}:
            raise ValueError(
                f"invocation must be 'wait' or 'forget', not {invocation!r}"
            )

    def start(self, call: Call) -> None:
        """Invoke the function.

        Raises:
            UnpicklableError: An argument is no JSON.
            AwsError: The arguments are too large.
            RuntimeError: After `shutdown`.
        """
        payload = self._payload(call)
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot start calls after shutdown")
            exchange = self._session.exchange
            self._wanted[call] = exchange.run(self._invoke(exchange, call, payload))

    def cancel(self, call: Call, grace: float) -> None:
        """Give a call up; what runs, runs on."""
        del grace
        with self._taken(call) as mine:
            if mine is not None:
                call.cancelled("abandoned")
                mine.cancel()

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - as in the base class
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        with self._lock:
            unused = not self._closed and not self._wanted
            self._closed = True
        if unused:
            self._session.close()

    def _payload(self, call: Call) -> bytes:
        given = event(*call.args, **(call.kwargs or {}))
        try:
            payload = json.dumps(given, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise UnpicklableError(
                path="an argument", reason=f"it is no JSON: {error}", node=call.name
            ) from error
        most = _MOST_FORGOTTEN if self._forget else _MOST
        if len(payload) > most:
            raise AwsError(
                f"the arguments have {len(payload):,} bytes, and {most:,} are allowed: "
                "put them into S3 and pass their address",
                service="lambda",
                operation="Invoke",
                resource=self._function,
            )
        return payload

    async def _invoke(self, exchange: Exchange, call: Call, payload: bytes) -> None:
        try:
            answer, said = await self._answered(exchange, call, payload)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the call's end
            failure = error
            await exchange.aside(lambda: self._fail(call, failure))
        else:
            await exchange.aside(lambda: self._tell(call, answer, said))

    def _tell(self, call: Call, answer: dict[str, Any], said: bytes) -> None:
        try:
            value = self._value(call, answer, said)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(call, error)
        else:
            with self._taken(call) as mine:
                if mine is not None:
                    call.succeeded(value)

    def _fail(self, call: Call, error: Exception) -> None:
        with self._taken(call) as mine:
            if mine is not None:
                call.failed(error)

    @contextlib.contextmanager
    def _taken(self, call: Call) -> Generator[Future[None] | None]:
        """Take a call off the list; None if it was taken: who takes it tells its end.

        Who has been told of the last end may close all at once: its future may be
        under way still, but nobody waits for that.
        """
        with self._lock:
            mine = self._wanted.pop(call, None)
            last = mine is not None and self._closed and not self._wanted
        try:
            yield mine
        finally:
            if last:
                self._session.close()

    async def _answered(
        self, exchange: Exchange, call: Call, payload: bytes
    ) -> tuple[dict[str, Any], bytes]:
        """Invoke it as often as it is throttled, as long as that is reasonable."""
        most = call.options.start
        end = time.monotonic() + (_PATIENCE if most is None else most)
        pause = 0.2
        while True:
            try:
                async with self._room:
                    return await self._once(exchange, payload)
            except PlaceBusyError:
                if time.monotonic() + pause > end:
                    raise
            # By chance: who was refused together must not come together again.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _once(
        self, exchange: Exchange, payload: bytes
    ) -> tuple[dict[str, Any], bytes]:
        more = {"Qualifier": self._qualifier} if self._qualifier else {}
        return await invoked(
            exchange,
            self._session,
            self._function,
            InvocationType="Event" if self._forget else "RequestResponse",
            LogType="None" if self._forget else "Tail",
            Payload=payload,
            **more,
        )

    def _value(self, call: Call, answer: dict[str, Any], said: bytes) -> Any:
        if self._forget:
            return answer["ResponseMetadata"]["RequestId"]
        if "FunctionError" in answer:
            raise self._failure(call, said, log_of(answer))
        try:
            return json.loads(said) if said else None
        except ValueError as error:
            raise AwsError(
                f"its answer, of {len(said):,} bytes, is no JSON: {error}",
                service="lambda",
                operation="Invoke",
                resource=self._function,
            ) from error

    def _failure(self, call: Call, said: bytes, log: str) -> EntangleError:
        kind, message = error_of(said)
        error: EntangleError
        if timed_out(kind, message):
            seconds = float(message.partition("after ")[2].partition(" ")[0] or 0)
            error = ProcessTimeoutException(
                node=call.name, phase="body", seconds=seconds
            )
        elif kind.startswith("Runtime.") or ran_out_of_memory(kind, message, log):
            error = ProcessTerminatedException(
                node=call.name,
                pid=0,
                out_of_memory=ran_out_of_memory(kind, message, log),
                detail=f"{self._function}: {kind} {message}",
            )
        else:
            error = RemoteFunctionError(self._function, said, log)
        if log:
            error.add_note(f"The last of the log of {self._function}:\n{log.rstrip()}")
        return error
