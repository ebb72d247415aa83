"""`entangle graph`: draws a file's graph, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .built import NAMING, built, naming
from .exits import INVALID, OK
from .main import examples

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

FORMATS: Final = ("tree", "mermaid", "dot", "svg", "json")


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle graph`."""
    examples(
        parser,
        "graph pipeline.py",
        "graph pipeline.py:report -f svg > report.svg",
        "graph pipeline.py -f dot | dot -Tpdf > pipeline.pdf",
    )
    parser.epilog = (
        f"{NAMING}\n"
        "tree is for terminals, svg for browsers, light and dark; mermaid and dot are\n"
        "text that others draw; json is every node and edge. Above 60 calls, those that\n"
        "one line has made in one way are drawn as one, but not in json."
    )
    naming(parser, "what to draw")
    parser.add_argument(
        *("-f", "--format"), choices=FORMATS, default="tree", help="how (tree)"
    )


def execute(arguments: Namespace) -> int:
    """Print the picture and return the exit code."""
    root = built(arguments.target, "drawn")
    if isinstance(root, int):
        return root
    from entangle.errors import PictureError

    from .terminal import put, say

    if arguments.format == "json":
        from entangle._graph.drawing.sketch import as_data

        from .data import printed

        printed(as_data(root))
        return OK
    try:
        text = _drawn(root, arguments.format)
    except PictureError as error:
        say(f"entangle: {error}; or see it all with -f json")
        return INVALID
    put(text.rstrip("\n"), xml=arguments.format == "svg")
    return OK


def _drawn(root: Any, format_: str) -> str:
    from entangle._graph.drawing import formats

    draw = {
        "tree": formats.as_tree,
        "mermaid": formats.as_mermaid,
        "dot": formats.as_dot,
        "svg": formats.as_svg,
    }
    return draw[format_](root, None)
