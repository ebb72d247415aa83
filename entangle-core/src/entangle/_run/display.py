"""What a notebook shows of a run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from entangle._clean import one_line
from entangle._graph.drawing.formats import as_svg
from entangle._graph.drawing.states import checked, counted, in_words
from entangle.errors import PictureError

from .report import failure_report
from .states import picture_of

if TYPE_CHECKING:
    from .future import RunFuture

_NAME = 60  # columns


def bundle(future: RunFuture[Any]) -> dict[str, str]:
    """Show how a run stands: in a line of text, and as a picture with states."""
    run, root = future.run_of_future, future.root
    if root is None:
        return {"text/plain": repr(future)}
    top, states = picture_of(run, root)
    outcome = (run.outcome or "cancelled") if run.finished else "running"
    counts = in_words(counted(checked(state) for state in states.values()))
    line = f"run of {one_line(top.name, _NAME)}: {outcome} ({counts})"
    shown = {"text/plain": f"<{line}>"}
    try:
        picture = as_svg(top, states)
    except PictureError as error:
        picture = f"<p>{escape(str(error))}</p>"
    shown["text/html"] = f"<p>{escape(line)}</p>{picture}"
    if run.finished and run.failure is not None:
        text = failure_report(run.failure)
        shown["text/plain"] += f"\n{text}"
        shown["text/html"] += f"<pre>{escape(text)}</pre>"
    return shown
