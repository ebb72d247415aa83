"""What the options of `@docker` mean to the engine: asked of nobody."""

import os

import pytest
from entangle.docker import docker
from entangle.docker._images import Image
from entangle.docker._settings import NOBODY, Settings, request, user_of

from entangle.errors import OptionError


def an_image(**changes):
    plain = Image("python:3.12", "sha256:1", "linux/amd64", 1, "", {}, ())
    return plain._replace(**changes)


def asked(image=None, *, folder="/private", granted=False, **options):
    """Return what the engine is asked for."""
    settings = Settings("python:3.12", **options)
    settings.check()
    return request(
        settings,
        image or an_image(),
        ["python3", "-c", "pass"],
        labels={"a": "b"},
        folder=folder,
        gpus=granted,
    )


def test_what_is_safe_is_what_is_asked_for():
    made = asked()
    host = made["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["AutoRemove"]
    assert host["Init"]
    assert made["User"] == NOBODY
    assert "Privileged" not in host
    assert host["LogConfig"]["Type"] == "none"
    assert made["Env"] == ["HOME=/tmp"]
    assert [mount["Source"] for mount in host["Mounts"]] == ["/private"]
    assert all(mount["ReadOnly"] for mount in host["Mounts"])


@pytest.mark.parametrize(
    ("of_image", "option", "user"),
    [
        ("", None, NOBODY),
        ("root", None, NOBODY),
        ("0:0", None, NOBODY),
        ("worker", None, "worker"),
        ("1000:1000", None, "1000:1000"),
        ("worker", "root", "root"),
        ("", 7, "7"),
        ("", 0, "0"),
    ],
)
def test_who_its_processes_are(of_image, option, user):
    settings = Settings("python:3.12", user=option)
    assert user_of(settings, an_image(user=of_image)) == user


def test_limits():
    host = asked(
        memory="512m", cpus=0.5, shm_size=4096, tmpfs={"/t": "1k"}, read_only=True
    )["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 512 << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["ShmSize"] == 4096
    assert host["Tmpfs"] == {"/t": "size=1024,mode=1777"}
    assert host["ReadonlyRootfs"]


def test_mounts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = asked(
        folder="",
        mounts={"data": "/v", "./data": "/d", "~/x": "/x:ro", "/a b:c'": '/q "r:rw'},
    )["HostConfig"]["Mounts"]
    assert made == [
        {"Type": "volume", "Source": "data", "Target": "/v", "ReadOnly": True},
        {
            "Type": "bind",
            "Source": f"{tmp_path}/data",
            "Target": "/d",
            "ReadOnly": True,
        },
        {
            "Type": "bind",
            "Source": os.path.expanduser("~/x"),
            "Target": "/x",
            "ReadOnly": True,
        },
        {"Type": "bind", "Source": "/a b:c'", "Target": '/q "r', "ReadOnly": False},
    ]


def test_standard_input_is_open_without_a_folder():
    made = asked(folder="")
    assert made["OpenStdin"]
    assert made["StdinOnce"]
    assert not asked()["OpenStdin"]


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ({"consume_gpu": True}, {"Count": -1}),
        ({"consume_gpu": False}, {"Count": -1}),
        ({"gpus": "all"}, {"Count": -1}),
        ({"gpus": 2}, {"Count": 2}),
        ({"gpus": "GPU-1,GPU-2"}, {"DeviceIDs": ["GPU-1", "GPU-2"]}),
        ({"gpus": ("0",)}, {"DeviceIDs": ["0"]}),
    ],
)
def test_gpus(options, request_):
    common = {"Driver": "", "Capabilities": [["gpu"]]}
    made = asked(**options)
    assert made["HostConfig"]["DeviceRequests"] == [common | request_]
    on_demand = "TF_FORCE_GPU_ALLOW_GROWTH=true" in made["Env"]
    assert on_demand == (options.get("consume_gpu") is False)
    assert ("XLA_PYTHON_CLIENT_PREALLOCATE=false" in made["Env"]) == on_demand


def test_gpus_that_the_image_asks_for():
    assert "DeviceRequests" not in asked()["HostConfig"]
    assert asked(granted=True)["HostConfig"]["DeviceRequests"][0]["Count"] == -1


def test_what_the_user_says_about_memory_of_gpus_counts():
    own = {"TF_FORCE_GPU_ALLOW_GROWTH": "false", "HOME": "/h"}
    made = asked(consume_gpu=False, environment=own)
    assert "TF_FORCE_GPU_ALLOW_GROWTH=false" in made["Env"]
    assert "HOME=/h" in made["Env"]
    assert "HOME=/tmp" not in made["Env"]


def test_the_entry_point_is_left_out_if_asked_for():
    image = an_image(entrypoint=("/start.sh",))
    assert "Entrypoint" not in asked(image)
    made = asked(image, entrypoint=False)
    assert made["Entrypoint"] == ["python3"]
    assert made["Cmd"] == ["-c", "pass"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"image": ""}, "no name of an image"),
        ({"image": "Foo Bar"}, "no name of an image"),
        ({"image": "x; rm -rf /"}, "no name of an image"),
        ({"packages": ["--index-url=x"]}, "no requirement"),
        ({"packages": [" "]}, "no requirement"),
        ({"packages": ["./here"]}, "is a path"),
        ({"packages": "numpy"}, "packages must be"),
        ({"memory": "much"}, "is no size"),
        ({"memory": 0}, "more than nothing"),
        ({"shm_size": "-1m"}, "is no size"),
        ({"cpus": 0}, "more than none"),
        ({"gpus": 0}, "say how many"),
        ({"network": ""}, "'none'"),
        ({"tmpfs": {"t": "1m"}}, "absolute"),
        ({"tmpfs": {"/t": "big"}}, "is no size"),
        ({"mounts": {"/a": "b"}}, "absolute"),
        ({"mounts": {"": "/b"}}, "neither"),
        ({"workdir": "here"}, "absolute"),
        ({"environment": {"A=B": "c"}}, "no name of a variable"),
        ({"environment": {"A": 1}}, "environment must be"),
        ({"platform": "linux/ar m"}, "is none"),
        ({"pull": "often"}, "pull must be"),
        ({"containers": 0}, "at least 1"),
        ({"calls": 0}, "at least 1"),
        ({"idle": -1}, "seconds"),
        ({"imagee": "x"}, "did you mean 'image'"),
    ],
)
def test_options_that_can_not_be_meant(options, word):
    """Each is refused where the decorator is written."""
    with pytest.raises(OptionError, match=word):
        docker(**({"image": "python:3.12"} | options))


def test_an_image_is_needed():
    with pytest.raises(OptionError, match="needs image="):
        docker(memory="1g")
    with pytest.raises(OptionError, match="needs image="):
        docker(len)


@pytest.mark.parametrize(
    "image",
    [
        "python",
        "python:3.12-slim",
        "tensorflow/tensorflow:latest-gpu",
        "registry.example:5000/a/b_c-d.e:v1",
        "localhost:5000/x",
        "python@sha256:" + 64 * "0",
        "a/b:c@sha256:" + 64 * "0",
        "sha256" + ":" + 64 * "0",
    ],
)
def test_names_of_images(image):
    docker(image=image)
