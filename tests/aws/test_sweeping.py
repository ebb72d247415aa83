"""What a sweep finds in an account: against the books alone."""

import json
import time

import pytest
from moto.moto_api import state_manager

from entangle._jobs.owner import Owner
from entangle._jobs.session import EXPIRES, OWNED_BY
from entangle.aws import AwsError, _doctor, _sweeping

pytestmark = pytest.mark.usefixtures("books")
DEFAULT = "entangle-123456789012-us-east-1"


def left(s3, bucket, *, gone=True):
    """Leave what a client leaves in a bucket."""
    owner = Owner.this()
    if gone:
        owner = owner._replace(started=owner.started + 1)
    record = {OWNED_BY: str(owner), EXPIRES: str(int(time.time() + 3600))}
    for name, data in (("owner.json", json.dumps(record).encode()), ("x.call", b"")):
        s3.put_object(Bucket=bucket, Key=f"entangle/abc/{name}", Body=data)


def found():
    return [(each.kind, each.name) for each in _sweeping.leftovers(0.0)]


@pytest.fixture
def s3(client):
    made = client("s3")
    for name in (DEFAULT, "named", "of-others"):
        made.create_bucket(Bucket=name)
    return made


def test_buckets_that_were_named(s3):
    left(s3, DEFAULT)
    left(s3, "named")
    left(s3, "of-others", gone=False)
    assert found() == [
        ("objects", f"s3://{DEFAULT}/entangle/abc/"),
        ("objects", "s3://named/entangle/abc/"),
    ]
    for leftover in _sweeping.leftovers(0.0):
        leftover.remove()
    assert not found()
    assert s3.list_objects_v2(Bucket="named")["KeyCount"] == 0


def test_buckets_that_may_not_be_listed(proxy, s3):
    """Then the one that is used by default."""
    left(s3, DEFAULT)
    left(s3, "named")
    proxy.refuse("GetBucket", "AccessDenied", status=403)
    assert found() == [("objects", f"s3://{DEFAULT}/entangle/abc/")]


def test_buckets_that_may_not_be_read(proxy, s3):
    left(s3, DEFAULT)
    proxy.refuse("ListObjectsV2", "AccessDenied", times=1, status=403)
    # The first is refused, the others are looked into all the same.
    left(s3, "named")
    assert len(found()) == 1


def test_who_may_not_look_everywhere_looks_where_it_may(proxy, s3):
    """Who uses instances alone may know nothing of clusters."""
    left(s3, DEFAULT)
    for operation in ("DescribeInstances", "ListClusters", "ListTasks"):
        proxy.refuse(operation, "AccessDeniedException", status=400)
    leftovers = _sweeping.leftovers(0.0)
    assert next(leftovers).name == f"s3://{DEFAULT}/entangle/abc/"
    with pytest.raises(AwsError) as caught:
        next(leftovers)
    for action in ("ec2:DescribeInstances", "ecs:ListTasks"):
        assert f"{action} is not allowed" in str(caught.value)


def test_a_cluster_that_may_not_be_read_keeps_nobody_from_the_others(proxy, client):
    ecs = client("ecs")
    for name in ("of-others", "one", "two"):
        ecs.create_cluster(clusterName=name)
    refusal = proxy.refuse("ListTasks", "AccessDeniedException", times=1)
    leftovers = _sweeping.leftovers(0.0)
    with pytest.raises(AwsError, match="ecs:ListTasks is not allowed"):
        next(leftovers)
    assert refusal.left == [0]
    assert proxy.count("ListTasks") >= 3
    for name in ("of-others", "one", "two"):
        ecs.delete_cluster(cluster=name)


@pytest.mark.parametrize(
    ("vendor", "disabled", "asked"),
    [("Amazon EC2", "", True), ("Amazon EC2", "true", False), ("QEMU", "", False)],
)
def test_a_machine_may_have_a_role(monkeypatch, tmp_path, vendor, disabled, asked):
    """Nobody is asked for that: a machine of EC2 says what it is."""
    (tmp_path / "vendor").write_text(f"{vendor}\n")
    monkeypatch.setattr(_doctor, "_VENDOR", str(tmp_path / "vendor"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", disabled)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert _doctor.wanted() == asked


def test_nothing_is_asked_without_credentials(proxy, monkeypatch, caplog):
    """Which is said: nobody is to believe that nothing is left."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert not found()
    assert not proxy.asked
    assert "AWS is not swept: there are no credentials" in caplog.text


def test_tasks_and_instances_of_clients_that_are_gone(client):
    before = state_manager.get_transition("ecs::task")
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 99})
    owner = Owner.this()
    tags = {
        "gone": str(owner._replace(started=owner.started + 1)),
        "here": str(owner),
    }
    ecs, ec2 = client("ecs"), client("ec2")
    ecs.create_cluster(clusterName="another")
    ecs.register_task_definition(
        family="f",
        containerDefinitions=[{"name": "c", "image": "i", "memory": 1}],
    )
    ami = ec2.describe_images()["Images"][0]["ImageId"]
    arns, instances = {}, {}
    for name, value in tags.items():
        arns[name] = ecs.run_task(
            cluster="another",
            taskDefinition="f",
            launchType="FARGATE",
            startedBy="entangle",
            tags=[{"key": OWNED_BY, "value": value}],
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
                    "securityGroups": ["sg-1"],
                }
            },
        )["tasks"][0]["taskArn"]
        instances[name] = ec2.run_instances(
            ImageId=ami,
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": OWNED_BY, "Value": value}],
                }
            ],
        )["Instances"][0]["InstanceId"]
    assert set(found()) == {("job", instances["gone"]), ("job", arns["gone"])}
    for leftover in _sweeping.leftovers(0.0):
        leftover.remove()
    assert not found()
    state_manager.set_transition("ecs::task", before)
