"""How often the kernel has ended processes of this place because memory ran out."""

from __future__ import annotations

# Of the control group (a container sees its own here), by its second and its first
# version; and of the whole machine.
_COUNTERS = (
    "/sys/fs/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/proc/vmstat",
)


def kills() -> int:
    """Return the number; 0 where the system doesn't tell."""
    for path in _COUNTERS:
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - pathlib would be an import only for that
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            word, _, count = line.partition(b" ")
            if word == b"oom_kill" and count.strip().isdigit():
                return int(count)
    return 0
