"""`entangle new-plugin`: writes a distribution that adds a place for tasks to run."""

from __future__ import annotations

import keyword
import re
import tempfile
from importlib import metadata
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final, NamedTuple

from .exits import OK, UsageError
from .main import examples

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

EPILOG = """\
NAME is that of the decorator: lower-case letters, digits and hyphens. What is written
is complete: it can be installed, and its tests pass. A stream leads to a Python
somewhere (a container, a machine, another interpreter); a job is made somewhere and
asked after (a queue, a service); an executor is any object with the interface of
concurrent.futures.Executor.
"""
_TEMPLATES: Final = Path(__file__).with_name("plugin_template")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TAKEN: Final = frozenset(
    (
        *("backend", "data", "dataflow", "entangle", "errors", "hooks", "inline"),
        *("local", "process", "run", "scheduler", "secrets", "task", "testing"),
        *("thread", "workflow"),
        # Distributions and decorators beside core, some of which are to come.
        *("core", "aws", "docker", "http", "ec2", "fargate", "lmbda", "request"),
        *("dask", "gpu", "k8s", "ray", "ssh"),
    )
)


class Kind(NamedTuple):
    """What differs between the kinds of plugins, beside their own files.

    Attributes:
        where: Where tasks run, in words.
        explanation: What an author has to change.
        option: An option of the decorator.
        wrong: What that option can't be, as Python.
    """

    where: str
    explanation: str
    option: str
    wrong: str


KINDS: Final[Mapping[str, Kind]] = {
    "stream": Kind(
        "in any Python that a byte stream leads to",
        "As it stands it starts an interpreter of this machine. What to change is\n"
        "`open` in `src/$package/executor.py`: start the command that it is given where\n"
        "the calls are to run, and return a stream to it. Warm workers, live output,\n"
        "cancelling, timeouts and large values come with the class.",
        "places",
        "0",
    ),
    "job": Kind(
        "as jobs of a place that takes them and is asked after them",
        "As it stands a job is a process of this machine. What to change is\n"
        "`src/$package/executor.py`: how a job is created, asked after, deleted and\n"
        "found, and where values lie. Everything else comes with the class: the program\n"
        "of the jobs, signatures, polling, retries, sweeping.",
        "lifetime",
        "0.0",
    ),
    "executor": Kind(
        "in an executor of somebody else's",
        "As it stands it wraps a thread pool. What to change is `__init__` in\n"
        "`src/$package/executor.py`: make the executor that is to run the calls.",
        "workers",
        "0",
    ),
}


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle new-plugin`."""
    examples(parser, "new-plugin podman", "new-plugin queue --kind job --into plugins")
    parser.epilog = EPILOG
    parser.add_argument("name", metavar="NAME", help="the name of the decorator")
    parser.add_argument(
        "--kind", choices=KINDS, default="stream", help="what it is made of; stream"
    )
    parser.add_argument(
        "--into",
        metavar="FOLDER",
        type=Path,
        default=Path(),
        help="where its folder is made; here",
    )


def execute(arguments: Namespace) -> int:
    """Write the distribution.

    Raises:
        UsageError: the name can't be used, or its folder is there already.
    """
    folder = write(arguments.name, arguments.kind, arguments.into)
    print(f"wrote {folder}")
    print(f"next: pip install -e {folder} 'entangle-core[testing]' && pytest {folder}")
    return OK


def write(name: str, kind: str, into: Path) -> Path:
    """Write a distribution, all of it or nothing, and return its folder.

    Args:
        name: That of the decorator.
        kind: One of `KINDS`.
        into: The folder that its own is made in.

    Raises:
        UsageError: as `execute`.
    """
    names = _names(name, kind)
    folder = into / names["distribution"]
    if folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} is there already: choose another name, or remove it"
        )
    if not into.is_dir():
        raise UsageError(f"{into} is no folder: make it first, or give another --into")
    try:
        # Beside it, so that it appears whole, and nothing is left where that fails.
        with tempfile.TemporaryDirectory(dir=into, prefix=".new-plugin-") as temporary:
            made = Path(temporary) / names["distribution"]
            for part in ("common", kind):
                _fill(_TEMPLATES / part, made, names)
            made.rename(folder)
    except OSError as error:
        raise UsageError(f"{folder} can't be written: {error}") from error
    return folder


def _fill(template: Path, folder: Path, names: Mapping[str, str]) -> None:
    """Write the files of a template, with names in the place of variables."""
    for path in sorted(template.rglob("*.in")):
        relative = str(path.relative_to(template)).removesuffix(".in")
        target = folder / relative.replace("MODULE", names["package"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(path.read_text()).substitute(names))


def _names(name: str, kind: str) -> dict[str, str]:
    """Return what stands for the variables of the templates.

    Raises:
        UsageError: the name can't be used.
    """
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name for a plugin: use lower-case letters, digits and "
            "hyphens, a letter first"
        )
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        raise UsageError(f"{name!r} is a word of Python's: choose another name")
    if module in _TAKEN:
        raise UsageError(f"{name!r} is a name of Entangle's own: choose another name")
    from entangle.hooks import SPI_VERSION

    short = "".join(part.capitalize() for part in name.split("-"))
    about = KINDS[kind]
    names = {
        "name": name,
        "module": module,
        "package": f"entangle_{module}",
        "distribution": f"entangle-{name}",
        "short": short,
        "class_name": f"{short}Executor",
        "version": _core_version(),
        "spi": str(SPI_VERSION),
        "year": str(_year()),
        "where": about.where,
        "option": about.option,
        "wrong": about.wrong,
    }
    names["explanation"] = Template(about.explanation).substitute(names)
    return names


def _core_version() -> str:
    return metadata.version("entangle-core")


def _year() -> int:
    import time

    return time.localtime().tm_year
