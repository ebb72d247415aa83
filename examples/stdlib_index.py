"""Index the Python standard library in parallel, and check against a plain loop.

Real work on data that every machine has: each module's source is parsed, measured and
indexed (which names are defined where) in worker processes by `.map`; a tree of
reductions merges the parts in parallel; the caller gets one index. The same functions,
called plainly through `task.fn`, then do it all in one process, and both must agree.
"""

import ast
import os
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from entangle.process import process
from entangle.workflow import workflow

FAN_IN = 16
SKIP = {"test", "tests", "idle_test", "site-packages", "__pycache__", "lib2to3"}


class Index(NamedTuple):
    """What is known of some modules.

    Attributes:
        totals: how many modules, lines, bytes, functions, classes, syntax errors.
        imports: how often each top-level package is imported.
        defined: for each public function or class, in how many modules it is defined.
    """

    totals: Counter[str]
    imports: Counter[str]
    defined: Counter[str]


@process
def measure(path: str) -> Index:
    """Parse one module and index it."""
    source = Path(path).read_bytes()
    totals = Counter(modules=1, lines=source.count(b"\n"), bytes=len(source))
    totals.update(functions=0, classes=0, broken=0)
    imports: Counter[str] = Counter()
    defined: Counter[str] = Counter()
    try:
        tree = ast.parse(source, path)
    except SyntaxError:
        # The library keeps some files that are broken on purpose.
        totals["broken"] += 1
        return Index(totals, imports, defined)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            totals["functions"] += 1
            defined[node.name] += not node.name.startswith("_")
        elif isinstance(node, ast.ClassDef):
            totals["classes"] += 1
            defined[node.name] += not node.name.startswith("_")
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports[node.module.partition(".")[0]] += 1
    return Index(totals, imports, +defined)


@process
def merge(parts: Sequence[Index]) -> Index:
    """Add up some indexes."""
    whole = Index(Counter(), Counter(), Counter())
    for part in parts:
        for mine, theirs in zip(whole, part, strict=True):
            mine.update(theirs)
    return whole


@workflow
def reduce(parts: Sequence[Index]) -> Index:
    """Merge in a tree: FAN_IN at a time, each level in parallel."""
    if len(parts) <= FAN_IN:
        return merge(parts)
    groups = [parts[i : i + FAN_IN] for i in range(0, len(parts), FAN_IN)]
    return reduce([merge(group) for group in groups])


@workflow
def index(paths: Sequence[str]) -> Index:
    """Index all modules: a fan-out, then a tree."""
    return reduce(measure.map(paths))


def library() -> list[str]:
    """List the source files of the standard library of this Python."""
    root = Path(sysconfig.get_path("stdlib"))
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - SKIP)
        found += [str(Path(folder, f)) for f in sorted(files) if f.endswith(".py")]
    return found


def main() -> int:
    """Index in parallel and in sequence; compare."""
    paths = library()
    started = time.perf_counter()
    parallel = index(paths)()
    parallel_s = time.perf_counter() - started

    started = time.perf_counter()
    sequential = merge.fn([measure.fn(path) for path in paths])
    sequential_s = time.perf_counter() - started

    for name, count in sorted(parallel.totals.items()):
        print(f"{name:10} {count:>10,}")
    print("imported most:", ", ".join(n for n, _ in parallel.imports.most_common(5)))
    print("defined most: ", ", ".join(n for n, _ in parallel.defined.most_common(5)))
    print("same as a plain loop:", parallel == sequential)
    speedup = sequential_s / parallel_s
    print(
        f"parallel {parallel_s:.2f} s, loop {sequential_s:.2f} s ({speedup:.2f}x)",
        file=sys.stderr,
    )
    return int(parallel != sequential)


if __name__ == "__main__":
    sys.exit(main())
