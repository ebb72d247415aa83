"""Arrays and buffers that tasks make directly in shared memory.

What is made here and returned, or passed to another task, is not copied on its way to
other processes. Who receives it gets an ordinary array of its own: nobody sees what
another changes, and who made it may go on using it.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, Literal

from entangle._worker import pieces
from entangle.errors import PlatformError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import DTypeLike, NDArray

__all__ = ["buffer", "empty"]


def empty(
    shape: int | Sequence[int], dtype: DTypeLike = float, order: Literal["C", "F"] = "C"
) -> NDArray[Any]:
    """Make an array in shared memory; its contents are arbitrary.

    As `numpy.empty`. Small arrays, and all where shared memory can't be used, are made
    in ordinary memory: then they are copied when they are sent. Thread-safe. The array
    owns its memory; views of it keep it.

    Args:
        shape: The numbers of items along each axis, or one number.
        dtype: The type of the items; not one of Python objects.
        order: ``'C'`` if the last index is to vary fastest in memory, ``'F'`` if the
            first.

    Raises:
        MemoryError: There is not so much memory.
        ModuleNotFoundError: numpy is not installed.
        TypeError: The items would be Python objects, which have no place in shared
            memory.
        ValueError: The shape has a negative number in it.
    """
    import numpy as np

    kind = np.dtype(dtype)
    if kind.hasobject:
        raise TypeError(
            f"empty(dtype={kind}): Python objects can't be in shared memory; make the "
            "array by numpy.empty"
        )
    try:
        lengths: tuple[int, ...] = (operator.index(shape),)  # type: ignore[arg-type]
    except TypeError:  # several
        lengths = tuple(operator.index(length) for length in shape)  # type: ignore[union-attr]
    if any(length < 0 for length in lengths):
        raise ValueError(f"empty({shape}): negative numbers of items are not possible")
    nbytes = math.prod(lengths) * kind.itemsize
    made = buffer(nbytes)
    array: np.ndarray[Any, Any] = np.ndarray(lengths, kind, made, order=order)
    return array


def buffer(nbytes: int) -> memoryview:
    """Make a writable buffer in shared memory; its contents are arbitrary.

    It is sent as an object that pickles out of band, such as an array over it or a
    `pickle.PickleBuffer` of it, without being copied; a `memoryview` itself can't be
    sent. Thread-safe. It owns its memory; views of it keep it.

    Args:
        nbytes: Its size in bytes.

    Raises:
        MemoryError: There is not so much memory.
        ValueError: It is negative.
    """
    nbytes = operator.index(nbytes)
    if nbytes < 0:
        raise ValueError(f"buffer({nbytes}): a size can't be negative")
    made = _allocated(nbytes) if nbytes >= pieces.LEAST else None
    return memoryview(bytearray(nbytes)) if made is None else made


def _allocated(nbytes: int) -> memoryview | None:
    if pieces.Source.ask is None:
        from entangle._pool import pool
        from entangle._run.replaced import inline

        if inline():
            return None
        try:
            pool.get()
        except PlatformError:
            return None
    from entangle._worker import memory

    return memory.allocate(nbytes)
