"""Set this checkout up in `.venv`, then run the main job or all tests.

    python3 dev.py demo              the command's demo, then a real job: index the
                                     standard library in parallel
    python3 dev.py test [ARGS]       all tests; ARGS go to pytest
    python3 dev.py setup             only make or refresh `.venv`

Needs Python 3.11 or newer with pip, nothing else.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("DEV_VENV", ROOT / ".venv"))
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up-from.txt"
# A file's tests share a pool of workers, so they stay together.
PARALLEL = ("-n", "auto", "--maxprocesses", "4", "--dist", "loadfile")
DISTRIBUTIONS = sorted(path.parent for path in ROOT.glob("entangle-*/pyproject.toml"))


def requirements(group: str) -> list[str]:
    """Read a dependency group of the root pyproject, included groups as well.

    pip learnt `--group` only in 25.1; the pip that ships with Python 3.11 is older.
    """
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        groups = tomllib.load(file)["dependency-groups"]

    def expand(name: str) -> list[str]:
        found: list[str] = []
        for entry in groups[name]:
            found += (
                [entry] if isinstance(entry, str) else expand(entry["include-group"])
            )
        return found

    return expand(group)


def fingerprint(groups: tuple[str, ...]) -> str:
    """Say in one line what an up-to-date `.venv` was set up from."""
    files = [ROOT / "pyproject.toml", *(d / "pyproject.toml" for d in DISTRIBUTIONS)]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"{ROOT} {sys.version_info[:3]} {' '.join(groups)} {digest}"


def setup(*groups: str) -> None:
    """Make `.venv` with every distribution editable, unless it is up to date."""
    wanted = fingerprint(groups)
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    print(f"dev: setting up {VENV} (once)", file=sys.stderr)
    if not PYTHON.exists() or not STAMP.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet"]
    editables = [arg for path in DISTRIBUTIONS for arg in ("--editable", str(path))]
    extra = [name for group in groups for name in requirements(group)]
    subprocess.run([*pip, *editables, *extra], check=True)
    STAMP.write_text(wanted)


def precompile() -> None:
    """Compile the sources: an editable install doesn't, nor may the environment let it.

    Every worker and every program that a test starts would compile them anew.
    """
    sources = [str(path / "src") for path in DISTRIBUTIONS]
    subprocess.run([PYTHON, "-m", "compileall", "-q", *sources], cwd=ROOT, check=False)


def run(*command: str | Path) -> int:
    """Run a command from the root with `.venv`'s programs first on the path."""
    path = f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = os.environ | {"PATH": path, "VIRTUAL_ENV": str(VENV)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Carry out the command of this program's arguments."""
    if sys.version_info < (3, 11):  # noqa: UP036 - the message for an older Python
        sys.exit("dev: Entangle needs Python 3.11 or newer: call this with one")
    match sys.argv[1:]:
        case ["demo"]:
            setup()
            precompile()
            return run(PYTHON, "-m", "entangle", "demo") or run(
                PYTHON, "examples/stdlib_index.py"
            )
        case ["test", *arguments]:
            setup("dev")
            precompile()
            return run(PYTHON, "-m", "pytest", *PARALLEL, *arguments)
        case ["setup"]:
            setup("dev")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"dev: {' '.join(map(str, error.cmd))} failed")
    except KeyboardInterrupt:
        sys.exit(130)
