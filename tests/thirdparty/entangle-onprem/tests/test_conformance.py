"""What every executor must do: Entangle's own suite."""

import pytest

pytest.importorskip("entangle_onprem", reason="entangle-onprem is not installed")

from entangle_onprem import OnpremExecutor

from entangle.testing import ExecutorConformance


class TestOnprem(ExecutorConformance):
    """A private spool, as ``@onprem`` has by default."""

    @pytest.fixture
    def executor(self):
        with OnpremExecutor(host="local") as executor:
            yield executor
