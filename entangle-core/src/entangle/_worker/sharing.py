"""Memory that the tasks of a run share, as they see it.

What one task writes the others see at once: they have to agree on who writes what.
"""

from __future__ import annotations

import operator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_ZEROS = bytes(1 << 20)


class SharedMemory:
    """Memory that all tasks of a run can share; it lives until the run ends.

    As `multiprocessing.shared_memory.SharedMemory`, but that nothing has to be
    unlinked, and that nothing appears under /dev/shm.

    Attributes:
        name: What another task of the run finds it by.
        size: How many bytes there are.
        buf: The bytes, writable; zeros at first.
    """

    __slots__ = ("buf", "name", "size")

    def __init__(self, name: str, buf: memoryview) -> None:
        """Hold memory and its name."""
        self.name = name
        self.size = len(buf)
        self.buf: memoryview | None = buf

    def close(self) -> None:
        """Let go of it here; arrays over it stay good."""
        self.buf = None

    def unlink(self) -> None:
        """Do nothing: it ends with the run."""

    def __reduce__(self) -> NoReturn:
        """Refuse to be sent: the memory would be copied."""
        raise TypeError(
            f"shared memory is not sent as a value: send its name {self.name!r}, and "
            "find it by sm(name)"
        )

    def __repr__(self) -> str:
        """Show name and size."""
        return f"SharedMemory({self.name!r}, size={self.size})"


class SharedMemoryManager:
    """Makes memory for the tasks of a run: what a task is given as ``smm``."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[int], SharedMemory]) -> None:
        """Make it by a function of the number of bytes."""
        self._make = make

    def SharedMemory(self, size: int) -> SharedMemory:  # noqa: N802 - as the standard library's
        """Make memory that lives until the run ends.

        Args:
            size: how many bytes, at least 1.

        Raises:
            ValueError: it is no number above zero.
            MemoryError: there is not so much memory.
            OSError: shared memory can't be used here.
        """
        if operator.index(size) < 1:
            raise ValueError(f"SharedMemory({size!r}): say how many bytes, at least 1")
        return self._make(operator.index(size))


class Given:
    """A function that is given ``smm`` and ``sm`` where it is called: in a worker."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[..., Any]) -> None:
        """Stand for a function."""
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""
        from . import memory

        return self.fn(*args, **kwargs, **handles(memory.share, memory.find))


def handles(
    make: Callable[[int], tuple[str, memoryview]],
    find: Callable[[str], memoryview],
) -> dict[str, Any]:
    """Return what a function is given to share memory."""

    def made(size: int) -> SharedMemory:
        return SharedMemory(*make(size))

    def sm(name: str, create: bool = False, size: int = 0) -> SharedMemory:  # noqa: FBT001, FBT002 - as the standard library's
        """Find memory of this run by its name.

        Raises:
            FileNotFoundError: the run has none of that name.
        """
        if create:
            return smm.SharedMemory(size)
        if type(name) is not str:
            raise TypeError(
                f"sm({name!r:.60}): memory is found by its name, the str that "
                "smm.SharedMemory(...).name is"
            )
        return SharedMemory(name, find(name))

    smm = SharedMemoryManager(made)
    return {"smm": smm, "sm": sm}


def unknown(name: str) -> FileNotFoundError:
    """Make the error for a name that the run does not know."""
    return FileNotFoundError(
        f"this run has no shared memory {name!r}: it lives until the run ends that "
        "made it; pass the name to tasks of the same run"
    )


def zero(view: memoryview) -> None:
    """Clear memory that was used before."""
    for start in range(0, len(view), len(_ZEROS)):
        part = view[start : start + len(_ZEROS)]
        part[:] = _ZEROS[: len(part)]
