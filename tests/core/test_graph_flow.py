"""Flows before they run: what builds, what is refused, what they look like."""

import copy
import functools
import pickle

import pytest

from entangle._graph.program import programmed
from entangle.dataflow import Flow, dataflow, process, thread
from entangle.errors import CompositionError, OptionError, UnmetCapabilityError
from entangle.task import task
from entangle.workflow import workflow


@dataflow
def emit(value, *, suffix=""):
    return f"{value}{suffix}"


@dataflow
@thread
def upper(value):
    return value.upper()


@process
@dataflow
def lower(value):
    return value.lower()


@dataflow
def join(*values):
    return values


@process
def pulled(value):
    return value


def choose(value):
    return upper() if value else None


class Scale:
    def __init__(self, factor):
        self.factor = factor

    @dataflow
    def times(self, value):
        return self.factor * value


def test_a_call_builds_a_flow():
    flow = emit(upper(), lower(), suffix="!")
    assert type(flow) is Flow
    assert flow.name == "emit"
    assert flow.where.startswith(__file__)
    assert flow.constants == {"suffix": "!"}
    assert [child.name for child in flow.children] == ["upper", "lower"]
    assert emit.fn("a", suffix="b") == "ab"


def test_equality_is_identity():
    assert emit() != emit()
    flow = emit()
    assert len({flow, flow, emit()}) == 2
    assert copy.copy(flow) is flow
    assert copy.deepcopy(flow) is flow


def test_a_flow_is_immutable():
    flow = emit()
    with pytest.raises(AttributeError, match="immutable"):
        flow.children = ()
    with pytest.raises(TypeError, match="built by calling dataflow tasks"):
        Flow()


@pytest.mark.parametrize(
    ("child", "hint"),
    [
        (upper, "upper is an uncalled task: call it"),
        (pulled, r"dataflow\(pulled\)\(\) makes a flow"),
        (pulled(1), r"dataflow\(pulled\)\(\) makes a flow"),
        (Scale(2).times, r"Scale\.times is an uncalled task: call it"),
        (5, "not int 5: constants are given by name"),
        (None, "not NoneType None"),
        ("text", "not str 'text'"),
        ([upper()], "not list"),
        (int, "not type"),
    ],
)
def test_what_is_no_child(child, hint):
    with pytest.raises(TypeError, match=hint) as caught:
        emit(child)
    assert "emit() is a dataflow task" in str(caught.value)


def test_a_generator_function_does_not_choose():
    def several(value):
        yield upper()

    with pytest.raises(TypeError, match="generator function: return a flow"):
        emit(several)


@pytest.mark.parametrize("constant", [pulled(1), upper()])
def test_constants_are_no_nodes(constant):
    with pytest.raises(TypeError, match="keywords of a flow are constants"):
        emit(suffix=constant)


def test_map_is_refused():
    with pytest.raises(TypeError, match=r"stream\(inputs\)"):
        emit.map([1, 2])
    with pytest.raises(TypeError, match=r"stream\(inputs\)"):
        emit.starmap([(1,)])
    with pytest.raises(TypeError, match=r"stream\(inputs\)"):
        Scale(2).times.map([1])


def test_generator_functions_are_refused_with_a_hint():
    with pytest.raises(CompositionError, match=r"flow\.stream"):

        @dataflow
        def numbers(value):
            yield value


def test_a_flow_is_not_decorated():
    with pytest.raises(CompositionError, match="decorate the functions"):
        dataflow(emit())


def test_a_workflow_is_not_pushed():
    with pytest.raises(CompositionError, match="@workflow .* and @dataflow"):

        @dataflow
        @workflow
        def both(value):
            return value


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"maxworkers": 0}, "at least 1, not 0"),
        ({"maxworkers": -3}, "at least 1, not -3"),
        ({"maxworkers": "many"}, "must be an integer"),
        ({"maxworkers": True}, "must be an integer"),
        ({"callback": 5}, "must be a function that takes two arguments"),
        ({"callback": type("C", (dict,), {"__call__": print})()}, "must be hashable"),
        ({"executor": 5}, "must be the name of an executor"),
        ({"timeout": 5}, "it is an option of @process"),
        ({"fresh": True}, r"use @process\(fresh"),
        ({"nonsense": True}, "has no option 'nonsense'"),
    ],
)
def test_options_that_make_no_sense(options, reason):
    with pytest.raises(OptionError, match=reason):
        dataflow(**options)


def test_huge_maxworkers():
    big = dataflow(maxworkers=10**12)(lambda value: value)
    assert big()(1) == (1,)


def test_what_does_not_fit_is_told_when_first_called():
    flow = dataflow(lambda: 1)()
    with pytest.raises(TypeError, match="takes 0 positional arguments but 1 was given"):
        flow(1)
    flow = emit(upper(), nonsense=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        flow(1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        flow.stream([1])
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        emit(lambda a, b: None)(1)
    both = upper()
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        emit(lower(both), join(both))(1)


def test_options_that_the_place_of_the_flow_cannot_honour():
    timed = task(timeout=3)(dataflow(lambda value: value))
    with pytest.raises(UnmetCapabilityError, match="a running thread cannot be ended"):
        emit(timed())(1)
    assert dataflow(executor="process")(lambda v: v)(timed()).program.stages[1]


def test_children_take_the_executor_of_the_root():
    flow = dataflow(executor="process", maxworkers=2)(lambda v: v)(emit(upper()))
    program = flow.program
    assert [stage.options.how for stage in program.stages] == [
        "process",
        "process",
        "thread",
    ]
    assert [stage.node.task.crew for stage in program.stages] == [True, True, False]
    assert program.most == 2
    assert [stage.options.how for stage in emit(emit()).program.stages] == [
        "thread"
    ] * 2


def test_a_task_runs_by_one_plain_task_wherever_it_stands():
    """So that its limit holds over all flows."""
    a, b = upper(emit()), lower(emit(upper()))
    tasks = [stage.node.task for flow in (a, b) for stage in flow.program.stages]
    assert tasks[1] is tasks[3]
    assert tasks[0] is tasks[4]


def test_the_order_written():
    """Of leaves, and of the parents of a node that stands under several."""
    both = join()
    flow = emit(upper(both), lower(emit(both), both), upper(choose))
    stages = flow.program.stages
    names = [stage.node.name for stage in stages]
    assert names == ["emit", "upper", "join", "lower", "emit", "upper", "_choice"]
    assert stages[2].parents == (1, 4, 3)
    assert flow.program.leaves == (2, 6)


def test_the_same_child_twice_under_one_parent():
    both = upper()
    program = emit(both, both).program
    assert len(program.stages) == 2
    assert program.stages[1].parents == (0,)


def test_methods():
    flow = emit(Scale(3).times(upper()))
    assert flow.children[0].name == "Scale.times"
    assert flow.children[0].first[0].factor == 3


def test_lifting_a_pull_task():
    lifted = dataflow(pulled)
    assert lifted.fn is pulled.fn
    assert lifted().program.stages[0].options.how == "process"


def test_graph():
    both = join()
    flow = emit(upper(both), lower(both), choose, suffix="!")
    assert flow.graph() == {
        "emit": [
            {"upper": [{"join": []}]},
            {"lower": [{"join": []}]},
            "choose",
            "suffix='!'",
        ]
    }


def test_mermaid():
    both = join()
    assert emit(upper(both), lower(both), choose, suffix='"<').to_mermaid() == (
        "flowchart LR\n"
        "    n0[\"emit(suffix='#quot;#lt;')\"]\n"
        '    n1["upper"]\n'
        '    n2["lower"]\n'
        '    n3["join"]\n'
        '    n4{"choose?"}\n'
        "    n0 --> n1\n"
        "    n0 --> n2\n"
        "    n0 --> n4\n"
        "    n1 --> n3\n"
        "    n2 --> n3"
    )


def test_pictures():
    flow = emit(upper(join()), choose)
    assert "rankdir=LR" in flow.to_dot()
    assert set(flow._repr_mimebundle_()) == {"text/plain", "image/svg+xml"}
    assert 'class="card choice"' in flow.to_svg()
    states = {flow: "done", flow.children[0]: "running"}
    assert "✓ 1 done" in flow.to_svg(states=states)


def test_repr_is_short():
    text = repr(emit(upper(lower()), choose, *[lower() for _ in range(10)]))
    assert text.startswith("<flow emit(upper, ..., lower, lower, ...) built at ")
    assert text.endswith(".py:" + text.rpartition(":")[2])


def test_same_structure():
    def flow():
        both = join()
        return emit(upper(both), lower(both), choose, suffix="!")

    assert flow().same_structure(flow())
    assert not flow().same_structure(emit(upper(), lower(), choose, suffix="!"))
    assert not emit(upper(join()), lower(join())).same_structure(
        emit(upper(both := join()), lower(both))
    )
    assert not emit(upper()).same_structure(emit(lower()))
    assert not emit(upper()).same_structure(emit(choose))
    assert not emit(choose).same_structure(emit(lambda value: None))
    assert not emit(suffix=1).same_structure(emit(suffix=2))
    assert not emit().same_structure(emit(upper()))
    assert not Scale(2).times().same_structure(Scale(3).times())
    with pytest.raises(TypeError, match="takes a flow, not Node"):
        emit().same_structure(pulled(1))


def test_same_structure_with_arrays():
    import numpy as np

    one, other = emit(suffix=np.arange(3)), emit(suffix=np.arange(3))
    assert one.same_structure(other)
    assert not one.same_structure(emit(suffix=np.arange(4)))


def test_a_flow_pickles():
    both = join()
    flow = emit(upper(both), lower(both), choose, suffix="!")
    again = pickle.loads(pickle.dumps(flow))
    assert again is not flow
    assert again.same_structure(flow)
    assert again.where == flow.where
    assert again.task is emit
    assert again.children[0].children[0] is again.children[1].children[0]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(pulled(1))


def test_a_deep_flow():
    flow = emit()
    for _ in range(20_000):
        flow = emit(flow)
    assert pickle.loads(pickle.dumps(flow)).same_structure(flow)
    assert len(programmed(flow).stages) == 20_001
    assert flow.to_mermaid().count("-->") == 3


def test_stacked_decorators_keep_the_task():
    for order in ((dataflow, thread), (thread, dataflow)):
        decorated = functools.reduce(lambda f, d: d(f), order, lambda v: v)
        assert type(decorated()) is Flow
        assert decorated().program.stages[0].options.how == "thread"
