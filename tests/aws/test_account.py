"""Who is asking, where, and what is said when it is refused: against the books alone."""

import contextlib
import re
import socket
import threading
import time
from functools import partial

import pytest
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

        def at_once(make=make):
            both.wait(60)
            make()

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
            *({"concurrency": 1}, {"layers": ("l",)}, {"role": "another"}),
        )
    }
    assert len(names) == 10


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
    monkeypatch.setattr("entangle.aws._runtime._SETTLING", 0.1)
    with pytest.raises(AwsError, match="cannot be assumed"):
        runtime(session(), memory=512).ready()
    assert proxy.count("CreateFunction") < 12


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


def test_hands_are_no_more_than_what_is_reserved():
    for concurrency, hands in ((0, 24), (2, 2), (100, 24)):
        with LambdaExecutor(aws=account(), concurrency=concurrency) as executor:
            assert executor.hands == hands


def test_a_network_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    error = called()
    assert isinstance(error, JobError)
    assert "127.0.0.1:1" in str(error)


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
