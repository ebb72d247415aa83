"""How much memory can still be had."""

from __future__ import annotations

from entangle._worker import processors

_MEMINFO = "proc/meminfo"


def available() -> int:
    """Return how many bytes can be used without taking them from another program.

    By the kernel's own estimate, and by what the cgroups of this process allow.
    """
    found = _machine()
    try:
        return min(found, _group())
    except (OSError, ValueError, KeyError):
        return found


def _machine() -> int:
    try:
        fields = _fields(processors.read(_MEMINFO))
        return (fields["MemAvailable:"] + fields["SwapFree:"]) * 1024
    except (OSError, ValueError, KeyError):
        return 1 << 62


def _group() -> int:
    found = 1 << 62
    for folder in processors.cgroup_folders():
        try:
            most = processors.read(f"{folder}/memory.max").strip()
            if most == "max":
                continue
            used = int(processors.read(f"{folder}/memory.current"))
            # What the kernel can give back at once.
            used -= _fields(processors.read(f"{folder}/memory.stat")).get(
                "inactive_file", 0
            )
        except FileNotFoundError:
            continue
        found = min(found, max(0, int(most) - used))
    return found


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split()[:2] for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1}
