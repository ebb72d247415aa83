"""Packages for another machine: wheels from a folder, as pip is told by its variables."""

import io
import tarfile
import zipfile

import pytest

from entangle.aws import AwsError, _packages, _runtime, _sdk, _sweeping
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


# -- what a package is known by ---------------------------------------------------------


def test_a_name_is_known_by_itself(tmp_path, monkeypatch):
    """Also where there is a folder of that name, which pip would not take for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "six").mkdir()
    for name in (
        "six",
        "six>=1",
        "./none.whl",
        "a @ https://x/a.whl",
        "git+https://x/y",
    ):
        assert _packages.identity(name) == name


@pytest.mark.parametrize(
    "named",
    [
        *(
            "./a-1.0-py3-none-any.whl",
            "a-1.0-py3-none-any.whl",
            "{}/a-1.0-py3-none-any.whl",
        ),
        *("./a-1.0-py3-none-any.whl[more]", "a @ file://{}/a-1.0-py3-none-any.whl"),
        "./a-1.0-py3-none-any.whl ; python_version > '3'",
    ],
)
def test_a_file_is_known_by_what_is_in_it(tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a-1.0-py3-none-any.whl"
    named = named.format(tmp_path)
    path.write_bytes(b"first")
    first = _packages.identity(named)
    assert _packages.identity(named) == first
    path.write_bytes(b"other")
    assert _packages.identity(named) != first
    path.write_bytes(b"first")
    assert _packages.identity(named) == first


def test_where_a_file_lies_does_not_matter(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.whl").write_bytes(b"same")
    several = {_packages.identity(str(path)) for path in tmp_path.glob("*/a.whl")}
    assert len(several) == 1


def test_a_folder_is_known_by_what_is_in_it(tmp_path, monkeypatch):
    """And not by what building it leaves there."""
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "mine" / "src" / "mine.py"
    code.parent.mkdir(parents=True)
    code.write_text("1")
    first = _packages.identity("./mine")
    for left in ("build/x", "src/mine.egg-info/x", ".git/x", "src/__pycache__/x"):
        path = tmp_path / "mine" / left
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("built")
    assert _packages.identity("./mine") == first
    code.write_text("2")
    assert _packages.identity("./mine") != first


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


def test_a_wheel_that_was_built_again(index, made):
    """Another function, though it is called the same."""
    path = str(index / "mine-1.0-py3-none-any.whl")
    names = []
    for data in (b"first", b"other"):
        wheel(index, "mine", "py3-none-any", data=data)
        names += [made(path)["Configuration"]["FunctionName"] for _ in range(2)]
    assert names[0] == names[1] != names[2] == names[3]


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
    assert name.startswith("entangle-py312-256-")
    assert client("s3").list_objects_v2(Bucket="code")["KeyCount"] == 0


def test_code_that_was_uploaded_in_vain(index, made, monkeypatch, client, proxy):
    """It is removed, though no function is made of it."""
    monkeypatch.setattr(_runtime, "_DIRECT", 1 << 10)
    wheel(index, "large", "py3-none-any")
    client("s3").create_bucket(Bucket="code")
    proxy.refuse("CreateFunction", "InvalidParameterValueException")
    with pytest.raises(AwsError, match="InvalidParameterValue"):
        made("large", bucket="code")
    assert proxy.count("PutObject") == 2
    assert client("s3").list_objects_v2(Bucket="code")["KeyCount"] == 0


def test_code_that_is_left_is_swept(index, made, monkeypatch, client, proxy, caplog):
    """Where it can't be removed, or the program was ended before: it has an owner."""
    monkeypatch.setattr(_runtime, "_DIRECT", 1 << 10)
    monkeypatch.setattr(_runtime, "_DAY", -1.0)
    wheel(index, "large", "py3-none-any")
    client("s3").create_bucket(Bucket="code")
    proxy.refuse("DeleteObjects", "AccessDenied", status=403)
    made("large", bucket="code")
    (warning,) = (each.getMessage() for each in caplog.records)
    assert "s3:DeleteObject is not allowed" in warning
    caplog.clear()
    proxy.allow()
    (left,) = _sweeping.leftovers(0.0)
    assert left.name in warning
    left.remove()
    assert client("s3").list_objects_v2(Bucket="code")["KeyCount"] == 0
