"""Pull graphs as plain data and as text to be drawn."""

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
    assert '["a run under way"]' in add(future).to_mermaid()
    assert future.result() == 1


def test_mermaid():
    shared = one()
    node = add(add(shared, 2), b=shared).after(one())
    assert node.to_mermaid() == (
        "flowchart LR\n"
        '    n0["one"]\n'
        '    n1["add(2)"]\n'
        "    n0 --> n1\n"
        '    n2["one"]\n'
        '    n3["add"]\n'
        "    n1 --> n3\n"
        "    n0 --> n3\n"
        "    n2 -.-> n3"
    )


def test_deep():
    node = one()
    for _ in range(20_000):
        node = add(node)
    assert node.to_mermaid().count("-->") == 20_000
    graph, depth = node.graph(), 0
    while graph.get("add"):
        graph, depth = graph["add"][0], depth + 1
    assert depth == 20_000
