"""What lies in the bucket for the calls of whole programs: no key that any task was given."""

import os
import subprocess
import sys

import pytest
from life_kit import until

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("books")]
KEY = "the-secret-of-this-account"
OTHER = "SECRET-OF-ANOTHER-ACCOUNT"

PROGRAM = """
import sys
from entangle.aws import aws, fargate, lmbda
{head}

@aws(keys={keys}, region="us-east-1")
@fargate(security_groups=["sg-12345678"])
def here(x):
    {body}

@aws(keys={others}, region="us-east-1")
@lmbda()
def there(x):
    return x + 1

if __name__ == "__main__":
    future = here(3).submit()
    if {waits}:
        sys.stdin.readline()
        future.cancel()
    try:
        future.result(60)
    except BaseException as error:
        print(type(error).__name__, error)
"""
SETTINGS = f'PASSWORD = "hunter2-of-the-database"\nKEYS = ["AKIAOTHER", "{OTHER}"]\n'
HELPER = "def square(x):\n    return x * x\n"


def objects(s3):
    for bucket in s3.list_buckets()["Buckets"]:
        found = s3.list_objects_v2(Bucket=bucket["Name"], Prefix="entangle/")
        for each in found.get("Contents", ()):
            where = {"Bucket": bucket["Name"], "Key": each["Key"]}
            yield each["Key"], s3.get_object(**where)["Body"].read()


def sent(client, folder, **parts):
    """Run a program until its call is in the bucket, or refused.

    Returns:
        What is in the bucket, and what the program has said.
    """
    (folder / "settings.py").write_text(SETTINGS)
    (folder / "helper.py").write_text(HELPER)
    options = {
        "head": "",
        "keys": [],
        "body": "return x * x",
        "others": [],
        "waits": True,
    }
    options.update(parts)
    (folder / "prog.py").write_text(PROGRAM.format(**options))
    client("ecs").create_cluster(clusterName="default")
    program = subprocess.Popen(
        [sys.executable, "prog.py"],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    s3, found = client("s3"), {}

    def told():
        found.update(objects(s3))
        ended = program.poll() is not None
        return ended or any(key.endswith(".call") for key in found)

    with program:
        until(told, 100)
        out, err = program.communicate("\n", timeout=100)
    assert not program.returncode, err
    return found, out


def holding(found, text):
    return [key for key, data in found.items() if text.encode() in data]


@pytest.mark.parametrize(
    "parts",
    [
        {"others": ["AKIAOTHER", OTHER]},
        {"head": "from settings import KEYS", "others": "KEYS"},
        {"keys": ["testing", KEY], "others": ["AKIAOTHER", OTHER]},
    ],
    ids=["literal", "settings", "its own, too"],
)
def test_no_key_of_a_program_is_in_a_payload(client, tmp_path, parts):
    found, said = sent(client, tmp_path, **parts)
    assert [key for key in found if key.endswith(".call")], said
    assert not holding(found, OTHER)
    assert not holding(found, KEY)
    assert not holding(found, "hunter2")
    assert "CancelledError" in said


def test_a_helper_of_the_programs_own_is(client, tmp_path):
    body = "import helper; return helper.square(x)"
    found, said = sent(client, tmp_path, body=body, others=["AKIAOTHER", OTHER])
    assert holding(found, "return x * x"), said
    assert not holding(found, OTHER)


def test_a_module_that_holds_keys_of_another_place_is_refused(client, tmp_path):
    found, said = sent(
        client,
        tmp_path,
        head="from settings import KEYS",
        others="KEYS",
        body="import settings; return settings.PASSWORD",
        waits=False,
    )
    assert not holding(found, OTHER)
    assert "UnpicklableError" in said
    assert "the module settings" in said
