"""A call as bytes that run anywhere, and its answer as bytes that come back.

For places whose other side has the same minor version of Python and this library: what
is written by `pack_call` here is run there by `run_payload`, and its answer is reported
to the call by `deliver`. Both are pickles: neither side may take them from anybody
that it wouldn't trust with its account.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from entangle._worker import codec, failures, functions
from entangle.errors import TaskError, UnpicklableError

from .call import awaited

if TYPE_CHECKING:
    from collections.abc import Callable

    from .call import Call

_VALUE, _GRAPH, _FAILED = range(3)


def pack_call(call: Call) -> bytes:
    """Encode a call's function and arguments.

    Args:
        call: The call. Its function may be defined anywhere, as for ``@process``.

    Raises:
        UnpicklableError: The function or an argument can't be sent; says which part.
    """
    try:
        function = functions.encode_function(call.function)
        blob = codec.encode((call.args, call.kwargs or {}), "arguments")
    except codec.EncodeError as error:
        raise UnpicklableError(
            path=error.path, reason=error.reason, node=call.name
        ) from error
    return _written(function, call.options.is_async, blob)


def run_payload(payload: bytes, entered: Callable[[], object] | None = None) -> bytes:
    """Run a packed call here and return its answer; what it raises is in there.

    To be called once, on the main thread of a process that has nothing else to do, so
    that the call can be ended; what arrives by value replaces the process's
    ``__main__``. Output goes to the process's own streams. Functions that can be
    imported come by name: the process needs the caller's modules on its path.

    Args:
        payload: What `pack_call` returned.
        entered: Called when the body is about to be entered: function and arguments
            are there, and a timeout counts from here.
    """
    try:
        function, is_async, blob = _read(payload)
        functions.enter_main()
        body = functions.decode_function(function)
        args, kwargs = codec.decode(blob, owned=True)
        if entered is not None:
            entered()
        value = body(*args, **kwargs)
        if is_async:
            value = awaited(value)
        kind = _VALUE
        # Where the graph is not loaded nothing can have built a node.
        if "entangle._graph.node" in sys.modules:
            from entangle._graph import pack

            if pack.contains_node(value):
                kind, value = _GRAPH, pack.pack(value)
        return _written(b"", kind, codec.encode(value, "result"))
    except BaseException as error:
        cause = error.__cause__
        if type(error) is codec.DecodeError and cause is not None:
            error = cause
        return _written(failures.encode_failure(error), _FAILED, None)


def deliver(call: Call, answer: bytes) -> None:
    """Report the answer of a packed call: exactly one of its ends.

    Args:
        call: The call.
        answer: What `run_payload` returned; damaged bytes are reported as a failure.
    """
    failures.task_error = TaskError
    try:
        failure, kind, blob = _read(answer)
    except Exception as error:
        call.failed(TaskError(type(error).__name__, f"its answer is damaged: {error}"))
        return
    if kind == _FAILED:
        call.failed_encoded(failure)
    elif kind == _GRAPH:
        call.returned_graph(blob)
    else:
        tell_value(call, blob)


def tell_value(call: Call, blob: codec.Blob) -> None:
    """Report an encoded value, whose buffers belong to the call alone."""
    try:
        value = codec.decode(blob, owned=True)
    except codec.DecodeError as error:
        text = f"its value can't be rebuilt here: {error}"
        call.failed(TaskError(type(error.__cause__ or error).__name__, text))
    else:
        call.succeeded(value)


def _written(head: bytes, kind: Any, blob: codec.Blob | None) -> bytes:
    parts = None
    if blob is not None:
        data, *buffers = codec.plain((blob.data, *blob.buffers))
        parts = (data, [(bytes(b), memoryview(b).readonly) for b in buffers])
    return pickle.dumps((head, kind, parts), 5)


def _read(data: bytes) -> tuple[bytes, Any, Any]:
    head, kind, parts = pickle.loads(data)
    if parts is None:
        return head, kind, None
    # As writable as their owner's were.
    buffers = [part if readonly else bytearray(part) for part, readonly in parts[1]]
    return head, kind, codec.Blob(parts[0], buffers)
