"""The suite on jobs: processes in a spool folder."""

import pytest

from entangle.testing import JobConformance

pytestmark = pytest.mark.process


class TestSpool(JobConformance):
    """The smallest place for jobs."""

    def test_a_graph_inside_of_a_job(self, executor):
        """Nobody can be asked: it runs there, and its processes end with the job."""

        def graph():
            from entangle.process import process
            from entangle.task import gather

            return gather(*[process(pow)(number, 2) for number in range(4)])()

        assert self.run(executor, graph) == [0, 1, 4, 9]

    @pytest.fixture
    def client(self, tmp_path):
        return (
            "from entangle.testing import SpoolExecutor\n"
            f"executor = SpoolExecutor(folder={str(tmp_path / 'spool')!r})\n"
        )
