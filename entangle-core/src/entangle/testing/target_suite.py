"""The conformance suite for the executor that ``--entangle-target`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from entangle_pytest import OPTION

from entangle.testing.conformance import ExecutorConformance
from entangle.testing.targets import make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle.backend import Executor


class TestTarget(ExecutorConformance):
    """What the named executor declares, it does."""

    @pytest.fixture
    def executor(self, request: pytest.FixtureRequest) -> Iterator[Executor]:
        """One executor for each test, shut down at its end."""
        text = request.config.getoption(OPTION)
        if text is None:
            pytest.skip(f"no {OPTION} was given")
        with make(text) as executor:
            yield executor
