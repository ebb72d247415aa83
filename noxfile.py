"""The chores: everything that is not the test matrix, which is tox.ini."""

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["static"]

PROJECT = nox.project.load_toml("pyproject.toml")
CORE = ("--editable", "./entangle-core", "--editable", "./entangle-docker")


def install(session: nox.Session, *groups: str) -> None:
    """Install the distributions and the dependency groups named."""
    session.install(*CORE, *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def fix(session: nox.Session) -> None:
    """Let ruff repair and format the sources."""
    install(session, "static")
    session.run("ruff", "check", "--fix", ".")
    session.run("ruff", "format", ".")


@nox.session
def static(session: nox.Session) -> None:
    """Lint, types and layers: the static part of the tests alone."""
    install(session, "dev")
    session.run("pytest", "-m", "static", *session.posargs)


@nox.session
def cov(session: nox.Session) -> None:
    """Measure branch coverage of the core, worker processes included."""
    install(session, "dev", "cov")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-m", "not static", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=95")


@nox.session
def torch(session: nox.Session) -> None:
    """Test tensors with the real PyTorch, which is large."""
    install(session, "test")
    session.install("torch")
    session.run("pytest", "tests/core/test_memory_tensors.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the peers; arguments go to `entangle bench --full`."""
    install(session, "bench")
    session.run("python", "benchmarks/run.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel of every distribution into dist/."""
    session.install("build")
    for name in ("entangle-core", "entangle-docker"):
        session.run("python", "-m", "build", "--outdir", "dist", name)
