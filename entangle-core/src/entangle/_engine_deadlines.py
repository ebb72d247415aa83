"""When the engine wants to be woken.

An alarm is a command (at, token). Each item has at most one live token; a token that
was disarmed or has fired means nothing any more, so the driver need not retract alarms.
"""

from collections import deque
from typing import TYPE_CHECKING, Final, cast

from entangle._engine_items import Extra, Item
from entangle.errors import ProcessRetryException, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._engine_items import Bounded
    from entangle._graph.options import Options

# Seconds that a cancelled call has to confirm its end.
GRACE: Final = 2.0

# A bound for what grows without one: backoff to a high power.
LONGEST_SLEEP: Final = 1e6
JITTER: Final = 0.1

_MASK: Final = (1 << 64) - 1


class Jitter:
    """A seeded stream of factors within 10 % of one.

    Of its own (splitmix64): the engine shares no state with the program, whose own
    use of `random` stays reproducible.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def factor(self) -> float:
        """The next factor."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
        return 1.0 - JITTER + 2.0 * JITTER * (mixed / (_MASK + 1))


class Alarms:
    """The live alarms of one run.

    Attributes:
        commands: (at, token) for the driver to set, oldest first.
    """

    __slots__ = ("_live", "_next", "commands")

    def __init__(self) -> None:
        self.commands: deque[tuple[float, int]] = deque()
        self._live: dict[int, Item | list[tuple[Item, int]] | None] = {}
        self._next = 0

    def arm(self, item: Item, at: float) -> None:
        """Wake `item`, which has no alarm, at `at`."""
        extra_of(item).token = self._arm(item, at)

    def arm_run(self, at: float) -> None:
        """Wake the run at `at`."""
        self._arm(None, at)

    def arm_calls(self, calls: list[tuple[Item, int]], at: float) -> None:
        """Ask at `at` whether the ends of these attempts were confirmed."""
        self._arm(calls, at)

    def disarm(self, item: Item) -> None:
        """Let the alarm of `item` mean nothing."""
        extra = item.extra
        if extra is not None and extra.token:
            del self._live[extra.token]
            extra.token = 0

    def take(self, token: int) -> Item | list[tuple[Item, int]] | None:
        """Whom the alarm wakes: an item, cancelled calls, or None for the run.

        Raises:
            KeyError: The alarm means nothing any more.
        """
        owner = self._live.pop(token)
        if isinstance(owner, Item):
            extra_of(owner).token = 0
        return owner

    def _arm(self, owner: Item | list[tuple[Item, int]] | None, at: float) -> int:
        self._next += 1
        self._live[self._next] = owner
        self.commands.append((at, self._next))
        return self._next


def extra_of(item: Item) -> Extra:
    """The rarely needed part of `item`, which is `Bounded`; made at first use."""
    extra = item.extra
    if extra is None:
        extra = cast("Bounded", item).extra = Extra()
    return extra


def pardon(item: Item) -> BaseException | None:
    """The deadline that the running call of `item` has missed; it means nothing now."""
    extra = item.extra
    if extra is None:
        return None
    overrun, extra.overrun = extra.overrun, None
    return overrun


def try_again(item: Item, error: BaseException) -> bool:
    """Whether the failed attempt is followed by another; if so, it is noted."""
    options = item.options
    most = options.retry if isinstance(error, options.retry_on) else 0
    if options.source is not None and isinstance(error, SourceError):
        most = max(most, error.retries)
    if item.attempt > most:
        return False
    extra_of(item).errors.append(error)
    return True


def retry_delay(item: Item, error: BaseException, jitter: Jitter) -> float:
    """Seconds to sleep before the next attempt."""
    options = item.options
    if options.source is not None and isinstance(error, SourceError):
        return min(max(error.pause, _own_delay(options, item, jitter)), LONGEST_SLEEP)
    return _own_delay(options, item, jitter)


def _own_delay(options: "Options", item: Item, jitter: Jitter) -> float:
    if not options.sleep:
        return 0.0
    try:
        delay = options.sleep * options.backoff ** (item.attempt - 1)
    except OverflowError:
        return LONGEST_SLEEP
    return min(delay * jitter.factor(), LONGEST_SLEEP)


def final_error(
    item: Item, error: BaseException, name: "Callable[[object], str]"
) -> BaseException:
    """What to raise when the failed attempt was the last.

    The error itself, with the account of all attempts as its cause where there were
    several, which in turn has the error's own cause. With `retry_error`, that account
    instead, caused by the error, if it was the last attempt that made it final.
    """
    extra = item.extra
    if extra is None or not extra.errors:
        return error
    options = item.options
    errors = (*extra.errors, error)
    account = ProcessRetryException(
        node=name(item.node), attempts=len(errors), errors=errors
    )
    if options.retry_error and isinstance(error, options.retry_on):
        account.__cause__ = error
        return account
    account.__cause__ = error.__cause__
    account.__context__ = error.__context__
    account.__suppress_context__ = error.__suppress_context__
    # Not by plain assignment: a class of the user's may have its own __setattr__.
    BaseException.__setattr__(error, "__cause__", account)
    return error
