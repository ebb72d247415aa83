"""What pytest learns of Entangle: ``--entangle-target``.

A module of its own beside the package: pytest loads it with every session, so it must
cost next to nothing; and the entry point of a plugin must be in no namespace package, or
else pytest takes the package's modules for top-level ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

OPTION = "--entangle-target"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    parser.getgroup("entangle").addoption(
        OPTION,
        metavar="TARGET",
        help="judge an installed backend by Entangle's conformance suite: the name of "
        "an executor, with options where it needs some, as in 'onprem(host=\"x\")'",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Without further arguments, run the suite alone."""
    if config.getoption(OPTION) is not None:
        from entangle.testing import targets

        targets.configure(config)
