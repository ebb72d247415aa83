"""The sources pass the linter, the type checkers and the contract of layers."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHECKS = {
    "ruff-lint": ("ruff", "check", "."),
    "ruff-format": ("ruff", "format", "--check", "."),
    "mypy": ("mypy",),
    "pyright": ("pyright", "--pythonpath", sys.executable),
    "layers": ("lint-imports", "--no-cache"),
}


@pytest.mark.static
@pytest.mark.timeout(600)
@pytest.mark.parametrize("check", CHECKS)
def test_sources_pass(check):
    """Each tool, configured by the root pyproject, finds nothing."""
    program, *arguments = CHECKS[check]
    folder = Path(sys.executable).parent
    path = shutil.which(program, path=folder) or shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [path, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
