"""The suite on jobs: processes in a spool folder."""

import pytest

from entangle.testing import ExecutorConformance
from entangle.testing.spool import SpoolExecutor

pytestmark = pytest.mark.process


class TestSpool(ExecutorConformance):
    """The smallest place for jobs."""

    @pytest.fixture
    def executor(self, tmp_path):
        with SpoolExecutor(folder=str(tmp_path / "spool")) as executor:
            yield executor
