"""Tasks on Fargate, really executed in containers behind the stand-in."""

import pytest

from entangle.aws import aws, fargate
from entangle.task import shutdown

pytestmark = [pytest.mark.integration, pytest.mark.process]
IMAGE = "entangle-test/python:3.11"


@pytest.fixture(autouse=True)
def cluster(client):
    client("ecs").create_cluster(clusterName="default")


def test_a_task_is_shipped(client, capfd):
    @aws(keys=[])
    @fargate(ram="1GB", image=IMAGE)
    def double(number):
        print("doubling", number)
        return 2 * number

    assert double(21)() == 42
    assert capfd.readouterr().out == "doubling 21\n"
    shutdown()
    s3 = client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket["Name"])
