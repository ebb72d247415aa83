"""What the doctor says of an account, good and bad: against the books alone."""

import pytest

from entangle._cli.main import main
from entangle.aws import _doctor, _permissions, _sdk
from entangle.aws._account import account
from entangle.aws._s3 import S3Store

pytestmark = pytest.mark.usefixtures("books")
BUCKET = "entangle-123456789012-us-east-1"


@pytest.fixture
def session():
    made = _sdk.session(account())
    yield made
    made.close()


def found(subject):
    return [each for each in _doctor.findings() if each.subject == subject]


def simulated(allowed):
    """Return what IAM says of all permissions."""
    actions = {action for some in _permissions.NEEDED.values() for action in some}
    members = "".join(
        f"<member><EvalActionName>{action}</EvalActionName><EvalDecision>"
        f"{'allowed' if action in allowed else 'implicitDeny'}</EvalDecision></member>"
        for action in sorted(actions)
    )
    return (
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult>"
        f"<IsTruncated>false</IsTruncated><EvaluationResults>{members}"
        "</EvaluationResults></SimulatePrincipalPolicyResult>"
        "</SimulatePrincipalPolicyResponse>"
    )


ALL = {action for some in _permissions.NEEDED.values() for action in some}


def as_user(proxy):
    proxy.tell(
        "GetCallerIdentity",
        "<GetCallerIdentityResponse><GetCallerIdentityResult>"
        "<Arn>arn:aws:iam::123456789012:user/ann</Arn><UserId>U</UserId>"
        "<Account>123456789012</Account>"
        "</GetCallerIdentityResult></GetCallerIdentityResponse>",
    )


@pytest.fixture
def named(client, role):
    """What tasks need that is named, and not made."""
    iam = client("iam")
    iam.create_role(RoleName="ecsTaskExecutionRole", AssumeRolePolicyDocument="{}")
    client("ecs").create_cluster(clusterName="default")


@pytest.mark.usefixtures("named")
def test_all_is_well(proxy, session, capsys):
    as_user(proxy)
    proxy.tell("SimulatePrincipalPolicy", simulated(ALL))
    S3Store(session, "").put("entangle/x", b"")
    main(["doctor"])
    out = capsys.readouterr().out
    assert f"account 123456789012, region us-east-1, by {proxy.url}" in out
    assert f"s3://{BUCKET}" in out
    for target in ("s3", "lmbda", "fargate", "ec2"):
        told = [each.text for each in found(f"aws {target}")]
        assert "what it needs is allowed" in told
    verdicts = [each.verdict for each in _doctor.findings()]
    assert set(verdicts) == {"ok"}


def test_permissions_that_are_missing_are_named(proxy):
    as_user(proxy)
    proxy.tell(
        "SimulatePrincipalPolicy", simulated(ALL - {"iam:PassRole", "s3:PutObject"})
    )
    told = {s: found(f"aws {s}")[s == "s3"] for s in ("s3", "lmbda", "fargate", "ec2")}
    assert told["s3"].text == "not allowed on all resources: s3:PutObject"
    assert told["lmbda"].text == "not allowed on all resources: iam:PassRole"
    assert told["fargate"].text == "not allowed on all resources: iam:PassRole"
    assert {each.verdict for each in told.values()} >= {"warn"}


@pytest.mark.usefixtures("named")
def test_where_permissions_can_not_be_asked_for_one_of_each_is_tried(
    proxy, monkeypatch, tmp_path
):
    """One that the target needs itself, and so that nothing comes of it."""
    (tmp_path / "session-manager-plugin").write_text("#!/bin/sh\necho 1.2.707.0\n")
    (tmp_path / "session-manager-plugin").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    as_user(proxy)
    proxy.refuse("SimulatePrincipalPolicy", "AccessDenied", status=403)
    proxy.refuse("StartSession", "TargetNotConnected", "i-0 is not connected")
    probes = {
        "lmbda": ("lambda:GetFunctionConfiguration", "AccessDeniedException"),
        "fargate": ("ecs:DescribeTaskDefinition", "AccessDeniedException"),
        "ec2": ("ec2:RunInstances", "UnauthorizedOperation"),
        "ec2 ssm": ("ssm:StartSession", "AccessDeniedException"),
    }
    every = [*_doctor.findings()]
    assert {each.verdict for each in every} == {"ok"}, every
    for target, (action, code) in probes.items():
        assert action in _permissions.NEEDED[target]
        texts = [each.text for each in every if each.subject == f"aws {target}"]
        assert f"{action} is allowed" in texts
        proxy.allow()
        proxy.refuse("SimulatePrincipalPolicy", "AccessDenied", status=403)
        proxy.refuse(action.partition(":")[2], code, status=403)
        (denied,) = (each for each in found(f"aws {target}") if each.verdict == "warn")
        assert f"{action} is not allowed" in denied.text + denied.remedy


def test_trying_a_permission_starts_nothing(session, client):
    assert _permissions.probe(session, "ec2") == "ec2:RunInstances"
    assert not client("ec2").describe_instances()["Reservations"]


def test_what_is_named_and_not_there(client, proxy):
    """It is said with what makes it, before the first task needs it."""
    as_user(proxy)
    proxy.tell("SimulatePrincipalPolicy", simulated(ALL))
    proxy.tell(
        "DescribeSubnets",
        "<DescribeSubnetsResponse><subnetSet/></DescribeSubnetsResponse>",
    )
    warned = [each for each in _doctor.findings() if each.verdict == "warn"]
    said = {each.text: each.remedy for each in warned}
    assert "execution_role=" in said["there is no role entangle-lambda"]
    assert "execution_role=" in said["there is no role ecsTaskExecutionRole"]
    assert "create-cluster" in said["there is no cluster default"]
    assert "subnets=" in said["the region has no default subnets"]
    assert len(said) == 4


@pytest.mark.parametrize("code", ["AccessDenied", "Throttling"])
def test_who_may_not_look_for_what_is_named_is_told_nothing_of_it(
    proxy, monkeypatch, code
):
    monkeypatch.setattr(_sdk, "_TRIES", 1)
    as_user(proxy)
    proxy.tell("SimulatePrincipalPolicy", simulated(ALL))
    for operation in ("GetRole", "ListTasks", "DescribeSubnets"):
        proxy.refuse(operation, code, status=403)
    assert {each.verdict for each in _doctor.findings()} == {"ok"}


def test_a_bucket_that_is_half_made(session, client):
    """Its maker was ended; the next who uses it makes the rest."""
    client("s3").create_bucket(Bucket=BUCKET)
    finding = found("aws s3")[0]
    assert finding.verdict == "warn"
    for lacking in ("no block of public access", "no rule that removes"):
        assert lacking in finding.text
    S3Store(session, "").put("entangle/x", b"")
    assert found("aws s3")[0].verdict == "ok"


def test_a_bucket_that_is_not_there_yet():
    assert "is made when it is needed" in found("aws s3")[0].text


def test_a_bucket_of_somebody_else(proxy):
    proxy.refuse("HeadBucket", "403", status=403)
    finding = found("aws s3")[0]
    assert finding.verdict == "warn"
    assert "s3:ListBucket is not allowed" in finding.text + finding.remedy


@pytest.mark.parametrize(
    ("code", "said"),
    [("ExpiredToken", "have expired"), ("InvalidClientTokenId", "not valid")],
)
def test_credentials_that_are_no_good(proxy, code, said):
    proxy.refuse("GetCallerIdentity", code, status=403)
    *_, last = _doctor.findings()
    assert last.subject == "aws"
    assert last.verdict == "warn"
    assert said in last.text + last.remedy


def test_no_region(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    *_, last = _doctor.findings()
    assert last.verdict == "warn"
    assert "AWS_DEFAULT_REGION" in last.text + last.remedy


def test_an_endpoint_where_nobody_answers(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    *_, last = _doctor.findings()
    assert last.verdict == "warn"
    assert "127.0.0.1:1" in last.text + last.remedy


class Caller:
    """A session of somebody, who may look at roles, or not."""

    def __init__(self, arn, iam=None):
        self.arn = arn
        self.client = lambda _: iam


@pytest.mark.parametrize(
    ("arn", "principal"),
    [
        ("arn:aws:iam::1:user/a/b", "arn:aws:iam::1:user/a/b"),
        ("arn:aws:sts::1:assumed-role/work/me", "arn:aws:iam::1:role/work"),
    ],
)
def test_whose_policies_count(arn, principal):
    assert _permissions._principal(Caller(arn)) == principal


def test_a_role_may_have_a_path(client):
    """Those of SSO have one, which is not in what STS says."""
    name, path = (
        "AWSReservedSSO_Admin_0123456789abcdef",
        "/aws-reserved/sso.amazonaws.com/",
    )
    iam = client("iam")
    made = iam.create_role(RoleName=name, Path=path, AssumeRolePolicyDocument="{}")
    caller = Caller(f"arn:aws:sts::123456789012:assumed-role/{name}/ann", iam)
    assert path in made["Role"]["Arn"]
    assert _permissions._principal(caller) == made["Role"]["Arn"]


def test_the_docs_name_what_is_needed():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "aws.md").read_text()
    for action in ALL:
        assert f"`{action}`" in page, action
