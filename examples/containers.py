"""The same function in containers of several images, and here.

    python examples/containers.py [IMAGE...]

Needs `entangle-docker` and a Docker Engine. Each image needs a CPython 3.9 or newer and
nothing else; one that the engine has not is pulled.
"""

import sys

from entangle.docker import DockerError, docker
from entangle.process import process
from entangle.task import gather

IMAGES = ("python:3.12-slim", "python:3.13-slim")


def digits(number: int) -> str:
    """Say how many digits a factorial has, and who found out."""
    import math
    import platform

    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    count = len(str(math.factorial(number)))
    return f"{number}! has {count} digits, says Python {platform.python_version()}"


def main(images: tuple[str, ...]) -> None:
    here = process(digits)
    there = [process(docker(image=image, network="none")(digits)) for image in images]
    nodes = [task(1000 * place) for place, task in enumerate([here, *there], 1)]
    try:
        for line in gather(*nodes)():
            print(line)
    except DockerError as error:
        sys.exit(f"containers: {error.reason}")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or IMAGES)
