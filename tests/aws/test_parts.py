"""Parts of entangle-aws that need neither AWS nor a stand-in."""

import itertools
import json
import pickle
from importlib import resources

import pytest
from botocore.exceptions import (
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from hypothesis import given
from hypothesis import strategies as st

from entangle.aws import AwsError, RemoteFunctionError, aws, ec2, fargate, lmbda
from entangle.aws._account import account
from entangle.aws._prices import VARIABLE, Prices
from entangle.aws._sizes import _PAIRS, fitted
from entangle.aws._ways import by_session
from entangle.aws.errors import translated
from entangle.errors import (
    CompositionError,
    OptionError,
    PlaceBusyError,
    UnknownPriceError,
)
from entangle.process import process
from entangle.run import budget
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
        ("UnrecognizedClientException", "bad token", "has the region enabled"),
        ("InvalidClientTokenId", "", "has the region enabled"),
        ("AuthFailure", "", "has the region enabled"),
        ("SignatureDoesNotMatch", "Check your Secret", "the secret key is another's"),
        ("SignatureDoesNotMatch", "Signature expired: now is later", "clock"),
        ("InvalidSignatureException", "Signature not yet current: x", "clock"),
        ("RequestTimeTooSkewed", "too large", "clock"),
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


@pytest.mark.parametrize(
    "error",
    [
        UnauthorizedSSOTokenError(),
        SSOTokenLoadError(error_msg="no token"),
        TokenRetrievalError(provider="sso", error_msg="it has expired"),
    ],
)
def test_a_sign_on_that_has_expired_is_for_good(error):
    """It was not AWS that has refused, and yet to ask again is of no use."""
    better = translated(error, "s3", "s3://b")
    assert isinstance(better, AwsError)
    assert "`aws sso login`" in str(better)
    assert "s3://b" in str(better)


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


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Have the prices of another table."""

    def use(text):
        path = tmp_path / "prices.json"
        path.write_text(text if type(text) is str else json.dumps(text))
        monkeypatch.setenv(VARIABLE, str(path))

    return use


def test_a_region_that_is_not_in_the_table_has_no_prices():
    """Others may be cheaper by far."""
    prices = Prices("mars-north-1")
    assert prices.fargate(1, 2, "ARM64") is None
    assert prices.lmbda(512, "x86_64") is None
    assert prices.ec2("t3.small") is None
    assert Prices("eu-central-1").ec2("t3.small") is None


def test_regions_with_the_prices_of_another():
    same = Prices("us-west-2").ec2("m5.large")
    assert same.second == Prices("us-east-1").ec2("m5.large").second
    assert "list prices of us-west-2" in same
    paris = Prices("eu-west-3")
    assert "list prices of eu-west-3" in paris.lmbda(512, "arm64")
    assert paris.fargate(1, 2, "X86_64") is None


@pytest.mark.parametrize(
    ("instance_type", "hour"),
    [
        ("t3.nano", 0.0052),
        ("t2.micro", 0.0116),
        ("t3.small", 0.0208),
        ("m6g.medium", 0.0385),
        ("m5.large", 0.096),
        ("c5.xlarge", 0.17),
        ("c5.18xlarge", 3.06),
        ("m6i.32xlarge", 6.144),
        ("g4dn.2xlarge", 0.752),
    ],
)
def test_sizes_of_a_family_cost_in_proportion(instance_type, hour):
    price = Prices("us-east-1").ec2(instance_type)
    assert price.second * 3600 == pytest.approx(hour, rel=1e-6)


@pytest.mark.parametrize(
    "instance_type", ["m5.metal", "p5.48xlarge", "g4dn.16xlarge", "x9.large", "m5.huge"]
)
def test_other_types_have_no_price(instance_type):
    assert Prices("us-east-1").ec2(instance_type) is None


@pytest.mark.parametrize(
    "place",
    [
        ec2(instance_type="p5.48xlarge"),
        ec2(instance_type="p5.48xlarge", via="ssm"),
        lambda function: aws(region="mars-north-1")(fargate(function)),
        lambda function: aws(region="mars-north-1")(lmbda(function)),
        lmbda(function="there", invocation="forget"),
    ],
    ids=["ec2", "kept", "fargate", "lambda", "forgotten"],
)
def test_a_budget_refuses_what_has_no_price(place):
    """Before anything is asked of AWS."""
    node = place(abs)(1)
    with budget(usd=0.01) as spent, pytest.raises(UnknownPriceError) as caught:
        node()
    assert "abs was not started" in str(caught.value)
    assert "not known" in str(caught.value)
    assert spent.tasks == 0


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_table_that_is_none_is_no_price(table, text):
    table(text)
    plan = str(ec2(abs)(1).plan())
    assert f"{VARIABLE}=" in plan
    assert "can't be used" in plan
    with budget(usd=5), pytest.raises(UnknownPriceError, match=VARIABLE):
        ec2(abs)(1)()


def test_a_function_that_is_there_is_counted_as_the_largest():
    (entry,) = lmbda(function="there")(abs)(1).plan().tasks
    assert entry.price.second == pytest.approx(0.0000166667 * 10)
    assert "most memory" in entry.price


def test_a_plan_has_the_region_of_the_profile(tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text("[profile other]\nregion = eu-central-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    plan = str(aws(profile="other")(fargate(abs))(1).plan())
    assert "list prices of eu-central-1" in plan
    assert "list prices of us-east-1" in str(fargate(abs)(1).plan())
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert "list prices of eu-central-1" in str(fargate(abs)(1).plan())
    nobody = aws(profile="nobody")(fargate(abs))(1)
    assert "list prices of us-east-1" in str(nobody.plan())


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
