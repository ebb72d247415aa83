"""What programs share at AWS and may find half made, changed or gone: buckets and such."""

import contextlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from aws_proxy import LossError, asked_of
from botocore.exceptions import ClientError

from entangle.aws import AwsError, _ec2_group, _logs, _sdk
from entangle.aws._account import account
from entangle.aws._ec2 import Ec2Executor
from entangle.aws._fargate import FargateExecutor
from entangle.aws._lambda import LambdaExecutor
from entangle.aws._s3 import S3Store
from entangle.backend import Job

pytestmark = pytest.mark.usefixtures("books")
BUCKET = "entangle-123456789012-us-east-1"
GROUP = "/entangle/fargate"
JOB = Job("entangle-abc-1", "f", b"", (), {}, {}, time.time() + 60, None, "")
PUTS = ("PutPublicAccessBlock", "PutBucketLifecycleConfiguration")
GETS = ("GetPublicAccessBlock", "GetBucketLifecycleConfiguration")


@pytest.fixture
def session():
    made = _sdk.session(account())
    yield made
    made.close()


@pytest.fixture
def again():
    """Sessions of other programs."""
    made = []

    def make():
        made.append(_sdk.Session(account()))
        return made[-1]

    yield make
    for each in made:
        for one in each._clients.values():
            one.close()


def settings(s3):
    """Return the days of the bucket's rule, and whether the public is kept out."""
    days = blocked = None
    try:
        found = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
        days = [each["Expiration"]["Days"] for each in found]
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration"
    try:
        found = s3.get_public_access_block(Bucket=BUCKET)
        blocked = set(found["PublicAccessBlockConfiguration"].values())
    except ClientError as error:
        code = error.response["Error"]["Code"]
        assert code == "NoSuchPublicAccessBlockConfiguration"
    return days, blocked


def warnings_of(caplog):
    found = [each.getMessage() for each in caplog.records]
    caplog.clear()
    return found


# -- the bucket ------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1])
def test_a_bucket_whose_maker_was_ended_too_soon(proxy, session, client, left):
    """What it could not put is put by the next who uses it; that looks once."""
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    if left:
        blocked = {"BlockPublicAcls": True}
        s3.put_public_access_block(
            Bucket=BUCKET, PublicAccessBlockConfiguration=blocked
        )
    S3Store(session, "").put("entangle/x", b"")
    days, blocked = settings(s3)
    assert days == [15]
    assert blocked == ({True, False} if left else {True})
    assert proxy.count("PutPublicAccessBlock") == 1 - left
    proxy.asked.clear()
    S3Store(session, "").put("entangle/y", b"")
    assert [each.operation for each in proxy.asked] == ["PutObject"]


@pytest.mark.process
@pytest.mark.parametrize("operation", PUTS)
def test_a_client_that_is_killed_while_it_makes_the_bucket(
    proxy, session, client, operation
):
    program = (
        "from entangle.aws import _sdk\n"
        "from entangle.aws._account import account\n"
        "from entangle.aws._s3 import S3Store\n"
        "S3Store(_sdk.session(account()), '').put('entangle/x', b'')\n"
    )
    begun, answer = threading.Event(), proxy.answer

    def kill(method, path, headers, body):
        if asked_of(method, path, headers, body).operation == operation:
            begun.wait(60)
            killed.kill()
            killed.wait()
            raise LossError
        return answer(method, path, headers, body)

    proxy.answer = kill
    with subprocess.Popen([sys.executable, "-c", program]) as killed:
        begun.set()
        assert killed.wait(60) == -signal.SIGKILL
    proxy.answer = answer
    assert settings(client("s3")) == (None, {True} if operation != PUTS[0] else None)
    S3Store(session, "").put("entangle/y", b"")
    assert settings(client("s3")) == ([15], {True})


def test_a_bucket_that_was_just_made_is_not_looked_at(proxy, session):
    S3Store(session, "").put("entangle/x", b"")
    assert [proxy.count(each) for each in (*PUTS, *GETS)] == [1, 1, 0, 0]


def test_what_somebody_has_changed_stays(proxy, session, client):
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    rule = {"ID": "mine", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 90}}
    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]}
    )
    s3.put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration={"BlockPublicAcls": False}
    )
    S3Store(session, "").put("entangle/x", b"")
    assert settings(s3) == ([90], {False})
    assert [proxy.count(each) for each in PUTS] == [0, 0]


def test_who_may_not_put_it_is_told_once_and_who_may_does(
    proxy, session, again, client, caplog
):
    proxy.refuse("PutBucketLifecycleConfiguration", "AccessDenied", status=403)
    S3Store(session, "").put("entangle/x", b"")
    S3Store(session, "").put("entangle/y", b"")
    (warning,) = warnings_of(caplog)
    assert f"s3://{BUCKET}/ is used without a rule" in warning
    assert "s3:PutLifecycleConfiguration is not allowed" in warning
    assert settings(client("s3")) == (None, {True})
    proxy.allow()
    S3Store(again(), "").put("entangle/x", b"")
    assert settings(client("s3")) == ([15], {True})
    assert not warnings_of(caplog)


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("NotImplemented", 501)]
)
def test_who_may_not_look_uses_it_as_it_is(
    proxy, session, client, caplog, code, status
):
    """A bucket that somebody else has made for them; a stand-in that has no such thing."""
    client("s3").create_bucket(Bucket=BUCKET)
    for operation in GETS:
        proxy.refuse(operation, code, status=status)
    S3Store(session, "").put("entangle/x", b"")
    assert [proxy.count(each) for each in PUTS] == [0, 0]
    assert not warnings_of(caplog)


def test_many_who_begin_at_once_look_once(proxy, session):
    stores = [S3Store(session, "") for _ in range(8)]
    threads = [
        threading.Thread(target=each.put, args=("entangle/x", b"")) for each in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxy.count("HeadBucket") == proxy.count("PutBucket") == 1
    assert proxy.count("PutObject") == 8


def test_a_bucket_that_was_deleted_is_made_again(session, client):
    store, s3 = S3Store(session, ""), client("s3")
    store.put("entangle/x", b"")
    s3.delete_object(Bucket=BUCKET, Key="entangle/x")
    s3.delete_bucket(Bucket=BUCKET)
    store.put("entangle/x", b"data")
    assert store.get("entangle/x") == b"data"
    assert settings(s3) == ([15], {True})


def test_a_bucket_that_was_named_is_nobody_elses_business(proxy, session, client):
    client("s3").create_bucket(Bucket="named")
    S3Store(session, "named").put("entangle/x", b"")
    S3Store(session, "named").put("entangle/y", b"")
    found = [each.operation for each in proxy.asked]
    assert found == ["HeadBucket", "PutObject", "PutObject"]


def test_a_bucket_of_another_region(proxy, session, client):
    """What is signed for one region leads to nothing in another."""
    client("s3").create_bucket(
        Bucket="elsewhere",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    with pytest.raises(AwsError, match=r"it is in eu-west-1, .* us-east-1") as caught:
        S3Store(session, "elsewhere").put("entangle/x", b"")
    assert caught.value.resource == "s3://elsewhere/"
    assert not proxy.count("PutObject")


def test_who_may_not_look_at_a_bucket_may_write_to_it(proxy, session, client):
    client("s3").create_bucket(Bucket="named")
    proxy.refuse("HeadBucket", "403", status=403)
    S3Store(session, "named").put("entangle/x", b"")
    assert proxy.count("PutObject") == 1


# -- the log group ---------------------------------------------------------------------


@pytest.fixture
def ecs(client):
    client("ecs").create_cluster(clusterName="default")
    with FargateExecutor(security_groups=["sg-1"]) as place:
        yield place


def retention(client, prefix=GROUP):
    found = client("logs").describe_log_groups(logGroupNamePrefix=prefix)["logGroups"]
    return {each["logGroupName"]: each.get("retentionInDays") for each in found}


def test_a_log_group_is_made_and_looked_at_once(proxy, ecs, client):
    for _ in range(3):
        ecs.create(JOB)
    assert retention(client) == {GROUP: 7}
    assert proxy.count("CreateLogGroup") == proxy.count("DescribeLogGroups") == 1


@pytest.mark.parametrize(("days", "then"), [(None, 7), (90, 90)])
def test_a_log_group_whose_maker_was_ended_too_soon(proxy, ecs, client, days, then):
    """Though the task definition is there, which is made after it."""
    ecs.create(JOB)
    logs = client("logs")
    logs.delete_log_group(logGroupName=GROUP)
    for name in (GROUP, f"{GROUP}-of-mine"):
        logs.create_log_group(logGroupName=name)
    if days:
        logs.put_retention_policy(logGroupName=GROUP, retentionInDays=days)
    ecs._log.doubt()
    ecs.create(JOB)
    assert retention(client) == {GROUP: then, f"{GROUP}-of-mine": None}
    assert proxy.count("RegisterTaskDefinition") == 1


def test_a_log_group_that_was_deleted_is_made_again(ecs, client, monkeypatch):
    ecs.create(JOB)
    client("logs").delete_log_group(logGroupName=GROUP)
    ecs.create(JOB)  # it was looked at a moment ago
    assert retention(client) == {}
    monkeypatch.setattr(_logs, "_HOLDS", 0.0)
    ecs.create(JOB)
    assert retention(client) == {GROUP: 7}


def test_a_log_group_of_who_may_not_look(proxy, ecs, client, caplog):
    client("logs").create_log_group(logGroupName=GROUP)
    proxy.refuse("DescribeLogGroups", "AccessDeniedException")
    ecs.create(JOB)
    assert proxy.count("PutRetentionPolicy") == 0
    assert not warnings_of(caplog)
    proxy.refuse("CreateLogGroup", "AccessDeniedException")
    ecs._log.doubt()
    with pytest.raises(AwsError) as caught:
        ecs.create(JOB)
    assert caught.value.action == "logs:CreateLogGroup"


def test_a_log_that_is_kept_for_ever_is_said_once(
    proxy, ecs, client, caplog, monkeypatch
):
    monkeypatch.setattr(_logs, "_HOLDS", 0.0)
    proxy.refuse("PutRetentionPolicy", "AccessDeniedException")
    for _ in range(2):
        ecs.create(JOB)
    (warning,) = warnings_of(caplog)
    assert f"log group {GROUP} keeps what tasks have printed for ever" in warning
    assert "logs:PutRetentionPolicy is not allowed" in warning
    assert retention(client) == {GROUP: None}


def test_a_task_definition_that_was_deregistered_is_made_again(proxy, ecs, client):
    ecs.create(JOB)
    (before,) = client("ecs").list_task_definitions()["taskDefinitionArns"]
    client("ecs").deregister_task_definition(taskDefinition=before)
    proxy.refuse("RunTask", "ClientException", "TaskDefinition is inactive", times=1)
    ecs.create(JOB)
    assert proxy.count("RegisterTaskDefinition") == 2
    assert proxy.count("RunTask") == 3
    # Any other refusal is one.
    proxy.refuse("RunTask", "ClientException", "The role can't be assumed")
    with pytest.raises(AwsError, match="The role"):
        ecs.create(JOB)
    assert proxy.count("RunTask") == 4


@pytest.mark.parametrize("refused", ["", "CreateLogGroup", "DescribeLogGroups"])
def test_the_log_of_a_function_is_kept_for_days(proxy, client, refused):
    """Where that is allowed; if not, it runs all the same."""
    with contextlib.suppress(ClientError):
        client("iam").create_role(
            RoleName="entangle-lambda", AssumeRolePolicyDocument="{}"
        )
    if refused:
        code = "ThrottlingException" if refused[0] == "D" else "AccessDeniedException"
        proxy.refuse(refused, code)
    with LambdaExecutor(memory=256) as place:
        name = place._runtime.ready()
    group = f"/aws/lambda/{name}"
    assert retention(client, group) == ({} if refused else {group: 7})


# -- the security group ----------------------------------------------------------------


@pytest.fixture
def ec2(client):
    """A place, and who takes away the groups that it has made: all tests share them."""
    made = client("ec2")

    def remove():
        for each in groups(made):
            instances = [each["GroupId"]]
            for one in made.describe_instances()["Reservations"]:
                found = one["Instances"][0]
                if [g["GroupId"] for g in found["SecurityGroups"]] == instances:
                    made.terminate_instances(InstanceIds=[found["InstanceId"]])
            made.delete_security_group(GroupId=each["GroupId"])

    remove()
    with Ec2Executor() as place:
        yield place
    remove()


def groups(ec2):
    wanted = [{"Name": "group-name", "Values": ["entangle"]}]
    return ec2.describe_security_groups(Filters=wanted)["SecurityGroups"]


def group(client, *rules):
    made = client("ec2")
    (vpc,) = made.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])[
        "Vpcs"
    ]
    name = made.create_security_group(
        GroupName="entangle", Description="mine", VpcId=vpc["VpcId"]
    )["GroupId"]
    for protocol, first, last in rules:
        made.authorize_security_group_ingress(
            GroupId=name,
            IpProtocol=protocol,
            FromPort=first,
            ToPort=last,
            CidrIp="0.0.0.0/0",
        )
    return name


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([("tcp", 22, 22)], "tcp 22"),
        ([("tcp", 22, 22), ("udp", 8000, 8100)], "tcp 22, udp 8000-8100"),
        ([("-1", -1, -1)], "everything"),
    ],
)
def test_a_group_that_lets_something_in_is_not_used(proxy, ec2, client, rules, said):
    """It is somebody else's, or somebody has opened it."""
    name = group(client, *rules)
    with pytest.raises(AwsError) as caught:
        ec2.create(JOB)
    assert f"lets something in ({said})" in str(caught.value)
    assert f"@ec2(security_groups=[{name!r}])" in str(caught.value)
    assert name in caught.value.resource
    assert not proxy.count("RunInstances")
    # Who means it, says so.
    with Ec2Executor(security_groups=[name]) as place:
        place.create(JOB)


def test_a_group_that_is_there_is_used(proxy, ec2, client):
    name = group(client)
    for _ in range(2):
        ec2.create(JOB)
    asked = [each.form for each in proxy.asked if each.operation == "RunInstances"]
    assert [each["SecurityGroupId.1"] for each in asked] == [name, name]
    assert proxy.count("DescribeSecurityGroups") == 1
    assert not proxy.count("CreateSecurityGroup")


def test_a_group_that_is_opened_while_it_is_used(ec2, client, monkeypatch):
    ec2.create(JOB)
    (made,) = groups(client("ec2"))
    client("ec2").authorize_security_group_ingress(
        GroupId=made["GroupId"],
        IpProtocol="tcp",
        FromPort=22,
        ToPort=22,
        CidrIp="0.0.0.0/0",
    )
    monkeypatch.setattr(_ec2_group, "_HOLDS", 0.0)
    with pytest.raises(AwsError, match="lets something in"):
        ec2.create(JOB)


def test_a_group_that_was_deleted_is_made_again(proxy, ec2, client):
    ec2.create(JOB)
    (before,) = groups(client("ec2"))
    proxy.refuse("RunInstances", "InvalidGroup.NotFound", times=1)
    client("ec2").delete_security_group(GroupId=before["GroupId"])
    ec2.create(JOB)
    (after,) = groups(client("ec2"))
    assert after["GroupId"] != before["GroupId"]
    assert proxy.count("RunInstances") == 3


def test_a_group_of_another_program_at_this_moment(proxy, ec2, client, monkeypatch):
    """It is there, and not known everywhere yet."""
    monkeypatch.setattr(_ec2_group, "_PAUSES", (0.01, 0.01))
    proxy.refuse("CreateSecurityGroup", "InvalidGroup.Duplicate", times=2)
    ec2.create(JOB)
    assert len(groups(client("ec2"))) == 1
    assert proxy.count("CreateSecurityGroup") == 3
    proxy.refuse("CreateSecurityGroup", "InvalidGroup.Duplicate")
    (made,) = groups(client("ec2"))
    client("ec2").delete_security_group(GroupId=made["GroupId"])
    ec2._machines._group.doubt()
    with pytest.raises(AwsError, match="Duplicate"):
        ec2.create(JOB)
