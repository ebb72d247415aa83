"""Tasks on Lambda, really executed in containers behind the stand-in."""

import pytest
from entangle.aws import aws, lmbda

pytestmark = [pytest.mark.integration, pytest.mark.process]


@pytest.fixture(autouse=True)
def _role(role):
    pass


def test_a_task_is_shipped():
    @aws(keys=[])
    @lmbda(memory=256)
    def double(number):
        print("doubling", number)
        return 2 * number

    assert double(21)() == 42
