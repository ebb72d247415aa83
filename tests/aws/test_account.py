"""Who is asking, where, and what is said when it is refused: against the books alone."""

import base64
import contextlib
import re
import socket
import sys
import threading
import time
from functools import partial

import pytest
from aws_proxy import asked_of
from botocore.exceptions import ClientError, EndpointConnectionError

from entangle.aws import AwsError, _sdk, aws, lmbda
from entangle.aws._account import account
from entangle.aws._ec2 import Ec2Executor
from entangle.aws._fargate import FargateExecutor
from entangle.aws._lambda import LambdaExecutor
from entangle.aws._runtime import Runtime
from entangle.aws._s3 import S3Store
from entangle.aws.errors import translated
from entangle.backend import Job, Pace
from entangle.errors import JobError, PlaceBusyError
from entangle.task import shutdown
from entangle.testing import RecordedCall

pytestmark = pytest.mark.usefixtures("books")
ROLE = "arn:aws:iam::123456789012:role/worker"


@pytest.fixture
def session():
    """Make sessions that are closed at the end."""
    made = []

    def make(**options):
        made.append(_sdk.session(account(**options)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def runtime(session, **options):
    wanted = {
        "memory": 256,
        "timeout": 60,
        "packages": (),
        "architecture": "x86_64",
        "python": "",
        "storage": 512,
        "concurrency": 0,
        "role": "entangle-lambda",
        "bucket": "",
        "layers": (),
    }
    return Runtime(session, **(wanted | options))


# -- roles, profiles, regions ----------------------------------------------------------


def test_a_role_is_taken_on(proxy, session):
    found = session(role=ROLE)
    assert found.number == "123456789012"
    taken, used = proxy.asked
    assert (taken.operation, taken.key) == ("AssumeRole", "testing")
    assert used.operation == "GetCallerIdentity"
    assert used.key not in {"testing", ""}


def test_a_role_is_taken_on_once(proxy, session):
    found = session(role=ROLE)
    for service in ("s3", "lambda", "ecs", "s3"):
        found.client(service)
    assert session(role=ROLE) is found
    assert proxy.count("AssumeRole") == 1


def test_a_role_is_renewed_before_it_expires(proxy, session):
    """Also by clients that were made before; nobody else does it at the same time."""
    found = session(role=ROLE)
    before = found.client("s3")
    before.list_buckets()
    found._expires = time.time() + 200  # as if it was taken on long ago
    threads = [threading.Thread(target=found.client, args=("s3",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxy.count("AssumeRole") == 2
    proxy.asked.clear()
    after = found.client("s3")
    after.list_buckets()
    before.list_buckets()  # a request that is under way is not cut off
    assert proxy.asked[0].key != proxy.asked[1].key
    before.close()


def lengths(proxy):
    asked = [each for each in proxy.asked if each.operation == "AssumeRole"]
    return [each.form.get("DurationSeconds") for each in asked]


TOO_LONG = (
    "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
)
CHAINED = (
    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed "
    "by role chaining"
)


@pytest.mark.parametrize(
    ("code", "text", "times", "expected"),
    [
        ("", "", 0, ["43200"]),
        ("ValidationError", TOO_LONG, 2, ["43200", "21600", "10800"]),
        ("ValidationError", TOO_LONG, 3, ["43200", "21600", "10800", None]),
        ("ValidationError", CHAINED, 1, ["43200", None]),
        ("AccessDenied", "by a condition", 1, ["43200", None]),
    ],
)
def test_a_role_is_taken_on_for_as_long_as_it_allows(
    proxy, session, code, text, times, expected
):
    """What it allows is found out once."""
    if times:
        proxy.refuse("AssumeRole", code, text, times=times)
    found = session(role=ROLE)
    found.client("s3")
    assert lengths(proxy) == expected
    found._expires = time.time() + 200
    found.client("s3")
    assert lengths(proxy) == [*expected, expected[-1]]


def signer(url):
    """Return the key that has signed an address."""
    return re.search(r"X-Amz-Credential=([^%&]+)", url)[1]


def test_a_role_is_renewed_before_it_signs(proxy, session):
    """If less than half of its time is left: what it has signed ends with it."""
    found = session(role=ROLE)
    store = S3Store(found, "")
    first = found._own.get_credentials().access_key
    life = found._expires - time.time()
    assert life > 3000
    found._expires = time.time() + life * 0.6
    assert signer(store.write_url("entangle/b", 86_400.0)) == first
    found._expires = time.time() + 310
    assert signer(store.read_url("entangle/c", 86_400.0)) != first
    assert store.good_until() - time.time() > life - 60


def test_a_role_that_can_not_be_renewed_yet_signs_on(proxy, session):
    """It is not asked for again with each address."""
    found = session(role=ROLE)
    store = S3Store(found, "")
    first = signer(store.write_url("entangle/a", 86_400.0))
    asked = proxy.count("AssumeRole")
    found._expires = time.time() + 1000
    proxy.refuse("AssumeRole", "ExpiredToken")
    for _ in range(5):
        assert signer(store.write_url("entangle/b", 86_400.0)) == first
    assert proxy.count("AssumeRole") == asked + 1
    assert store.good_until() - time.time() < 1000


@pytest.fixture
def process_credentials(tmp_path, monkeypatch):
    """Credentials that another program gives, each time for as long as it is told."""
    program = """
import datetime, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
number = len(list(folder.glob("asked-*")))
(folder / f"asked-{number}").touch()
seconds = float((folder / "seconds").read_text())
ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
print(json.dumps({
    "Version": 1, "AccessKeyId": f"KEY{number}", "SecretAccessKey": "other",
    "SessionToken": "token", "Expiration": ends.isoformat(),
}))
"""
    (tmp_path / "program.py").write_text(program)
    command = f"{sys.executable} {tmp_path / 'program.py'} {tmp_path}"
    config = tmp_path / "config"
    config.write_text(
        f"[profile other]\nregion = eu-west-3\ncredential_process = {command}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def last(seconds):
        (tmp_path / "seconds").write_text(str(seconds))

    return last


def test_credentials_that_boto3_renews_are_renewed_before_they_sign(
    process_credentials, session
):
    """Half of their time is over, where botocore waits until ten minutes are left."""
    process_credentials(7200)
    found = session(profile="other")
    store = S3Store(found, "some")
    assert signer(store.write_url("entangle/a", 86_400.0)) == "KEY0"
    assert 7100 < store.good_until() - time.time() <= 7200
    found._life = 20_000.0  # as if it had been long ago
    process_credentials(20_000)
    assert signer(store.write_url("entangle/b", 86_400.0)) == "KEY1"
    assert store.good_until() - time.time() > 19_900


def test_credentials_that_were_had_for_long_are_renewed_when_they_first_sign(
    process_credentials, session
):
    process_credentials(3000)
    found = session(profile="other")
    store = S3Store(found, "some")
    found.client("sts")
    found._since -= 4000
    process_credentials(7200)
    assert signer(store.write_url("entangle/a", 86_400.0)) == "KEY1"


def test_credentials_that_can_not_be_had_for_longer_sign_on(
    process_credentials, session, tmp_path
):
    """Those of a machine, say, which are the same for hours, whoever asks."""
    process_credentials(7200)
    found = session(profile="other")
    store = S3Store(found, "some")
    store.good_until()
    process_credentials(3000)
    found._life = 20_000.0
    for _ in range(5):
        assert signer(store.write_url("entangle/a", 86_400.0)) == "KEY0"
    assert len(list(tmp_path.glob("asked-*"))) == 2


@pytest.mark.parametrize("where", ["itself", "source"])
def test_nobody_is_asked_for_a_code_before_it_is_time(
    process_credentials, session, tmp_path, where
):
    process_credentials(7200)
    config = tmp_path / "config"
    more = "mfa_serial = arn:aws:iam::1:mfa/x\n"
    if where == "source":
        more = f"source_profile = base\n[profile base]\n{more}"
    config.write_text(config.read_text() + more)
    found = session(profile="other")
    store = S3Store(found, "some")
    store.good_until()
    found._life = 20_000.0
    assert signer(store.write_url("entangle/a", 86_400.0)) == "KEY0"
    assert len(list(tmp_path.glob("asked-*"))) == 1


def test_keys_do_not_end(session):
    """Nor is it known of those with a token."""
    store = S3Store(session(keys=["key", "secret", "token"]), "some")
    assert store.good_until() - time.time() == pytest.approx(7 * 86_400, abs=60)


def test_a_role_that_may_not_be_taken_on(proxy, session):
    text = f"User: u is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    proxy.refuse("AssumeRole", "AccessDenied", text, status=403)
    with pytest.raises(AwsError) as caught:
        session(role=ROLE).client("s3")
    assert caught.value.action == "sts:AssumeRole"
    assert caught.value.service == "sts"
    assert caught.value.resource == f"role {ROLE}"


@pytest.fixture
def profile(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text(
        "[profile other]\nregion = eu-west-3\n"
        "aws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("profile")
def test_a_profile_has_keys_and_region(proxy, session):
    session(profile="other").client("s3").list_buckets()
    session(profile="other", region="eu-west-1").client("s3").list_buckets()
    assert [(each.key, each.region) for each in proxy.asked] == [
        ("AKIAOTHER", "eu-west-3"),
        ("AKIAOTHER", "eu-west-1"),
    ]


def test_a_profile_that_is_not_there(session):
    with pytest.raises(AwsError, match=r"@aws\(profile=") as caught:
        session(profile="nobody").client("s3")
    assert "nobody" in str(caught.value)


def test_no_region(session, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(AwsError, match=r"@aws\(region="):
        session().client("lambda")


def test_a_region_that_there_is_not(session, monkeypatch):
    with pytest.raises(AwsError, match=r"@aws\(region="):
        session(region="Frankfurt am Main").client("lambda")
    # One that could be is found out by its address.
    error = EndpointConnectionError(endpoint_url="https://lambda.eu-middle-1.aws")
    assert translated(error, "lambda", "f") is None
    assert "name of the region" in error.__notes__[0]


# -- what is refused -------------------------------------------------------------------


def called(**options):
    """Give a shipped call to Lambda and return how it ended."""
    with LambdaExecutor(aws=account(), memory=256, **options) as executor:
        call = RecordedCall(abs, -1)
        executor.start(call)
        return call.end(60).detail


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize(
    ("operation", "action", "resource"),
    [
        ("GetFunctionConfiguration", "lambda:GetFunctionConfiguration", "entangle-py"),
        ("CreateFunction", "lambda:CreateFunction", "entangle-py"),
        ("GetRole", "iam:GetRole", "role entangle-lambda"),
        ("Invoke", "lambda:InvokeFunction", "entangle-py"),
        ("PutFunctionConcurrency", "lambda:PutFunctionConcurrency", "entangle-py"),
        ("PutObject", "s3:PutObject", "s3://values/entangle/"),
    ],
)
def test_access_denied_names_what_is_missing(
    proxy, operation, action, resource, client
):
    """Also where AWS itself does not."""
    client("s3").create_bucket(Bucket="values")
    proxy.refuse(operation, "AccessDeniedException", status=403)
    error = called(bucket="values", concurrency=3)
    assert isinstance(error, AwsError), error
    assert error.action == action
    assert error.resource.startswith(resource)
    assert action in str(error)


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("operation", ["GetFunctionConfiguration", "Invoke"])
def test_credentials_that_have_expired(proxy, operation):
    proxy.refuse(operation, "ExpiredTokenException", status=403)
    error = called()
    assert "have expired" in str(error)
    assert error.code == "ExpiredTokenException"


@pytest.mark.usefixtures("role")
def test_credentials_that_are_not_valid(proxy):
    proxy.refuse("GetFunctionConfiguration", "UnrecognizedClientException", status=403)
    assert "not valid" in str(called())


def test_quotas_are_waited_for():
    text = "You've reached the limit on the number of vCPUs you can run concurrently"
    said = {"Error": {"Code": "ClientException", "Message": text}}
    error = translated(ClientError(said, "RunTask"), "ecs", "cluster default")
    assert isinstance(error, PlaceBusyError)


@pytest.mark.parametrize(
    ("executor", "operation", "action"),
    [
        *(
            (partial(FargateExecutor, security_groups=["sg-1"]), operation, action)
            for operation, action in (
                ("RunTask", "ecs:RunTask"),
                ("RegisterTaskDefinition", "ecs:RegisterTaskDefinition"),
                ("DescribeTaskDefinition", "ecs:DescribeTaskDefinition"),
                ("DescribeSubnets", "ec2:DescribeSubnets"),
                ("GetCallerIdentity", "sts:GetCallerIdentity"),
            )
        ),
        *(
            (Ec2Executor, operation, action)
            for operation, action in (
                ("RunInstances", "ec2:RunInstances"),
                ("GetParameter", "ssm:GetParameter"),
                ("DescribeVpcs", "ec2:DescribeVpcs"),
                ("DescribeSecurityGroups", "ec2:DescribeSecurityGroups"),
            )
        ),
        (partial(Ec2Executor, disk=9), "DescribeImages", "ec2:DescribeImages"),
        (
            partial(Ec2Executor, subnet="subnet-1"),
            "DescribeSubnets",
            "ec2:DescribeSubnets",
        ),
    ],
)
def test_what_a_place_lacks_to_begin_is_named(
    proxy, client, executor, operation, action
):
    client("ecs").create_cluster(clusterName="default")
    code = "UnauthorizedOperation" if action[:3] == "ec2" else "AccessDeniedException"
    proxy.refuse(operation, code, status=403)
    with executor() as place, pytest.raises(AwsError) as caught:
        place.create(JOB)
    assert caught.value.action == action
    assert f"{action} is not allowed" in str(caught.value)


@pytest.mark.parametrize(
    ("executor", "operation", "action"),
    [
        (FargateExecutor, "DescribeTasks", "ecs:DescribeTasks"),
        (FargateExecutor, "StopTask", "ecs:StopTask"),
        (Ec2Executor, "DescribeInstances", "ec2:DescribeInstances"),
        (Ec2Executor, "TerminateInstances", "ec2:TerminateInstances"),
    ],
)
def test_what_a_place_lacks_to_go_on_is_named(proxy, executor, operation, action):
    proxy.refuse(operation, "UnauthorizedOperation", status=403)
    with executor() as place, pytest.raises(AwsError) as caught:
        if operation[:8] == "Describe":
            place.poll(["i-1"])
        else:
            place.delete("i-1", over=False)
    assert caught.value.action == action


def test_keys_are_in_nothing_that_is_asked(proxy, client):
    """But for what they sign: neither in payloads, user data, overrides nor tags."""
    client("ecs").create_cluster(clusterName="default")
    secret = "wJalr" + 4 * "XUtn"
    seen, answer = [], proxy.answer

    def noted(method, path, headers, body):
        seen.append(f"{method} {path} {dict(headers)} {body.decode(errors='replace')}")
        seen[-1] += base64.b64decode(
            asked_of(method, path, headers, body).form.get("UserData", "")
        ).decode()
        return answer(method, path, headers, body)

    proxy.answer = noted
    keys = ["AKIA" + 3 * "IOSF", secret]
    own = account(keys=keys, region="us-east-1")
    for executor in (
        FargateExecutor(aws=own, security_groups=["sg-1"]),
        Ec2Executor(aws=own),
    ):
        with executor as place:
            call = RecordedCall(abs, -1)
            place.start(call)
            wanted = "RunTask" if "Fargate" in repr(type(place)) else "RunInstances"
            patience = time.monotonic() + 60
            while not proxy.count(wanted) and time.monotonic() < patience:
                threading.Event().wait(0.05)
            place.cancel(call, 0.0)
        assert proxy.count(wanted) == 1
    assert any("ENTANGLE_JOB" in each for each in seen)
    assert not [each for each in seen if secret in each]


# -- addresses that are signed ---------------------------------------------------------


@pytest.mark.parametrize("action", ["read_url", "write_url"])
def test_addresses_are_those_of_the_region(session, monkeypatch, action):
    """One of no region is redirected while its bucket is new, and its signature fails."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    here = session(keys=["access", "secret"], region="eu-central-1")
    url = getattr(S3Store(here, "b-1"), action)("entangle/x", 60)
    assert url.startswith("https://b-1.s3.eu-central-1.amazonaws.com/entangle/x?")


def test_addresses_of_a_stand_in_are_its_own(session, books):
    url = S3Store(session(), "b-1").read_url("entangle/x", 60)
    assert url.startswith(f"{books.url}/b-1/entangle/x?")


# -- buckets ---------------------------------------------------------------------------


def whose(proxy, store):
    """Return the accounts that what a store asks names as the bucket's."""
    named, answer = [], proxy.answer

    def noted(method, path, headers, body):
        named.append(headers.get("x-amz-expected-bucket-owner"))
        return answer(method, path, headers, body)

    proxy.answer = noted
    store.put("entangle/x", b"data")
    assert store.get("entangle/x") == b"data"
    assert [each.key for each in store.list("entangle/")] == ["entangle/x"]
    store.delete(["entangle/x"])
    proxy.answer = answer
    return named


def test_a_bucket_whose_name_can_be_guessed_has_to_be_ours(proxy, session):
    """Somebody else may have taken it, to read what is sent and to answer it."""
    here = session()
    made = whose(proxy, S3Store(here, ""))
    assert made.count(None) == 1  # to make it, which is ours then
    assert set(made) == {None, here.number}
    assert set(whose(proxy, S3Store(here, ""))) == {here.number}


def test_a_bucket_that_was_named_may_be_anybodys(proxy, session, client):
    client("s3").create_bucket(Bucket="named")
    assert set(whose(proxy, S3Store(session(), "named"))) == {None}


@pytest.mark.parametrize(
    ("operation", "code", "status"),
    [("HeadBucket", "403", 403), ("PutBucket", "BucketAlreadyExists", 409)],
)
def test_a_bucket_of_somebody_else(proxy, session, client, operation, code, status):
    here = session(region="eu-west-1")
    proxy.refuse(operation, code, status=status)
    with pytest.raises(AwsError, match="name one of yours with bucket=") as caught:
        S3Store(here, "").put("entangle/x", b"")
    assert caught.value.code == code
    assert not proxy.count("PutObject")


# -- tokens ----------------------------------------------------------------------------


JOB = Job("entangle-abc-1", "f", b"", (), {}, {}, time.time() + 60, None, "")


@pytest.mark.parametrize(
    ("executor", "operation"),
    [
        (Ec2Executor, "RunInstances"),
        (partial(FargateExecutor, security_groups=["sg-1"]), "RunTask"),
    ],
)
def test_a_request_after_a_refusal_is_another(proxy, client, executor, operation):
    """AWS remembers what was refused by its token, and that it was different."""
    client("ecs").create_cluster(clusterName="default")
    bodies, answer = [], proxy.answer

    def noted(method, path, headers, body):
        bodies.append(body.decode())
        return answer(method, path, headers, body)

    proxy.answer = noted
    proxy.refuse(operation, "InsufficientInstanceCapacity", times=1)
    with executor() as place:
        with pytest.raises(PlaceBusyError):
            place.create(JOB)
        place.create(JOB)
    found = re.findall(r"entangle-abc-1-[0-9a-f]{8}", "\n".join(bodies))
    assert len(found) == len(set(found)) == 2


def test_roles_are_those_of_the_partition(proxy, client):
    """China has names of its own, and the government."""
    client("ecs").create_cluster(clusterName="default")
    proxy.tell(
        "GetCallerIdentity",
        "<GetCallerIdentityResponse><GetCallerIdentityResult>"
        "<Arn>arn:aws-us-gov:iam::123456789012:user/ann</Arn><UserId>U</UserId>"
        "<Account>123456789012</Account>"
        "</GetCallerIdentityResult></GetCallerIdentityResponse>",
    )
    with FargateExecutor(security_groups=["sg-1"], task_role="worker") as place:
        place.create(JOB)
    (arn,) = client("ecs").list_task_definitions()["taskDefinitionArns"]
    found = client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    roles = "arn:aws-us-gov:iam::123456789012:role/"
    assert found["executionRoleArn"] == f"{roles}ecsTaskExecutionRole"
    assert found["taskRoleArn"] == f"{roles}worker"


# -- what AWS does not know yet --------------------------------------------------------


PLACES = [
    (Ec2Executor, "TerminateInstances", "InvalidInstanceID.NotFound"),
    (
        partial(FargateExecutor, security_groups=["sg-1"]),
        "StopTask",
        "InvalidParameterException",
    ),
]


@pytest.mark.parametrize(("executor", "operation", "code"), PLACES)
def test_what_was_made_lately_is_there(
    proxy, client, monkeypatch, executor, operation, code
):
    """Though AWS says that it is not: it is ended, and not taken for gone."""
    monkeypatch.setattr("entangle.aws._fresh._PAUSES", (0.01,) * 5)
    client("ecs").create_cluster(clusterName="default")
    text = "The referenced task was not found."
    with executor() as place:
        handle = place.create(JOB)
        refusal = proxy.refuse(operation, code, text, times=4)
        place.delete(handle, over=False)
        assert refusal.left == [0]
        assert proxy.count(operation) == 5
        assert not list(place.find())
        # After a minute it is gone.
        monkeypatch.setattr("entangle.aws._fresh._FRESH", 0.0)
        proxy.refuse(operation, code, text)
        assert place.delete(handle, over=False)
        assert proxy.count(operation) == 6


@pytest.mark.parametrize(("executor", "operation", "code"), PLACES)
def test_what_stays_unknown_is_gone(
    proxy, client, monkeypatch, executor, operation, code
):
    monkeypatch.setattr("entangle.aws._fresh._PAUSES", (0.01,) * 5)
    client("ecs").create_cluster(clusterName="default")
    with executor() as place:
        handle = place.create(JOB)
        proxy.refuse(operation, code, "The referenced task was not found.")
        assert place.delete(handle, over=False)
    assert proxy.count(operation) == 6


@pytest.mark.parametrize(("length", "refused"), [(1_000, False), (9_000, True)])
def test_tokens_that_are_too_long_for_a_task(proxy, client, length, refused):
    """ECS takes so many characters, and a session token may be longer."""
    client("ecs").create_cluster(clusterName="default")
    job = JOB._replace(environment={"ENTANGLE_JOB": "x" * length})
    with FargateExecutor(security_groups=["sg-1"]) as place:
        if refused:
            with pytest.raises(AwsError, match="8,192 are allowed.* session token"):
                place.create(job)
        else:
            place.create(job)
    assert proxy.count("RunTask") == 1 - refused


# -- credentials that end in the middle ------------------------------------------------


@pytest.mark.parametrize("renewed", [True, False])
def test_tasks_of_credentials_that_have_expired(
    proxy, client, monkeypatch, caplog, renewed
):
    """They are ended at the close, or it is said what may still run, and until when."""
    monkeypatch.setattr(FargateExecutor, "pace", Pace(0.05, 1.2, 0.5))
    monkeypatch.setattr("entangle._jobs.inquiry.PATIENCE", 1.0)
    client("ecs").create_cluster(clusterName="default")
    for operation in ("DescribeTasks", "StopTask"):
        proxy.refuse(operation, "ExpiredTokenException", "The token has expired")
    with FargateExecutor(security_groups=["sg-12345678"]) as place:
        calls = [RecordedCall(abs, -1) for _ in range(2)]
        for call in calls:
            place.start(call)
        errors = [call.end(60).detail for call in calls]
        assert all("expired" in str(error) for error in errors)
        assert not proxy.count("StopTask")
        if renewed:
            proxy.allow()
        caplog.clear()
    said = [each for each in caplog.records if each.name == "entangle.jobs"]
    assert proxy.count("StopTask") == 2
    if renewed:
        assert not said
    else:
        (warning,) = said
        assert all(error.resource in warning.getMessage() for error in errors)
        assert "UTC at the latest" in warning.getMessage()
    # Its records hold errors, which hold the frames of connections.
    caplog.clear()


# -- functions that are made -----------------------------------------------------------


@pytest.mark.usefixtures("role")
def test_two_runs_make_the_same_function_at_once(proxy, session, client):
    """Both look, both find nothing, one makes it: the other takes that."""
    both = threading.Barrier(2)
    makes = [runtime(session()), runtime(session(region="us-east-1"))]
    for each in makes:
        make = each._make

        def at_once(uploads, make=make):
            both.wait(60)
            make(uploads)

        each._make = at_once
    names = []
    threads = [
        threading.Thread(target=lambda each=each: names.append(each.ready()))
        for each in makes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [makes[0].name] * 2
    assert proxy.count("CreateFunction") == 2
    found = client("lambda").list_functions()["Functions"]
    assert [each["FunctionName"] for each in found] == names[:1]


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_a_function_is_made_as_it_is_wanted(session, client, architecture):
    name = runtime(
        session(), architecture=architecture, python="3.13", storage=1024, concurrency=7
    ).ready()
    found = client("lambda").get_function_configuration(FunctionName=name)
    assert found["Architectures"] == [architecture]
    assert found["Runtime"] == "python3.13"
    assert found["EphemeralStorage"] == {"Size": 1024}
    kept = client("lambda").get_function_concurrency(FunctionName=name)
    assert kept["ReservedConcurrentExecutions"] == 7


@pytest.mark.usefixtures("role")
def test_layers_are_named(session, client):
    layer = client("lambda").publish_layer_version(
        LayerName="more", Content={"ZipFile": b"zip"}, CompatibleRuntimes=["python3.11"]
    )["LayerVersionArn"]
    name = runtime(session(), layers=(layer,)).ready()
    found = client("lambda").get_function_configuration(FunctionName=name)
    assert [each["Arn"] for each in found["Layers"]] == [layer]


@pytest.mark.usefixtures("role")
def test_what_differs_is_another_function(session):
    here = session()
    names = {
        runtime(here, **options).name
        for options in (
            *({}, {"memory": 512}, {"timeout": 61}, {"architecture": "arm64"}),
            *({"packages": ("six",)}, {"python": "3.13"}, {"storage": 1024}),
            *({"layers": ("l",)}, {"role": "another"}),
        )
    }
    assert len(names) == 9
    # Not what is reserved: each of them would keep its share.
    assert runtime(here, concurrency=1).name in names


@pytest.mark.usefixtures("role")
def test_a_role_that_is_not_known_everywhere_yet(proxy, session, monkeypatch):
    monkeypatch.setattr("entangle.aws._runtime._OFTEN", 0.01)
    text = "The role defined for the function cannot be assumed by Lambda."
    about = "CreateFunction", "InvalidParameterValueException", text
    refusal = proxy.refuse(*about, times=3)
    made = runtime(session())
    made.ready()
    assert refusal.left == [0]
    proxy.refuse(*about)
    monkeypatch.setattr("entangle.aws._settling._PATIENCE", 0.1)
    made = runtime(session(), memory=512)
    for _ in range(3):  # calls that come at once wait together, and not one by one
        with pytest.raises(AwsError, match="cannot be assumed.* who may assume it"):
            made.ready()
    assert proxy.count("CreateFunction") < 14


@pytest.mark.usefixtures("role")
def test_a_function_that_was_not_called_for_long(session, monkeypatch):
    made = runtime(session())
    made.ready()
    found = made._configuration()
    monkeypatch.setattr(Runtime, "_configuration", lambda _: found)
    monkeypatch.setattr("entangle.aws._runtime._PATIENCE", 0.0)
    found["State"] = "Inactive"
    assert runtime(session()).ready() == made.name
    found["State"] = "Pending"
    with pytest.raises(AwsError, match="Pending"):
        runtime(session()).ready()


def test_no_more_are_called_at_once_than_are_reserved():
    for concurrency, most in ((0, 500), (2, 2), (1000, 500)):
        with LambdaExecutor(aws=account(), concurrency=concurrency) as executor:
            assert executor.at_once == most


def test_a_network_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    error = called()
    assert isinstance(error, JobError)
    assert "127.0.0.1:1" in str(error)


@pytest.mark.parametrize("answer", ["it is done", "<p>done</p>"])
def test_an_answer_that_is_no_json(proxy, answer):
    """Functions that are there may run in runtimes of their own."""
    proxy.tell("Invoke", answer)

    @aws(keys=[])
    @lmbda(function="there")
    def there(): ...

    with pytest.raises(AwsError, match="is no JSON") as caught:
        there(1)()
    assert caught.value.resource == "there"


def test_a_function_that_wakes_up_is_waited_for(proxy):
    text = (
        "The operation cannot be performed at this time. The function is currently in "
        "the following state: Pending"
    )
    refusal = proxy.refuse("Invoke", "ResourceConflictException", text, times=2)
    told, answer = [], proxy.answer

    def woken(method, path, headers, body):
        if path.endswith("/invocations") and not refusal.left[0]:
            told.append(body)
            return 200, {"Content-Type": "application/json"}, b'"awake"'
        return answer(method, path, headers, body)

    proxy.answer = woken

    @aws(keys=[])
    @lmbda(function="there")
    def there(): ...

    assert there(1)() == "awake"
    assert told == [b"1"]


@pytest.mark.parametrize("invocation", ["wait", "forget"])
def test_what_was_sent_is_not_sent_again(monkeypatch, invocation):
    """The connection is lost: whether the function has run nobody knows."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        asked.append(connection.recv(1 << 16))

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)

        @aws(keys=["access", "secret"], region="us-east-1")
        @lmbda(function="there", invocation=invocation)
        def there(): ...

        with pytest.raises(AwsError, match="was lost while it may have run") as caught:
            there(1)()
        shutdown()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert caught.value.resource == "there"
    assert len(asked) == 1
