"""Packages for another machine: wheels from a folder, as pip is told by its variables."""

import io
import tarfile
import zipfile

import pytest

from entangle.aws import AwsError, _packages, _runtime, _sdk
from entangle.aws._account import account
from entangle.aws._runtime import Runtime

WHEEL = """Wheel-Version: 1.0
Generator: test
Root-Is-Purelib: false
Tag: {tag}
"""


def metadata(name, version):
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder instead of an index, by the caller's own configuration of pip."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return tmp_path


def wheel(folder, name, tag, version="1.0", data=b""):
    """Put a wheel there that says in a file which one it is."""
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as made:
        made.writestr(f"{name}/__init__.py", f"tag = {tag!r}\n")
        made.writestr(f"{name}/data", data)
        about = f"{name}-{version}.dist-info"
        made.writestr(f"{about}/METADATA", metadata(name, version))
        made.writestr(f"{about}/WHEEL", WHEEL.format(tag=tag))
        made.writestr(f"{about}/RECORD", "")


def source(folder, name):
    """Put there what is only to be had as source."""
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as made:
        data = metadata(name, "1.0").encode()
        entry = tarfile.TarInfo(f"{name}-1.0/PKG-INFO")
        entry.size = len(data)
        made.addfile(entry, io.BytesIO(data))


def chosen(name, version, architecture):
    with _packages.installed([name], version, architecture) as folder:
        return (folder / name / "__init__.py").read_text().split("'")[1]


@pytest.mark.parametrize(
    ("version", "architecture", "tag"),
    [
        ((3, 12), "arm64", "cp312-cp312-manylinux_2_28_aarch64"),
        ((3, 12), "x86_64", "cp312-cp312-manylinux_2_28_x86_64"),
        ((3, 13), "arm64", "cp313-cp313-manylinux_2_28_aarch64"),
        # Its machines have an older library, which can't load the newer wheel.
        ((3, 11), "x86_64", "cp311-cp311-manylinux2014_x86_64"),
    ],
)
def test_wheels_are_those_of_the_functions_machine(index, version, architecture, tag):
    """Whatever this one is."""
    for python in ("cp311", "cp312", "cp313"):
        for machine in ("x86_64", "aarch64"):
            for platform in ("manylinux2014", "manylinux_2_28"):
                wheel(index, "fast", f"{python}-{python}-{platform}_{machine}")
        wheel(index, "fast", f"{python}-{python}-win_amd64")
    assert chosen("fast", version, architecture) == tag


def test_wheels_for_any_machine(index):
    wheel(index, "plain", "py3-none-any")
    wheel(index, "stable", "cp38-abi3-manylinux2014_aarch64")
    assert chosen("plain", (3, 12), "arm64") == "py3-none-any"
    assert chosen("stable", (3, 12), "arm64") == "cp38-abi3-manylinux2014_aarch64"


def test_what_is_there_as_source_alone(index):
    """It would be built for this machine."""
    source(index, "slow")
    with (
        pytest.raises(AwsError, match="Only wheels for Python 3.12 on arm64") as caught,
        _packages.installed(["slow"], (3, 12), "arm64"),
    ):
        pass
    assert "pip can't install slow" in str(caught.value)
    assert "PIP_FIND_LINKS" in str(caught.value)


def test_what_is_there_for_another_machine_alone(index):
    wheel(index, "fast", "cp312-cp312-manylinux2014_x86_64")
    with (
        pytest.raises(AwsError, match="for Python 3.12 on arm64"),
        _packages.installed(["fast"], (3, 12), "arm64"),
    ):
        pass


@pytest.mark.parametrize("name", ["--index-url=http://x", "../x", "a b", ""])
def test_what_is_no_package(index, name):
    with (
        pytest.raises(AwsError, match="pip can't install"),
        _packages.installed([name], (3, 12), "arm64"),
    ):
        pass


# -- in a function ---------------------------------------------------------------------


@pytest.fixture
def made(books, client, role):
    """Make functions whose code has packages; return what the service got."""
    sessions = []

    def make(*packages, bucket="", architecture="arm64"):
        session = _sdk.session(account())
        sessions.append(session)
        runtime = Runtime(
            session,
            memory=256,
            timeout=60,
            packages=packages,
            architecture=architecture,
            python="3.12",
            storage=512,
            concurrency=0,
            role="entangle-lambda",
            bucket=bucket,
            layers=(),
        )
        name = runtime.ready()
        return client("lambda").get_function(FunctionName=name)

    yield make
    for session in sessions:
        session.close()


def test_a_function_for_another_machine(index, made):
    wheel(index, "fast", "cp312-cp312-manylinux_2_28_aarch64")
    wheel(index, "fast", "cp312-cp312-manylinux_2_28_x86_64")
    found = made("fast")["Configuration"]
    assert found["Architectures"] == ["arm64"]
    assert found["Runtime"] == "python3.12"


def test_a_package_that_the_program_brings(index, made):
    """Which is the one that calls are pickled for."""
    wheel(index, "pluggy", "py3-none-any")
    assert made("pluggy")["Configuration"]["Runtime"] == "python3.12"


def test_code_that_is_too_large_unpacked(index, made, monkeypatch):
    monkeypatch.setattr(_runtime, "_MOST", 3 << 20)
    wheel(index, "large", "py3-none-any", data=bytes(4 << 20))
    with pytest.raises(AwsError, match="250 MB are allowed") as caught:
        made("large")
    assert caught.value.resource.startswith("entangle-py312-256-")


def test_code_that_is_too_large_to_be_sent(index, made, monkeypatch, client):
    monkeypatch.setattr(_runtime, "_DIRECT", 1 << 10)
    wheel(index, "large", "py3-none-any")
    with pytest.raises(AwsError, match=r"@lmbda\(bucket="):
        made("large")
    client("s3").create_bucket(Bucket="code")
    name = made("large", bucket="code")["Configuration"]["FunctionName"]
    (found,) = client("s3").list_objects_v2(Bucket="code")["Contents"]
    assert found["Key"] == f"entangle-functions/{name}.zip"
