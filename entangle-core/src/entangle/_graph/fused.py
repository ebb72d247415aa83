"""Programs whose chains of process stages are one stage each.

A call costs tens of microseconds; functions that take less may as well be called one
after the other by the same worker. Which do is only known when they have been called:
so a run chooses between a program and its fused form for each input anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from entangle._graph.callables import short
from entangle._graph.node import build
from entangle._graph.options import Options
from entangle._graph.program import Lowered, Program, Stage
from entangle._graph.spec import Spec
from entangle._worker.chain import Chain

if TYPE_CHECKING:
    from entangle._graph.node import Node
    from entangle._graph.task import Task

# Of a stage that asks for nothing but a process.
_PLAIN: Final = Options(how="process", push=True)
_SHOWN: Final = 4


class Fused:
    """A program in its fused form.

    Attributes:
        program: That form.
        parts: The tasks of all stages that are part of another one there.
        wholes: The tasks of those.
    """

    __slots__ = ("parts", "program", "wholes")

    def __init__(
        self,
        program: Program,
        parts: tuple[Task[..., Any], ...],
        wholes: tuple[Task[..., Any], ...],
    ) -> None:
        self.program = program
        self.parts = parts
        self.wholes = wholes


def fused(program: Program) -> Fused | None:
    """Fuse what can be fused of a program; None if that is nothing."""
    follower = _followers(program)
    if not follower:
        return None
    followed = set(follower.values())
    stages: list[Stage] = []
    parts: dict[Task[..., Any], None] = {}
    wholes: list[Task[..., Any]] = []
    # By the number of a stage there, that of the one here which gives its value.
    numbers: dict[int, int] = {}
    lines: dict[tuple[Any, int], str] = {}
    chains: list[list[int]] = []
    for number, stage in enumerate(program.stages):
        if number in followed:
            continue
        chain = [number]
        while chain[-1] in follower:
            chain.append(follower[chain[-1]])
        numbers[chain[-1]] = len(stages)
        chains.append(chain)
        if len(chain) == 1:
            stages.append(stage)
            continue
        nodes = [program.stages[each].node for each in chain]
        task = _whole(nodes, lines)
        parts.update((node.task, None) for node in nodes)
        wholes.append(task)
        node = build(task, (), None, stage.node.code, stage.node.lasti)
        stages.append(stage._replace(node=node))
    # Parents may be written after their children.
    renumbered = [
        stage._replace(
            parents=tuple([p if p < 0 else numbers[p] for p in stage.parents])
        )
        for stage in stages
    ]
    leaves = tuple([numbers[leaf] for leaf in program.leaves])
    name, place, most = program.name, program.place, program.most
    made = Program(name, tuple(renumbered), leaves, place, most, tuple(chains))
    return Fused(made, tuple(parts), tuple(wholes))


def _followers(program: Program) -> dict[int, int]:
    """Find the stages whose value goes to one other alone, which takes nothing else."""
    children: list[list[int]] = [[] for _ in program.stages]
    for number, stage in enumerate(program.stages):
        for parent in stage.parents:
            if parent >= 0:
                children[parent].append(number)
    found: dict[int, int] = {}
    for number, below in enumerate(children):
        if len(below) == 1 and len(program.stages[below[0]].parents) == 1:
            above, child = program.stages[number], program.stages[below[0]]
            plain = _plain(above, program) and _plain(child, program)
            if plain and _callback(above) is None:
                found[number] = below[0]
    return found


def _plain(stage: Stage, program: Program) -> bool:
    node, task = stage.node, stage.node.task
    return (
        type(task) is Lowered
        and stage.options == _PLAIN
        and not node.args
        and node.kwargs is None
        and not (task.crew and program.most is not None)
    )


def _callback(stage: Stage) -> Any:
    task = stage.node.task
    return task.callback if isinstance(task, Lowered) else None


def _whole(nodes: list[Node[Any]], lines: dict[tuple[Any, int], str]) -> Lowered:
    """Make the task of a chain, which is told of as its last one is."""
    notes: list[str] = []
    for node in nodes:
        # Finding a line costs a walk of its code, and long chains come from few.
        at = node.code, node.lasti
        if at not in lines:
            lines[at] = node.where
        notes.append(f"in node {node.name} ({lines[at]})")
    names = [short(node.name) for node in nodes]
    if len(names) > _SHOWN:
        names[2:-1] = ["..."]
    last: Any = nodes[-1].task
    chain = Chain([node.task.fn for node in nodes], notes, ", ".join(names))
    task = Lowered(chain, Spec(), _PLAIN)
    task.callback, task.crew, task.told = last.callback, last.crew, last.fn
    task.fused = True
    return task
