"""The suite on jobs: processes in a spool folder."""

import pytest

from entangle.testing import JobConformance

pytestmark = pytest.mark.process


class TestSpool(JobConformance):
    """The smallest place for jobs."""

    @pytest.fixture
    def client(self, tmp_path):
        return (
            "from entangle.testing import SpoolExecutor\n"
            f"executor = SpoolExecutor(folder={str(tmp_path / 'spool')!r})\n"
        )
