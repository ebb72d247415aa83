"""What the doctor says of an account, good and bad: against the books alone."""

import pytest

from entangle._cli.main import main
from entangle.aws import _doctor, _permissions

pytestmark = pytest.mark.usefixtures("books")
BUCKET = "entangle-123456789012-us-east-1"


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


def test_all_is_well(proxy, client, capsys):
    as_user(proxy)
    proxy.tell("SimulatePrincipalPolicy", simulated(ALL))
    client("s3").create_bucket(Bucket=BUCKET)
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
    told = {s: found(f"aws {s}")[-1] for s in ("s3", "lmbda", "fargate", "ec2")}
    assert told["s3"].text == "not allowed on all resources: s3:PutObject"
    assert told["lmbda"].text == "not allowed on all resources: iam:PassRole"
    assert told["fargate"].text == "not allowed on all resources: iam:PassRole"
    assert {each.verdict for each in told.values()} >= {"warn"}


def test_where_permissions_can_not_be_asked_for_one_of_each_is_tried(proxy):
    as_user(proxy)
    proxy.refuse("SimulatePrincipalPolicy", "AccessDenied", status=403)
    proxy.refuse("ListClusters", "AccessDeniedException")
    assert found("aws lmbda")[0].text == "lambda:ListFunctions is allowed"
    (denied,) = found("aws fargate")
    assert denied.verdict == "warn"
    assert "ecs:ListClusters is not allowed" in denied.text + denied.remedy


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


@pytest.mark.parametrize(
    ("arn", "principal"),
    [
        ("arn:aws:iam::1:user/a/b", "arn:aws:iam::1:user/a/b"),
        ("arn:aws:sts::1:assumed-role/work/me", "arn:aws:iam::1:role/work"),
    ],
)
def test_whose_policies_count(arn, principal):
    assert _permissions._principal(arn) == principal


def test_the_docs_name_what_is_needed():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "aws.md").read_text()
    for action in ALL:
        assert f"`{action}`" in page, action
