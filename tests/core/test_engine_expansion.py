"""What a run does with nodes that a body returns."""

from engine_kit import Bench

from entangle._engine_items import ASSEMBLING, CANCELLED, EXPANDING, WAITING
from entangle.errors import CompositionError, InternalError


def test_a_returned_node_is_replaced_by_its_value():
    bench = Bench(workers=1)
    a = bench.add("a", root=True)
    bench.begin()
    assert bench.starts() == ["a"]
    b = bench.add("b")
    bench.expand(a, b)
    assert a.status == EXPANDING
    assert a.value == "raw"
    assert bench.starts() == ["b"]  # a holds no worker while it waits
    bench.succeed(b, 7)
    assert bench.assembles() == ["a"]
    assert a.status == ASSEMBLING
    assert list(a.inputs) == [b]
    bench.assemble(a)
    assert bench.deliveries() == [("a", [7])]
    assert b.value is None
    assert bench.engine.finished


def test_returned_nodes_go_before_older_ones():
    bench = Bench(workers=1)
    a = bench.add("a", root=True)
    bench.add("z", root=True)
    bench.begin()
    new = [bench.add(name) for name in "bc"]
    bench.starts()
    bench.expand(a, *new)
    assert bench.starts() == ["b"]
    bench.succeed(new[0])
    assert bench.starts() == ["c"]


def test_a_returned_node_may_be_there_already():
    bench = Bench()
    a = bench.add("a")
    b = bench.add("b", a, root=True)
    bench.begin()
    bench.succeed(a, 1)
    bench.expand(b, a, a)
    assert a.value == 1  # an argument that is returned is kept
    assert bench.assembles() == ["b"]
    bench.assemble(b)
    assert bench.deliveries() == [("b", [1])]
    assert a.value is None


def test_arguments_are_dropped_when_the_body_has_returned_nodes():
    bench = Bench()
    a = bench.add("a")
    b = bench.add("b", a, root=True)
    bench.begin()
    bench.succeed(a, 1)
    bench.expand(b, bench.add("c"))
    assert a.value is None


def test_expansion_to_nothing_is_assembled_at_once():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.expand(a)
    assert bench.assembles() == ["a"]


def test_an_expansion_of_an_expansion():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    b = bench.add("b")
    bench.expand(a, b)
    c = bench.add("c")
    bench.expand(b, c)
    bench.succeed(c, 1)
    bench.assemble(b)
    bench.assemble(a)
    assert bench.deliveries() == [("a", [[1]])]


def test_an_expansion_that_comes_too_late_starts_nothing():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.starts()
    bench.engine.cancel(bench.now)
    b = bench.add("b")
    c = bench.add("c", b)
    bench.expand(a, c)
    assert bench.starts() == []
    assert (b.status, c.status) == (CANCELLED, CANCELLED)
    assert bench.engine.finished


def test_a_node_that_returns_itself_is_an_error():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    bench.expand(a, a)
    assert bench.engine.finished
    assert isinstance(bench.engine.error, CompositionError)
    assert "a returned a node that needs the value of a itself" in str(
        bench.engine.error
    )


def test_a_node_that_returns_its_consumer_is_an_error():
    bench = Bench()
    a = bench.add("a")
    b = bench.add("b", a)
    c = bench.add("c", b)
    other = bench.add("other", tolerant_root=True)
    bench.add("gather", c, other, assemble=True, tolerant=True, root=True)
    bench.begin()
    bench.expand(a, c)
    assert bench.engine.outcome is None  # something still runs
    bench.succeed(other, 1)
    assert isinstance(a.error, CompositionError)
    assert a.error is c.error
    assert a.error.task == "a"
    assert bench.assembles() == ["gather"]


def test_what_can_never_end_is_reported():
    bench = Bench()
    a = bench.add("a", root=True)
    bench.begin()
    a.status = WAITING  # as no event can leave it
    bench.engine._active = 0
    bench.engine.close(bench.now)
    assert isinstance(bench.engine.error, InternalError)
