"""Tensors travel beside their pickle.

PyTorch has gigabytes of libraries, so the suite stands something in for it that has what
the reducer asks for; `nox -s torch` runs the same tests with the real one.
"""

import importlib.util
import pickle
import sys
import types

import numpy as np
import pytest

from entangle._worker import codec
from entangle.process import process

pytestmark = pytest.mark.process

REAL = importlib.util.find_spec("torch") is not None
MANY = 1 << 18


class Tensor:
    """What the reducer asks a tensor."""

    __module__ = "torch"

    def __init__(self, array, *, requires_grad=False, device="cpu"):
        self.array = array
        self.requires_grad = requires_grad
        self.device = types.SimpleNamespace(type=device)
        self.layout = "strided"
        self.is_quantized = False
        self.grad_fn = None

    @property
    def dtype(self):
        return f"torch.{self.array.dtype.name}"

    @property
    def shape(self):
        return self.array.shape

    def numel(self):
        return self.array.size

    def is_conj(self):
        return False

    is_neg = is_conj

    def detach(self):
        return self

    def contiguous(self):
        return Tensor(np.ascontiguousarray(self.array))

    def reshape(self, *shape):
        shape = shape[0] if type(shape[0]) is tuple else shape
        return Tensor(self.array.reshape(shape))

    def view(self, dtype):
        return Tensor(self.array.view(dtype))

    def numpy(self):
        return self.array

    def requires_grad_(self, requires_grad):
        self.requires_grad = requires_grad
        return self

    def __reduce__(self):
        return Tensor, (np.array(self.array),)


def stand_in():
    module = types.ModuleType("torch")
    module.Tensor = Tensor
    module.strided = "strided"
    module.uint8 = np.uint8
    for name in ("float32", "int64", "bool"):
        setattr(module, name, np.dtype(name))
    module.tensor = lambda data, dtype=None: Tensor(np.array(data, dtype))
    module.ones = lambda *shape: Tensor(np.ones(shape, np.float32))
    module.frombuffer = lambda buffer, dtype: Tensor(np.frombuffer(buffer, dtype))
    return module


@pytest.fixture
def torch(monkeypatch):
    if REAL:
        return pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "torch", stand_in())
    return sys.modules["torch"]


def through(tensor):
    """Encode and decode; return the tensor and the sizes of the buffers."""
    blob = codec.encode(tensor)
    sizes = [memoryview(buffer).nbytes for buffer in blob.buffers]
    return codec.decode(blob), sizes


def test_the_bytes_are_a_buffer(torch):
    sent = torch.ones(30, 100)
    got, sizes = through(sent)
    assert sizes == [12_000]
    assert got.shape == (30, 100)
    assert str(got.dtype) == "torch.float32"
    assert (got.numpy() == 1).all()
    got.numpy()[0, 0] = 5
    assert sent.numpy()[0, 0] == 1


def test_what_is_recorded_stays_so(torch):
    got, _ = through(torch.ones(2000).requires_grad_(True))
    assert got.requires_grad


@pytest.mark.parametrize("data", [[1, 2, 3], [True, False], 7, []])
def test_small_and_empty_ones(torch, data):
    got, _ = through(torch.tensor(data))
    assert got.numpy().tolist() == data


def test_one_over_memory_that_may_not_be_written(torch):
    """Of an array that was read-only: the library knows of no such thing."""
    from entangle._worker.tensors import rebuilt

    got = rebuilt(np.float32([1, 2]).tobytes(), "float32", (2,), False)
    got.numpy()[0] = 9
    assert got.numpy().tolist() == [9, 2]


@pytest.mark.skipif(REAL, reason="there are no devices to try it with")
def test_what_is_elsewhere_goes_as_its_library_sends_it(torch):
    tensor = torch.ones(5)
    tensor.device.type = "cuda"
    blob = codec.encode(tensor)
    assert not blob.buffers
    assert type(pickle.loads(blob.data)).__name__ == "Tensor"


if REAL:

    @process
    def ones(count):
        import torch

        return torch.ones(count)

    @process
    def total(tensor):
        return float(tensor.sum())

    def test_between_processes(torch):
        assert total(ones(MANY))() == MANY
        got = ones(MANY)()
        got[0] = 2
        assert torch.equal(got[1:], torch.ones(MANY - 1))
        assert total(got)() == MANY + 1
