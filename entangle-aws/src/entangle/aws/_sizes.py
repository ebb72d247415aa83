"""The sizes that Fargate has: pairs of vCPUs and memory."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

# vCPUs: the GB of memory that go with them.
_PAIRS: Final = {
    0.25: (0.5, 1, 2),
    0.5: (1, 2, 3, 4),
    1.0: range(2, 8 + 1),
    2.0: range(4, 16 + 1),
    4.0: range(8, 30 + 1),
    8.0: range(16, 60 + 1, 4),
    16.0: range(32, 120 + 1, 8),
}
_X86, _ARM = "X86_64", "ARM64"
_WORDS: Final = {
    "x86_64": _X86,
    "x86": _X86,
    "amd64": _X86,
    "intel": _X86,
    "amd": _X86,
    "xeon": _X86,
    "epyc": _X86,
    "arm64": _ARM,
    "arm": _ARM,
    "aarch64": _ARM,
    "graviton": _ARM,
}
_MEMORY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(GI?B?|MI?B?)?", re.IGNORECASE)


class Size(NamedTuple):
    """What a task gets.

    Attributes:
        cpu: vCPUs.
        memory: GB.
        architecture: ``X86_64`` or ``ARM64``.
        raised: What was asked for, if that is less memory than goes with the vCPUs.
    """

    cpu: float
    memory: float
    architecture: str
    raised: str = ""

    @property
    def units(self) -> str:
        """The vCPUs as Fargate counts them."""
        return str(round(self.cpu * 1024))

    @property
    def megabytes(self) -> str:
        """The memory as Fargate counts it."""
        return str(round(self.memory * 1024))

    def warning(self) -> str:
        """Return what to say of memory that was raised; empty if it was not."""
        if not self.raised:
            return ""
        return (
            f"fargate(): ram={self.raised!r} is raised to {self.memory:g} GB, the least "
            f"that goes with {self.cpu:g} vCPUs"
        )


def fitted(ram: str, cpu: float | str) -> Size:
    """Return the smallest size that has what is asked for.

    Args:
        ram: Memory: ``"2GB"``, ``"512MB"``; empty for the least that goes with ``cpu``.
        cpu: vCPUs, or a word for the architecture: then those that go with ``ram``.

    Raises:
        ValueError: There is no such size; the message lists what there is.
    """
    asked = _gigabytes(ram) if ram else 0.0
    if ram and not asked:
        raise ValueError(f"ram must be more than nothing, not {ram!r}")
    architecture = _X86
    if isinstance(cpu, str):
        if cpu:
            architecture = _architecture(cpu)
        fitting = [each for each, sizes in _PAIRS.items() if asked <= sizes[-1]]
        if not fitting:
            raise ValueError(f"ram must be 120 GB at most, not {ram!r}")
        vcpus = fitting[0]
    else:
        vcpus = float(cpu)
        if vcpus not in _PAIRS:
            raise ValueError(
                f"cpu must be one of {_listed()} vCPUs, or a word for the architecture "
                f"({_words()}), not {cpu!r}"
            )
    sizes = _PAIRS[vcpus]
    if asked > sizes[-1]:
        raise ValueError(
            f"with {vcpus:g} vCPUs there are {sizes[0]:g} to {sizes[-1]:g} GB, not "
            f"{ram!r}: take more vCPUs, {_listed()}"
        )
    memory = float(next(each for each in sizes if each >= asked))
    return Size(vcpus, memory, architecture, ram if 0 < asked < memory else "")


def _architecture(word: str) -> str:
    found = _WORDS.get(word.strip().lower())
    if found is None:
        raise ValueError(
            f"cpu is a number of vCPUs ({_listed()}) or a word for the architecture "
            f"({_words()}), not {word!r}"
        )
    return found


def _gigabytes(text: str) -> float:
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"ram must be like '2GB' or '512MB', not {text!r}")
    unit = (found[2] or "GB").upper()
    return float(found[1]) / (1024 if unit.startswith("M") else 1)


def _listed() -> str:
    return ", ".join(f"{each:g}" for each in _PAIRS)


def _words() -> str:
    return "X86_64, ARM64, Xeon, EPYC, Graviton"
