"""Functions of AWS Lambda that are there already: tasks that are but their names."""

from __future__ import annotations

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
from ._crew import Crew
from ._lambda import error_of, invoked, log_of, ran_out_of_memory, timed_out
from .errors import AwsError, RemoteFunctionError

if TYPE_CHECKING:
    from entangle.backend import Call

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

    capabilities: ClassVar[Capabilities] = Capabilities()

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
        self._crew = Crew(24)
        self._lock = threading.Lock()
        self._wanted: set[Call] = set()

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
        """
        payload = self._payload(call)
        with self._lock:
            self._wanted.add(call)
        self._crew.run(lambda: self._invoke(call, payload))

    def cancel(self, call: Call, grace: float) -> None:
        """Give a call up; what runs, runs on."""
        del grace
        with self._lock:
            if call not in self._wanted:
                return
            self._wanted.discard(call)
        call.cancelled("abandoned")

    def shutdown(
        self,
        wait: bool = True,  # noqa: FBT001, FBT002 - as in the base class
        *,
        cancel_futures: bool = False,
    ) -> None:
        """Take no more calls."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._crew.close(self._session.close)

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

    def _invoke(self, call: Call, payload: bytes) -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = self._answered(call, payload)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the call's end
            failure = error
        with self._lock:
            wanted = call in self._wanted
            self._wanted.discard(call)
        if not wanted:
            return
        if failure is None:
            call.succeeded(value)
        else:
            call.failed(failure)

    def _answered(self, call: Call, payload: bytes) -> Any:
        """Invoke it as often as it is throttled, for as long as the call is wanted."""
        most = call.options.start
        end = time.monotonic() + (_PATIENCE if most is None else most)
        pause = 0.2
        while True:
            try:
                return self._once(call, payload)
            except PlaceBusyError:
                if call not in self._wanted or time.monotonic() + pause > end:
                    raise
            # By chance: who was refused together must not come together again.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _once(self, call: Call, payload: bytes) -> Any:
        more = {"Qualifier": self._qualifier} if self._qualifier else {}
        kind = "Event" if self._forget else "RequestResponse"
        answer, said = invoked(
            self._session,
            self._function,
            InvocationType=kind,
            LogType="None" if self._forget else "Tail",
            Payload=payload,
            **more,
        )
        if self._forget:
            return answer["ResponseMetadata"]["RequestId"]
        if "FunctionError" in answer:
            raise self._failure(call, said, log_of(answer))
        return json.loads(said) if said else None

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
