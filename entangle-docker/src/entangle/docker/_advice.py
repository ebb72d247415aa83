"""What to do about what an engine refuses."""

from __future__ import annotations

from typing import Final

_ADVICE: Final = (
    (
        ("could not select device driver", "nvidia", "[[gpu]]"),
        "it has no GPUs to give (the NVIDIA Container Toolkit brings them): leave "
        "consume_gpu= and gpus= out, or use an engine that has some",
    ),
    (("bind source path does not exist", "invalid mount"), "look at mounts="),
    (("unable to find user", "unable to find group", "no matching entries"), "look at user="),
    (("network",), "look at network=: `docker network ls` lists those that there are"),
    (("memory",), "look at memory="),
    (("cpus",), "look at cpus="),
    (("tmpfs",), "look at tmpfs="),
    (("working directory", "chdir", "cwd"), "look at workdir="),
    (
        ("no space left on device",),
        "the disk of the engine's machine is full: `docker system df` shows of what",
    ),
)


def refusal(image: str, said: str) -> str:
    """Say that no container can be made, why, and what to do about it."""
    lower = said.lower()
    text = f"the engine can't make a container of {image!r}: {said}"
    for words, advice in _ADVICE:
        if any(word in lower for word in words):
            return f"{text}; {advice}"
    return text
