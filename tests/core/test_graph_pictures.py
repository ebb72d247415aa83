"""Pull graphs as plain data, and as text that others draw."""

import pickle
import re
import shutil
import subprocess
from xml.etree import ElementTree as ET

import pytest

from entangle._graph.drawing.formats import as_tree
from entangle.errors import PictureError
from entangle.process import process
from entangle.task import gather
from entangle.thread import thread


@process
def one():
    return 1


@thread
def add(a, b=0):
    return a + b


class Model:
    @process
    def fit(self, data):
        return data


SVG = "{http://www.w3.org/2000/svg}text"


def named(name):
    def function(*args, **kwargs):
        return None

    function.__qualname__ = name
    return process(function)


def hostile():
    return named("<script>alert('1')</script>`\"--> \x1b[31m\x9b2J" + "x" * 10_000)


def test_graph():
    node = add(add(one(), one()), 3)
    assert node.graph() == {"add": [{"add": [{"one": []}, {"one": []}]}, "3"]}


def test_graph_of_keywords_containers_and_order():
    node = add({"x": [one()]}, b=one()).after(one())
    assert node.graph() == {
        "add": [{"x": [{"one": []}]}, {"b=": {"one": []}}, {"after": [{"one": []}]}]
    }
    assert add(1, b="x").graph() == {"add": ["1", "b='x'"]}
    assert gather(one(), one()).graph() == {"gather": [[{"one": []}, {"one": []}]]}
    assert Model().fit(1).graph()["Model.fit"][1] == "1"


def test_a_shared_node_is_one_object():
    shared = one()
    graph = add(shared, shared).graph()
    assert graph["add"][0] is graph["add"][1]


def test_a_submitted_run_among_the_arguments():
    future = add(1).submit()
    graph = add(future).graph()
    assert graph["add"][0].startswith("<RunFuture")
    assert '(["a run under way"])' in add(future).to_mermaid()
    assert future.result() == 1


def test_mermaid():
    shared = one()
    node = add(add(shared, 2), b=shared).after(one())
    assert node.to_mermaid() == (
        "flowchart LR\n"
        '    n0["one"]\n'
        '    n1["add(2)"]\n'
        '    n2["one"]\n'
        '    n3["add"]\n'
        "    n0 --> n1\n"
        "    n1 --> n3\n"
        "    n0 --> n3\n"
        "    n2 -.-> n3"
    )


def test_mermaid_of_what_it_would_take_for_syntax():
    text = hostile()(1, b="]; end").to_mermaid()
    label = text.splitlines()[1]
    assert label.startswith('    n0["')
    assert label.endswith('"]')
    inner = label.removeprefix('    n0["').removesuffix('"]')
    assert not set('"<>`\\') & set(inner)
    assert "#lt;script#gt;" in inner
    assert "\x1b" not in text


def test_mermaid_that_renderers_would_refuse():
    """500 edges and 50,000 characters are what they draw at most."""
    nodes = [one()]
    for number in range(40):
        nodes.append(named(f"f{number}")(*nodes))
    with pytest.raises(PictureError, match="41 calls would take 820 edges") as caught:
        nodes[-1].to_mermaid()
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.what, error.count, error.most, error.calls) == ("edges", 820, 500, 41)
    wide = gather(*[named(f"{number}" + 60 * "x")() for number in range(800)])
    with pytest.raises(PictureError, match="characters of Mermaid|edges of Mermaid"):
        wide.to_mermaid()


def test_states_in_text():
    inner = one()
    node = add(inner, b=2)
    states = {inner: "failed", node: "skipped"}
    text = node.to_mermaid(states=states)
    assert 'n0["✗ one"]' in text
    assert "class n0 failed" in text
    assert 'n1["– add(b=2)"]' in text
    assert "stroke-dasharray" in text
    assert 'label="✗ one' in node.to_dot(states=states)
    assert "class" not in node.to_mermaid()
    with pytest.raises(ValueError, match="not 'broken'"):
        node.to_mermaid(states={inner: "broken"})


def test_large_graphs_show_a_line_once():
    """Calls that one line has made in one way are one card."""
    node = gather(*[add(one(), number) for number in range(40)])
    assert node.to_mermaid() == (
        "flowchart LR\n"
        '    n0["one ×40"]\n'
        '    n1["add ×40"]\n'
        '    n2(["gather"])\n'
        "    n0 -->|×40| n1\n"
        "    n1 -->|×40| n2"
    )
    # As many as can be seen are shown.
    assert gather(*[one() for _ in range(40)]).to_mermaid().count('"one"') == 40


def test_a_loops_chain_leads_to_itself():
    node = one()
    for _ in range(20_000):
        node = add(node)
    assert node.to_mermaid().count("-->") == 3
    assert "n2 -->|×19,998| n2" in node.to_mermaid()
    graph, depth = node.graph(), 0
    while graph.get("add"):
        graph, depth = graph["add"][0], depth + 1
    assert depth == 20_000


def test_a_tree():
    shared = one()
    text = as_tree(add(add(shared, 2), shared), None)
    assert re.sub(r"test_\w+\.py:\d+", "HERE", text) == (
        "add  HERE · thread\n├─ add(2)  HERE · thread\n│  └─ one  HERE\n└─ one  HERE"
    )
    deep = add(one())
    again = add(deep, deep.after(deep))
    assert "(above)" in as_tree(again, None)


@pytest.mark.integration
@pytest.mark.process
def test_graphviz_draws_whatever_names_there_are():
    dot = shutil.which("dot")
    if dot is None:
        pytest.skip("needs Graphviz: apt-get install graphviz")
    node = hostile()(one(), "\\", b='"]; x -> y <b>&amp;\\')
    for text in (node.to_dot(), node.to_dot(states={node: "retry"})):
        done = subprocess.run(
            [dot, "-Tsvg"], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        texts = [each.text for each in ET.fromstring(done.stdout).iter(SVG)]
        assert any("<script>alert(" in each for each in texts)
        assert not any(each in {"x", "y"} for each in texts)
