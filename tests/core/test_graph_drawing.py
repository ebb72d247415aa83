"""The layout of pictures: what it promises whatever the graph."""

import functools
import operator
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entangle._graph.drawing.collapse import collapsed
from entangle._graph.drawing.crossings import crossings, ordered
from entangle._graph.drawing.layers import forward, layered
from entangle._graph.drawing.layout import laid_out
from entangle._graph.drawing.tracks import tracks
from entangle._graph.node import Node
from entangle.errors import PictureError
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread

NAMESPACE = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw, most=14, *, circles=False):
    """Draw how many boxes there are, and arrows between them."""
    count = draw(st.integers(1, most))
    box = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(box, box), max_size=3 * count, unique=True))
    pairs = [(a, b) for a, b in pairs if a != b]
    if not circles:
        pairs = [(min(pair), max(pair)) for pair in pairs]
    return count, list(dict.fromkeys(pairs))


@given(graphs(circles=True))
def test_arrows_lead_forward(graph):
    """Whatever circles there are: turned around where they close."""
    count, pairs = graph
    ahead = forward(count, pairs)
    assert [set(pair) for pair in ahead] == [set(pair) for pair in pairs]
    layer = layered(count, ahead)
    assert all(layer[source] < layer[target] for source, target in ahead)
    assert min(layer) >= 0


@given(graphs())
def test_without_a_circle_nothing_is_turned_around(graph):
    count, pairs = graph
    assert forward(count, pairs) == pairs


@example((7, [(0, 1), (0, 4), (1, 2), (1, 6), (2, 5), (3, 6), (4, 5)]))
@given(graphs())
def test_ordering_loses_nothing_and_never_adds_crossings(graph):
    count, pairs = graph
    made = tracks(layered(count, pairs), [(*pair, 0) for pair in pairs])
    layers = ordered(made)
    assert sorted(functools.reduce(operator.iadd, layers, [])) == list(
        range(len(made.layer))
    )
    assert all(
        made.layer[place] == at for at, row in enumerate(layers) for place in row
    )
    first = [sorted(row) for row in layers]
    assert crossings(layers, made.after) <= crossings(first, made.after)


def test_crossings_are_counted():
    made = tracks([0, 0, 1, 1], [(0, 3, 0), (1, 2, 0)])
    assert crossings([[0, 1], [2, 3]], made.after) == 1
    assert crossings(ordered(made), made.after) == 0


sizes = st.tuples(st.integers(20, 250), st.sampled_from([28, 44, 76]))


@settings(max_examples=60, deadline=None)
@given(graphs(circles=True), st.data())
def test_nothing_overlaps_and_no_arrow_goes_through_a_box(graph, data):
    count, pairs = graph
    boxes = data.draw(st.lists(sizes, min_size=count, max_size=count))
    made = laid_out(boxes, [(*pair, "value") for pair in pairs])
    areas = [
        (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        for (x, y), (w, h) in zip(made.middles, boxes, strict=True)
    ]
    for left, top, right, bottom in areas:
        assert left >= 0
        assert top >= 0
        assert right <= made.width + 0.01
        assert bottom <= made.height + 0.01
    for number, one in enumerate(areas):
        for other in areas[:number]:
            apart = one[0] >= other[2] or other[0] >= one[2]
            assert apart or one[1] >= other[3] or other[1] >= one[3]
    for pieces, pair in zip(made.routes, pairs, strict=True):
        assert on_edge(pieces[0][0], areas[pair[0]])
        assert on_edge(pieces[-1][1], areas[pair[1]])
        for number, area in enumerate(areas):
            if number not in pair:
                assert not any(inside(p, area) for p in points(pieces, made.across))


def on_edge(point, area):
    (x, y), (left, top, right, bottom) = point, area
    beside = min(abs(x - left), abs(x - right)) < 0.01 and top <= y <= bottom
    below = min(abs(y - top), abs(y - bottom)) < 0.01 and left <= x <= right
    return beside or below


def inside(point, area):
    (x, y), (left, top, right, bottom) = point, area
    return left < x < right and top < y < bottom


def points(pieces, across):
    """Follow the pieces as they are drawn: between layers by a curve."""
    for a, b in pieces:
        middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        c, d = ((middle[0], a[1]), (middle[0], b[1]))
        if not across:
            c, d = ((a[0], middle[1]), (b[0], middle[1]))
        for step in range(11):
            t = step / 10
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            yield tuple(
                sum(w * p[axis] for w, p in zip(weights, (a, c, d, b), strict=True))
                for axis in (0, 1)
            )


@given(graphs(most=30))
def test_groups_are_of_one_line_and_keep_everything(graph):
    count, pairs = graph
    sites = [(number % 3, 0, 0) for number in range(count)]
    groups = collapsed(sites, [(*pair, "value") for pair in pairs])
    assert sorted(functools.reduce(operator.iadd, groups, [])) == list(range(count))
    for group in groups:
        assert len({sites[number] for number in group}) == 1


# -- documents ---------------------------------------------------------------------


@process
def one():
    return 1


@thread
def add(a, b=0):
    return a + b


def cards(text):
    root = ET.fromstring(text)
    return [
        each
        for each in root.iter(f"{NAMESPACE}g")
        if each.get("class", "").startswith("card")
    ]


def texts(card):
    return [each.text for each in card.iter(f"{NAMESPACE}text")]


def test_a_document():
    inner = one()
    text = add(inner, b=2).to_svg()
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    assert root.find(f"{NAMESPACE}title").text == "add"
    assert root.find(f"{NAMESPACE}desc").text == (
        "Graph of 2 calls; one; add(b=2) after one."
    )
    assert "prefers-color-scheme:dark" in text
    first, second = cards(text)
    assert texts(first)[0] == "one"
    assert texts(second)[0] == "add(b=2)"
    assert texts(second)[1].endswith(" · thread")
    assert inner.where.rpartition("/")[2] in texts(first)[1]


def test_it_asks_for_nothing_from_elsewhere():
    text = add(one()).to_svg().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "http" not in text
    assert "href" not in text
    assert "@import" not in text


def test_states_have_a_colour_and_a_glyph():
    inner = one()
    node = add(inner)
    text = node.to_svg(states={inner: "done", node: "failed"})
    done, failed = cards(text)
    assert done.get("class").split() == ["card", "call", "done"]
    assert texts(done)[0] == "✓"
    assert texts(failed)[0] == "✗"
    assert "✓ 1 done, ✗ 1 failed" in text


def test_states_of_calls_drawn_as_one_are_counted():
    nodes = [one() for _ in range(70)]
    states = dict.fromkeys(nodes[:69], "done") | {nodes[69]: "failed"}
    card = cards(gather(*nodes).to_svg(states=states))[0]
    assert card.get("class").endswith(" failed")
    assert "✓\u200969 ✗\u20091" in texts(card)
    assert "×70" in texts(card)


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "]]>\"'&amp;-->",
        "\x00\x1b[2J\x9b\ufffe\ud800",
        "x" * 10_000,
        "計算" * 100,
        "\u202eevil",
        "",
    ],
)
def test_hostile_names(name):
    def function(*args):
        return None

    function.__qualname__ = name
    task = process(function)
    text = task(task(name), name.encode("utf-8", "replace")).to_svg()
    assert len(text) < 12_000
    assert len(cards(text)) == 2
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text


class Rude:
    def __repr__(self):
        raise ValueError("no")


def test_a_value_that_can_not_be_shown():
    assert "a value whose repr" in add(Rude()).to_svg()


def test_a_chain_of_a_loop():
    node = one()
    for _ in range(1000):
        node = add(node)
    text = node.to_svg()
    assert len(cards(text)) == 3
    assert "1,001 calls" in text


def test_more_than_can_be_seen():
    def made(number):
        def function(*args):
            return None

        function.__qualname__ = f"f{number}"
        return process(function)

    node = gather(*[made(number)() for number in range(1600)])
    with pytest.raises(PictureError, match="1,601 cards of SVG"):
        node.to_svg()
    assert "more than 1,500 are not shown" in node._repr_mimebundle_()["text/plain"]


@pytest.mark.process
def test_the_same_each_time():
    """Whatever seed the hashes of strings have."""
    program = (
        "from entangle.process import process\n"
        "@process\ndef f(*a, **k): pass\n"
        "nodes = [f()]\n"
        "for n in range(30):\n"
        "    nodes.append(f(nodes[-1], [nodes[n // 2], nodes[n // 3]]))\n"
        "print(f([f(x) for x in nodes[:20]], f('a', b={'x': 1})).to_svg())\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


# -- notebooks ---------------------------------------------------------------------


def test_notebooks_show_nodes():
    bundle = add(one())._repr_mimebundle_(include=None, exclude=None)
    assert bundle["image/svg+xml"].startswith("<svg")
    assert bundle["text/plain"].startswith("<node add")
    assert type(add(one())) is Node


@thread
def fails(x):
    raise ValueError(x)


@thread
def waits(*things):
    return things


def test_notebooks_show_runs():
    inner = fails(1)
    node = waits(inner, add(2))
    future = node.submit()
    assert isinstance(future.exception(), ValueError)
    states = future.states()
    assert (states[inner], states[node]) == ("failed", "skipped")
    bundle = future._repr_mimebundle_()
    assert bundle["text/plain"].startswith("<run of waits: failed (")
    assert "✗ 1 failed" in bundle["text/html"]
    assert "<svg" in bundle["text/html"]
    assert "✗ 1 failed" in node.to_svg(states=states)


def test_notebooks_show_runs_of_flows():
    from entangle.dataflow import dataflow

    @dataflow
    def emit(value):
        return value

    flow = emit(emit(), emit())
    future = flow.submit(1)
    assert future.result() == (1, 1)
    assert future.states() == dict.fromkeys((flow, *flow.children), "done")
    assert "✓ 3 done" in future._repr_mimebundle_()["text/html"]
    assert flow.to_svg(states=future.states()).count("✓") >= 3


@pytest.mark.process
def test_flows_know_what_became_of_their_functions():
    from entangle.dataflow import dataflow
    from entangle.process import process

    @dataflow
    @process
    def step(value):
        return value + 1

    @dataflow
    @thread
    def breaks(value):
        raise ValueError(value)

    taken, other = step(), step()
    flow = step(step(step()), breaks(step()), lambda value: taken)
    broken, after = flow.children[1], flow.children[1].children[0]
    for _ in range(5):  # tiny functions are fused after a while
        future = flow.submit(1)
        assert isinstance(future.exception(), ExceptionGroup)
        states = future.states()
        assert states.pop(broken) == "failed"
        assert states.pop(after) == "skipped"
        assert states.pop(taken) == "done"
        assert other not in states
        long = flow.children[0]
        assert states == dict.fromkeys((flow, long, long.children[0]), "done")


def test_notebooks_show_what_landed():
    from entangle.task import as_completed

    for node, future in as_completed([add(1), add(add(2), 3)]):
        assert future.states()[node] == "done"
        assert "<svg" in future._repr_mimebundle_()["text/html"]
