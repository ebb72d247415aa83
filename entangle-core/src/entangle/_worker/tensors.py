"""PyTorch tensors of the CPU as buffers that travel beside their pickle."""

# The library is no dependency, and without its types everything of it is unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import sys
from pickle import PickleBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def reduce_tensor(tensor: Any) -> Any:
    """Reduce a dense tensor in main memory to its bytes, its type and its shape.

    Anything else goes as the library itself sends it: what is on a device, sparse,
    quantised, empty, or part of a computation that is recorded.
    """
    torch: Any = sys.modules["torch"]
    if (
        tensor.device.type != "cpu"
        or tensor.layout is not torch.strided
        or tensor.is_quantized
        or not tensor.numel()
        or tensor.grad_fn is not None
        or tensor.is_conj()
        or tensor.is_neg()
    ):
        return NotImplemented
    plain = tensor.detach().contiguous()
    flat = plain.reshape(-1).view(torch.uint8)
    kind = str(plain.dtype).rpartition(".")[2]
    buffer = PickleBuffer(flat.numpy())
    return rebuilt, (buffer, kind, tuple(tensor.shape), tensor.requires_grad)


def rebuilt(
    buffer: Any,
    kind: str,
    shape: tuple[int, ...],
    requires_grad: bool,  # noqa: FBT001 - stands in pickles
) -> Any:
    """Make a tensor over a buffer."""
    torch: Any = __import__("torch")

    if memoryview(buffer).readonly:
        buffer = bytearray(buffer)  # it knows of no memory that can't be written to
    flat = torch.frombuffer(buffer, dtype=getattr(torch, kind))
    return flat.reshape(shape).requires_grad_(requires_grad)
