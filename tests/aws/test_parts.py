"""Parts of entangle-aws that need neither AWS nor a stand-in."""

import itertools
import json
import pickle
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entangle.aws import AwsError, RemoteFunctionError, aws, ec2, fargate, lmbda
from entangle.aws._account import account
from entangle.aws._prices import VARIABLE, Prices
from entangle.aws._sizes import _PAIRS, fitted
from entangle.aws._ways import by_session
from entangle.aws.errors import translated
from entangle.errors import CompositionError, OptionError, PlaceBusyError
from entangle.process import process
from entangle.thread import thread

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


# -- sizes -----------------------------------------------------------------------------


@given(st.sampled_from(sorted(_PAIRS)), st.integers(1, 130 * 1024))
def test_a_size_is_one_that_fargate_has(cpu, megabytes):
    """And the least that has what is asked for."""
    sizes = _PAIRS[cpu]
    if megabytes > sizes[-1] * 1024:
        with pytest.raises(ValueError, match="take more vCPUs"):
            fitted(f"{megabytes}MB", cpu)
        return
    size = fitted(f"{megabytes}MB", cpu)
    assert size.memory in sizes
    assert size.memory * 1024 >= megabytes
    assert not any(megabytes <= each * 1024 < size.memory * 1024 for each in sizes)
    assert bool(size.raised) == (size.memory * 1024 > megabytes)


@pytest.mark.parametrize(
    ("ram", "cpu", "expected"),
    [
        ("", "", (0.25, 0.5, "X86_64")),
        ("2GB", 4, (4.0, 8.0, "X86_64")),
        ("2GB", "Xeon", (0.25, 2.0, "X86_64")),
        ("3GB", "Graviton", (0.5, 3.0, "ARM64")),
        ("512MB", "ARM64", (0.25, 0.5, "ARM64")),
        ("1.5GB", "", (0.25, 2.0, "X86_64")),  # there is nothing between 1 and 2
        ("8 GiB", "epyc", (1.0, 8.0, "X86_64")),
        ("120GB", "x86_64", (16.0, 120.0, "X86_64")),
        ("", 2, (2.0, 4.0, "X86_64")),
    ],
)
def test_sizes_by_words_and_numbers(ram, cpu, expected):
    assert tuple(fitted(ram, cpu))[:3] == expected


def test_memory_that_is_raised_is_said():
    with pytest.warns(UserWarning, match="raised to 8 GB") as caught:
        fargate(ram="2GB", cpu=4)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ({"cpu": 3}, "0.25, 0.5, 1, 2, 4, 8, 16"),
        ({"cpu": "Pentium"}, "Xeon, EPYC, Graviton"),
        ({"ram": "many"}, "'2GB' or '512MB'"),
        ({"ram": "9GB", "cpu": 1}, "2 to 8 GB"),
        ({"ram": "200GB"}, "120 GB at most"),
    ],
)
def test_sizes_that_there_are_not(options, listed):
    with pytest.raises(OptionError, match=listed):
        fargate(**options)


@pytest.mark.parametrize(
    ("decorator", "options", "said"),
    [
        (fargate, {"cluster": ""}, "cluster must not be empty"),
        (fargate, {"image": " "}, "image must not be empty"),
        (fargate, {"python": ""}, "python must not be empty"),
        (fargate, {"execution_role": ""}, "execution_role must not be empty"),
        (fargate, {"execution_role": "arn:role"}, "must be the ARN of a role"),
        (fargate, {"bucket": "Mine"}, "bucket must have 3 to 63"),
        (lmbda, {"execution_role": ""}, "execution_role must not be empty"),
        (lmbda, {"bucket": "my_bucket"}, "bucket must have 3 to 63"),
        (lmbda, {"bucket": "ab"}, "bucket must have 3 to 63"),
        (ec2, {"python": ""}, "python must not be empty"),
        (ec2, {"bucket": "10.0.0.1"}, "bucket must have 3 to 63"),
        (ec2, {"bucket": "a..b"}, "bucket must have 3 to 63"),
        (ec2, {"via": "ssm", "python": ""}, "python must not be empty"),
        (aws, {"role": "worker"}, "role must be the ARN of a role"),
    ],
)
def test_what_only_aws_would_refuse_is_refused_where_it_is_written(
    decorator, options, said
):
    with pytest.raises(OptionError, match=said):
        decorator(**options)(len)


@pytest.mark.parametrize("bucket", ["abc", "a.b-c9", "x" * 63])
def test_buckets_that_may_be(bucket):
    assert fargate(bucket=bucket)(len)


# -- who you are -----------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", [0, -1.0, 7 * 86_400 + 1])
@pytest.mark.parametrize("decorator", [fargate, ec2])
def test_lifetimes_in_which_nothing_could_be_answered(decorator, lifetime):
    """Addresses are good for seven days at most."""
    with pytest.raises(OptionError, match="lifetime must be more than 0"):
        decorator(lifetime=lifetime)(len)
    decorator(lifetime=7 * 86_400)(len)


def test_an_account_shows_no_secret():
    made = account(keys=["AKIA", SECRET], region="eu-west-1")
    decorated = aws(keys=["AKIA", SECRET])(lmbda(memory=256)(abs))
    for shown in (repr(made), str(made), repr(decorated), str(decorated(1).plan())):
        assert SECRET not in shown
        assert "AKIA" not in shown


@pytest.mark.parametrize("keys", [["one"], ["a", ""], ["a", "b", "c", "d"]])
def test_keys_that_are_none(keys):
    with pytest.raises(Exception, match="access key"):
        account(keys=keys)


def test_keys_and_profile():
    with pytest.raises(ValueError, match="exclude each other"):
        account(keys=["a", "b"], profile="c")


def test_any_order_of_decorators():
    """Every permutation of a stack says the same."""

    def body():
        return 1

    stack = [process(retry=1), aws(region="eu-west-1"), ec2(ami="ami-12345")]
    specs = set()
    for order in itertools.permutations(stack):
        made = body
        for decorator in order:
            made = decorator(made)
        (entry,) = made().plan().tasks
        specs.add((entry.place, tuple(sorted(entry.asks))))
    assert len(specs) == 1


def test_two_places_exclude_each_other():
    with pytest.raises(CompositionError):
        lmbda(memory=256)(ec2(abs))
    with pytest.raises(CompositionError):
        thread(fargate(abs))


# -- what AWS refuses ------------------------------------------------------------------


class RefusalError(Exception):
    def __init__(self, code, message="no", operation="RunTask"):
        super().__init__(message)
        self.response = {"Error": {"Code": code, "Message": message}}
        self.operation_name = operation


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        ("ExpiredTokenException", "", "have expired"),
        ("UnrecognizedClientException", "bad token", "not valid"),
        ("InvalidSignatureException", "", "not valid"),
        ("AccessDeniedException", "", "ecs:RunTask is not allowed"),
        (
            "AccessDenied",
            "User: x is not authorized to perform: iam:PassRole on resource: y",
            "iam:PassRole is not allowed",
        ),
        ("ClusterNotFoundException", "Cluster not found.", "Cluster not found"),
    ],
)
def test_refusals_say_what_to_do(code, message, said):
    error = translated(RefusalError(code, message), "ecs", "cluster default")
    assert isinstance(error, AwsError)
    assert said in str(error)
    assert error.resource == "cluster default"
    assert error.resource in str(error)
    assert error.code == code
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.service, copied.action) == ("ecs", error.action)


def test_the_missing_action_is_an_attribute():
    text = "is not authorized to perform: lambda:InvokeFunction because"
    error = translated(RefusalError("AccessDeniedException", text), "lambda", "f")
    assert error.action == "lambda:InvokeFunction"


@pytest.mark.parametrize(
    "code",
    [
        *("ThrottlingException", "TooManyRequestsException", "SlowDown"),
        *("InsufficientInstanceCapacity", "VcpuLimitExceeded"),
        *("ServiceQuotaExceededException", "RequestLimitExceeded"),
        *("OperationAborted", "ResourceNotReadyException"),
    ],
)
def test_what_passes_is_tried_again(code):
    assert isinstance(translated(RefusalError(code), "ec2", "t3.small"), PlaceBusyError)


@pytest.mark.parametrize("operation", ["RunTask", "Invoke"])
def test_a_service_in_trouble_is_no_refusal(operation):
    """But for what may have run."""
    error = RefusalError("InternalError", "try again")
    error.operation_name = operation
    error.response["ResponseMetadata"] = {"HTTPStatusCode": 500}
    found = translated(error, "any", "")
    assert isinstance(found, AwsError) == (operation == "Invoke")


def test_a_network_is_no_refusal():
    assert translated(ConnectionError("unreachable"), "ecs", "") is None


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (b'{"errorType": "E", "errorMessage": "m"}', "E", "m"),
        (b'{"errorMessage": "m"}', "", "m"),
        (b'"text"', "", "text"),
        (b"\xff no json", "", "� no json"),
        (b"[1]", "", "[1]"),
    ],
)
def test_whatever_a_function_says_of_its_error(said, kind, message):
    error = RemoteFunctionError("f", said)
    assert (error.type_name, error.message) == (kind, message)


# -- how instances are reached ----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "plugin", "expected"),
    [
        ({}, True, False),
        ({"instance_profile": "p"}, True, True),
        ({"instance_profile": "p"}, False, False),
        ({"instance_profile": "p", "via": "job"}, True, False),
        ({"instance_profile": "p", "bucket": "values"}, True, False),
        ({"instance_profile": "p", "idle": 60.0}, True, True),
        ({"via": "ssm"}, False, True),
        ({"via": "ssm", "fresh": True}, False, True),
        ({"via": "job", "bucket": "values"}, True, False),
        ({"idle": 60.0}, True, "idle= .* there is no instance_profile="),
        ({"instance_profile": "p", "calls": 1}, False, True),
        ({"via": "job", "instances": 2}, True, "instances= .* via='job' is given"),
        ({"via": "ssm", "bucket": "values"}, True, "bucket= .* via='job'"),
        (
            {"instance_profile": "p", "idle": 1.0, "bucket": "values"},
            True,
            "bucket= .* via='job'",
        ),
    ],
)
def test_instances_are_kept_where_that_is_possible(
    options, plugin, expected, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    if plugin:
        (tmp_path / "session-manager-plugin").touch(0o755)
    if isinstance(expected, str):
        with pytest.raises(OptionError, match=expected):
            ec2(**options)
        return
    plan = str(ec2(**options)(abs)(1).plan())
    assert ("over sessions of SSM" in plan) == (expected and "fresh" not in options)
    assert by_session(options) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"via": "ssh"},
        {"via": "ssm", "instances": 0},
        {"via": "ssm", "idle": -1.0},
        {"via": "ssm", "calls": 0},
        {"via": "ssm", "ami": "linux"},
        {"via": "ssm", "lifetime": 0.0},
        {"via": "ssm", "disc": 20},
    ],
)
def test_options_of_kept_instances_are_checked(options):
    with pytest.raises(OptionError):
        ec2(**options)


# -- prices ----------------------------------------------------------------------------


def test_prices_of_a_table_of_ones_own(tmp_path, monkeypatch):
    table = {
        "as_of": "today",
        "regions": {
            "here": {
                "lambda": {"request": 1.0, "gb_second": {"x86_64": 2.0}},
                "ec2": {"hour": {"t3.small": 3600.0}, "least_seconds": 60},
            }
        },
    }
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(table))
    monkeypatch.setenv(VARIABLE, str(path))
    prices = Prices("here")
    price = prices.lmbda(512, "x86_64")
    assert (price.call, price.second) == (1.0, 1.0)
    assert "list prices of here, today" in price
    assert prices.ec2("t3.small").of(1.0) == 60.0
    assert prices.fargate(1.0, 2.0, "X86_64") is None
    assert prices.ec2("x9.huge") is None


def test_a_region_that_is_not_in_the_table():
    assert "list prices of us-east-1" in Prices("mars-north-1").fargate(1, 2, "ARM64")


@pytest.mark.parametrize("decorator", [fargate, lmbda, ec2])
def test_a_plan_has_the_prices_of_the_region(decorator, monkeypatch, tmp_path):
    table = json.loads(
        resources.files("entangle.aws").joinpath("prices.json").read_text()
    )
    table["regions"]["mars-north-1"] = table["regions"]["us-east-1"]
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(table))
    monkeypatch.setenv(VARIABLE, str(path))
    task = aws(region="mars-north-1", keys=["access", SECRET])(decorator()(abs))
    plan = task(1).plan()
    assert "list prices of mars-north-1" in str(plan)
    assert SECRET not in repr(plan.tasks)
    assert "list prices of us-east-1" in str(decorator()(abs)(1).plan())


def test_plans_say_size_and_price():
    plan = str(fargate(ram="1GB")(abs)(1).plan())
    assert "0.25 vCPUs, 1 GB, X86_64, in cluster 'default'" in plan
    assert "USD an hour" in plan
    assert "an instance t3.small" in str(ec2(abs)(1).plan())


def test_doctor_without_credentials(tmp_path, monkeypatch):
    from entangle.aws import _doctor

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    found = list(_doctor.findings())
    assert [each.verdict for each in found] == ["ok", "warn"]
    assert "aws configure" in found[1].remedy
