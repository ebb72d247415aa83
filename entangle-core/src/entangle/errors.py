"""The errors that Entangle raises.

Everything derives from `EntangleError`. Each error is built from data, keeps it
as attributes, and says what happened, why, and what to do about it. All of them
pickle with their attributes and notes. A task's own exceptions are raised as
themselves and are not in this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from entangle._place_errors import (
        BudgetExceededError,
        JobError,
        JobLostError,
        PlaceBusyError,
        PlaceError,
        UnknownPriceError,
        UntrustedResultError,
    )

__all__ = [
    "BudgetExceededError",
    "CacheDirectoryError",
    "CacheKeyError",
    "CompositionError",
    "EntangleError",
    "FlowError",
    "InternalError",
    "JobError",
    "JobLostError",
    "NestedRunError",
    "OptionError",
    "PictureError",
    "PlaceBusyError",
    "PlaceError",
    "PlatformError",
    "PluginError",
    "ProcessRetryException",
    "ProcessTerminatedException",
    "ProcessTimeoutException",
    "RunOutsideTaskError",
    "SecretError",
    "SourceError",
    "TaskError",
    "UnknownPriceError",
    "UnmetCapabilityError",
    "UnpicklableError",
    "UntrustedResultError",
    "VersionMismatchError",
    "WorkerStartError",
]


def _rebuild(cls: type[EntangleError], args: tuple[Any, ...]) -> EntangleError:
    """Make an error of `cls` without calling its constructor."""
    error = cls.__new__(cls)
    error.args = args
    return error


class EntangleError(Exception):
    """The root of all errors of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle type, arguments and attributes, whatever the constructor takes."""
        return _rebuild, (type(self), self.args), dict(self.__dict__)


class CompositionError(EntangleError, TypeError):
    """Decorators that do not go together, or something that cannot be decorated.

    Attributes:
        reason: The message.
        task: The qualified name of what was decorated, empty if there was none.
        origins: The decorators concerned, each as ``file:line``.
    """

    def __init__(
        self, reason: str, *, task: str = "", origins: Iterable[str] = ()
    ) -> None:
        """Build the error from its message and the places that it is about."""
        super().__init__(reason)
        self.reason = reason
        self.task = task
        self.origins = tuple(origins)


class UnmetCapabilityError(CompositionError):
    """An option that the chosen place cannot honour.

    Attributes:
        option: The name of the option.
    """

    def __init__(
        self,
        reason: str,
        *,
        option: str,
        task: str = "",
        origins: Iterable[str] = (),
    ) -> None:
        """Build the error from its message, the option and the decorators."""
        super().__init__(reason, task=task, origins=origins)
        self.option = option


class OptionError(CompositionError, ValueError):
    """An option of a decorator that is unknown, or has an unusable value.

    Attributes:
        decorator: The name of the decorator.
        option: The name of the option.
    """

    def __init__(self, reason: str, *, decorator: str, option: str) -> None:
        """Build the error from its message and the option it is about."""
        super().__init__(reason)
        self.decorator = decorator
        self.option = option


_TIMEOUTS = {
    "body": (
        "{node} ran for longer than its timeout of {seconds:g} s and was ended; "
        "give it more time with timeout=, or less to do"
    ),
    "wait": (
        "the arguments of {node} were not all there after its wait of {seconds:g} s; "
        "give them more time with wait=, or look at what they wait for"
    ),
    "start": (
        "{node} was ready, but no place took it within its start of {seconds:g} s; "
        "give it more time with start=, or look at what keeps the place busy"
    ),
    "run": (
        "the run of {node} was not over after its timeout of {seconds:g} s and was "
        "ended; give it more time with run(timeout=...)"
    ),
}


class ProcessTimeoutException(EntangleError, TimeoutError):
    """A deadline of a call, or of the whole run, has passed.

    Attributes:
        node: The name of the task, or of the run's root.
        phase: What took too long: ``'body'``, ``'wait'``, ``'start'`` or ``'run'``.
        seconds: The limit, in seconds.
    """

    def __init__(self, *, node: str, phase: str, seconds: float) -> None:
        """Build the message from the task's name, the phase and the limit."""
        text = _TIMEOUTS.get(phase, "{node} took longer than {seconds:g} s")
        super().__init__(text.format(node=node, seconds=seconds))
        self.node = node
        self.phase = phase
        self.seconds = seconds


class ProcessTerminatedException(EntangleError):
    """The worker process that ran a call has died.

    Attributes:
        node: The name of the task.
        pid: The process identifier of the worker.
        signal: The number of the signal that ended it, or None.
        exit_code: Its exit code, or None if a signal ended it.
        out_of_memory: Whether the system is known to have ended it for its memory.
        detail: Anything else that is known.
    """

    def __init__(
        self,
        *,
        node: str,
        pid: int,
        signal: int | None = None,
        exit_code: int | None = None,
        out_of_memory: bool = False,
        detail: str = "",
    ) -> None:
        """Build the message from what is known of the death."""
        if out_of_memory:
            how = "was ended because memory ran out"
            advice = (
                "let the task use less memory, or run fewer at once with limit= "
                "or workers="
            )
        elif signal is not None:
            how = f"was killed by {_signal_name(signal)}"
            advice = "look for what sent the signal, or for a crash in native code"
        elif exit_code is not None:
            how = f"exited with code {exit_code}"
            advice = "let the task return or raise, not leave the process"
        elif detail:
            how = "had to be ended"
            advice = ""
        else:
            how = "died"
            advice = "look for a crash in native code"
        more = f" ({detail})" if detail else ""
        what = f"the worker process {pid} that ran {node} {how}{more}"
        super().__init__(f"{what}; {advice}" if advice else what)
        self.node = node
        self.pid = pid
        self.signal = signal
        self.exit_code = exit_code
        self.out_of_memory = out_of_memory
        self.detail = detail


def _signal_name(number: int) -> str:
    """Name a signal for people: ``SIGKILL (9)``."""
    # Imported here: only a death needs it, every program imports this module.
    import signal

    try:
        return f"{signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"


class ProcessRetryException(EntangleError):
    """All attempts of a call have failed.

    It is the cause of the last error, or raised itself with ``retry_error=True``.

    Attributes:
        attempts: How many attempts there were.
        errors: Their errors, in order.
        node: The name of the task, if known.
    """

    def __init__(
        self, *, attempts: int, errors: Iterable[BaseException], node: str = ""
    ) -> None:
        """Build the message from the attempts."""
        self.attempts = attempts
        self.errors = tuple(errors)
        self.node = node
        subject = f"{attempts} attempts" if attempts != 1 else "1 attempt"
        whose = f" of {node}" if node else ""
        kinds = dict.fromkeys(type(error).__name__ for error in self.errors)
        last = f"; the last: {one_line(self.errors[-1])}" if self.errors else ""
        super().__init__(
            f"{subject}{whose} failed ({', '.join(kinds) or 'no errors kept'}){last}"
        )


def one_line(error: BaseException) -> str:
    """Show an error as one line, even if it cannot be shown."""
    try:
        text = str(error).partition("\n")[0]
    except BaseException:  # noqa: BLE001 - a user's __str__ may raise anything
        text = "(its message cannot be shown)"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


class TaskError(EntangleError):
    """Stands for an error of a task that cannot be raised here as itself.

    Attributes:
        type_name: The qualified name of the error's type.
        message: Its message.
        traceback_text: Its traceback, as Python prints it; empty if there was none.
    """

    def __init__(self, type_name: str, message: str, traceback_text: str = "") -> None:
        """Build the error from what is left of the original."""
        text = f"{type_name}: {message}" if message else type_name
        super().__init__(f"{text}\n\n{traceback_text}" if traceback_text else text)
        self.type_name = type_name
        self.message = message
        self.traceback_text = traceback_text


class FlowError(EntangleError, ExceptionGroup[Exception]):
    """Functions of a flow have failed for an input; all else of it has run.

    An `ExceptionGroup` of the functions' own exceptions.

    Attributes:
        flow: The name of the flow's outer task.
        input: What the flow was called with.
        index: Which input of a stream that was, counted from 0; None for a call.
    """

    flow: str
    input: Any
    index: int | None

    def __new__(
        cls,
        errors: Iterable[Exception],
        *,
        flow: str,
        input: Any = None,  # noqa: A002 - it is the input
        index: int | None = None,
    ) -> Self:
        """Build the error from those of the functions, and what they were about."""
        members = list(errors)
        count = (
            "a function has" if len(members) == 1 else f"{len(members)} functions have"
        )
        which = "its input" if index is None else f"input {index}"
        message = f"{count} failed in the flow {flow} for {which}"
        self = super().__new__(cls, message, members)
        self.flow, self.input, self.index = flow, input, index
        return self

    def __init__(
        self,
        errors: Iterable[Exception],
        *,
        flow: str,
        input: Any = None,  # noqa: A002 - as above
        index: int | None = None,
    ) -> None:
        """Everything is set already: a group's members can't be set later."""

    def derive(self, excs: Sequence[Any], /) -> Any:
        """Make the error of some of its members, as splitting does."""
        about: dict[str, Any] = {"input": self.input, "index": self.index}
        return FlowError(excs, flow=self.flow, **about)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the members and what they are about, with the notes."""
        about = {"flow": self.flow, "input": self.input, "index": self.index}
        return _rebuild_flow_error, (list(self.exceptions), about), dict(self.__dict__)


def _rebuild_flow_error(errors: list[Exception], about: dict[str, Any]) -> FlowError:
    return FlowError(errors, **about)


class UnpicklableError(EntangleError, TypeError):
    """A value that must go to another process, and cannot.

    Attributes:
        path: Where it is, for example ``argument 'conf'.handlers[0].lock``.
        reason: Why it does not pickle.
        node: The name of the task, if known.
    """

    def __init__(self, *, path: str, reason: str, node: str = "") -> None:
        """Build the message from the place of the value and the reason."""
        whose = f" of {node}" if node else ""
        super().__init__(
            f"{path}{whose} cannot be sent to another process: {reason}; "
            "leave it out, make it inside the task, or run the task with @thread"
        )
        self.path = path
        self.reason = reason
        self.node = node


class VersionMismatchError(EntangleError, TypeError):
    """A call that can't be sent to a place, since its Python is of another version.

    Attributes:
        node: The name of the task.
        place: What the place is called.
        version: That of its Python, for example ``'3.12'``.
        reason: Why it can't be sent there.
    """

    def __init__(self, *, node: str, place: str, version: str, reason: str) -> None:
        """Build the message from the names, the version and the reason."""
        super().__init__(
            f"{node} can't be run in {place}, whose Python is {version}: functions go "
            f"there by source, and {reason}"
        )
        self.node = node
        self.place = place
        self.version = version
        self.reason = reason


class CacheKeyError(EntangleError, TypeError):
    """A value that the key of a cached call needs, and that has no stable digest.

    Attributes:
        path: Where it is, for example ``argument 'conf'.lock``.
        reason: Why it has none.
        node: The name of the task.
    """

    def __init__(self, *, path: str, reason: str, node: str = "") -> None:
        """Build the message from the place of the value and the reason."""
        whose = f" of {node}" if node else ""
        super().__init__(
            f"{path}{whose} cannot be part of the key under which its value is kept: "
            f"{reason}; leave it out with cache_ignore=[...], say with cache_key= what "
            "counts instead, or don't cache this task"
        )
        self.path = path
        self.reason = reason
        self.node = node


class CacheDirectoryError(EntangleError):
    """The directory of the cache is one that must not be used.

    Attributes:
        path: The directory.
        reason: What is wrong with it.
    """

    def __init__(self, *, path: str, reason: str) -> None:
        """Build the message from the directory and what is wrong."""
        super().__init__(
            f"nothing can be kept in {path}: {reason}; set ENTANGLE_CACHE_DIR to a "
            "directory that is yours alone"
        )
        self.path = path
        self.reason = reason


class SourceError(EntangleError):
    """What supplies the argument of a task's function has failed.

    Sources raise it, or what derives from it, to say whether the call is worth another
    attempt. These count together with those of the task's own ``retry``: there are as
    many as the larger of the two allows.

    Attributes:
        retries: How many attempts after the first the source would make; 0 where
            another one is pointless.
        pause: How many seconds to wait before the next one, at least.
    """

    retries: int = 0
    pause: float = 0.0


class SecretError(EntangleError):
    """A secret that can't be had where it is needed.

    Attributes:
        secret: The reference to it, as it is written.
    """

    def __init__(self, secret: str, reason: str) -> None:
        """Build the message from the reference and the reason."""
        super().__init__(f"{secret} can't be had: {reason}")
        self.secret = secret
        self.reason = reason


class RunOutsideTaskError(EntangleError, RuntimeError):
    """A graph was run in a worker process, but not by a task.

    A worker that looks for a task imports the task's module. If that ran a graph, its
    tasks would need workers that import the module, and so on without end.
    """

    def __init__(self, what: str = "a graph was run") -> None:
        """Build the message from what was tried."""
        super().__init__(
            f"{what} in a worker process while no task was running there, as by a "
            "module that runs a graph when it is imported; move that into a function, "
            'or under `if __name__ == "__main__":`'
        )
        self.what = what


class NestedRunError(EntangleError, RuntimeError):
    """A graph was run by a task that runs elsewhere, where that can't be done."""

    def __init__(
        self,
        what: str = "a graph was run by a task that runs in another place",
        instead: str = "let the task return the node instead of calling it, then the "
        "caller's run goes on with it",
    ) -> None:
        """Build the message from what was tried, and what to do instead."""
        super().__init__(f"{what}: {instead}")
        self.what = what


class WorkerStartError(EntangleError):
    """No worker process can be started.

    Attributes:
        detail: Why.
    """

    def __init__(self, detail: str) -> None:
        """Build the message from the reason."""
        super().__init__(
            f"no worker process can be started: {detail}; look at the limits on "
            "processes and memory (ulimit -a, cgroups)"
        )
        self.detail = detail


class PictureError(EntangleError, ValueError):
    """A graph that is too large for a format of pictures.

    Attributes:
        format: The format.
        what: What there is too much of.
        count: How much there is.
        most: How much there may be.
        calls: How many calls the graph has.
    """

    def __init__(
        self,
        format: str,  # noqa: A002 - it is the format
        *,
        what: str,
        count: int,
        most: int,
        calls: int,
    ) -> None:
        """Build the message from the numbers."""
        super().__init__(
            f"a graph of {calls:,} calls would take {count:,} {what} of {format}, and "
            f"more than {most:,} are not shown; draw a part of it: any node in it has "
            "a picture of its own, and so has what it is made of, by .graph()"
        )
        self.format = format
        self.what = what
        self.count = count
        self.most = most
        self.calls = calls


class PluginError(EntangleError):
    """A plugin that is missing, broken, or in another's way.

    Attributes:
        plugin: The name of the plugin; empty if it is not there.
    """

    def __init__(self, reason: str, *, plugin: str) -> None:
        """Build the error from its message and the plugin it is about."""
        super().__init__(reason)
        self.plugin = plugin


class InternalError(EntangleError):
    """Entangle contradicts itself: always a bug of the library.

    Attributes:
        detail: What was found.
    """

    def __init__(self, detail: str) -> None:
        """Build the message from what was found."""
        super().__init__(f"{detail}; please report this as a bug of Entangle")
        self.detail = detail


class PlatformError(EntangleError, ImportError):
    """This operating system is not supported.

    Attributes:
        platform: The platform, as ``sys.platform`` names it.
    """

    def __init__(self, *, platform: str) -> None:
        """Build the message from the name of the platform."""
        super().__init__(
            f"Entangle's workers run on Linux, not on {platform!r}: use it inside a "
            "Linux container or WSL, or set ENTANGLE_INLINE=1 on macOS to run graphs "
            "in the calling thread"
        )
        self.platform = platform


_ELSEWHERE = frozenset(
    (
        *("BudgetExceededError", "JobError", "JobLostError"),
        *("PlaceBusyError", "PlaceError", "UnknownPriceError"),
        "UntrustedResultError",
    )
)


def __getattr__(name: str) -> Any:
    """Import the errors of places elsewhere, which few programs use."""
    if name in _ELSEWHERE:
        from importlib import import_module

        return getattr(import_module("entangle._place_errors"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
