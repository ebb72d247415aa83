"""Anything callable becomes a task, and stays what it was besides."""

import copy
import functools
import inspect
import pickle
import subprocess
import sys
import types

import cloudpickle
import pytest

from entangle._graph import callables, naming
from entangle._graph.task import BoundTask, Task
from entangle.local import local
from entangle.process import process
from entangle.task import task
from entangle.thread import thread
from entangle.workflow import workflow


@process(timeout=3)
@local(cpus=2)
def function(a: int, b: int = 2) -> int:
    """Add."""
    return a + b


@thread
async def coroutine(a):
    return a


class Thing:
    def __init__(self, number=0):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Thing) and self.number == other.number

    def __hash__(self):
        return hash(self.number)

    @process
    def method(self, a):
        """Add to the number."""
        return self.number + a

    @staticmethod
    @process
    def static(a):
        return a

    @process
    @staticmethod
    def outer_static(a):
        return a

    @local
    @process
    @classmethod
    def outer_class(cls, a):
        return cls, a

    @classmethod
    @process
    def inner_class(cls, a):
        return cls, a

    builtin = process(len)
    lambda_ = thread(lambda self, a: (self, a))

    async def __call__(self, a):
        return a

    class Nested:
        """A class in a class."""

        @process
        def method(self):
            return 1


class Generating:
    def __call__(self):
        yield 1


def test_the_plain_function_stays_reachable():
    assert function.fn(1, 2) == 3
    assert function.name == "function"
    assert function.module == __name__
    assert function.__name__ == function.__qualname__ == "function"
    assert function.__module__ == __name__
    assert function.__doc__ == "Add."
    assert function.__wrapped__ is function.fn
    assert str(inspect.signature(function)) == "(a: int, b: int = 2) -> int"
    assert repr(function) == (
        f"<task {__name__}.function: cpus=2, @process, timeout=3, @local>"
    )


def test_attributes_of_the_function_are_kept_but_hide_nothing():
    def marked():
        return 1

    marked.author = "me"
    marked.map = "mine"
    made = process(marked)
    made.later = 3
    assert made.author == "me"
    assert callable(made.map)
    assert local(made).author == "me"
    assert local(made).later == 3


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (lambda: lambda: 1, "<lambda>"),
        (lambda: len, "len"),
        (lambda: Thing, "Thing"),
        (lambda: Thing(1), "Thing"),
        (lambda: functools.partial(functools.partial(len)), "len"),
        (lambda: Thing.method.fn, "Thing.method"),
        (lambda: Thing().method.fn, "Thing.method"),
        (lambda: "".join, "str.join"),
        (lambda: str.upper, "str.upper"),
        (lambda: functools.lru_cache(function.fn), "function"),
    ],
)
def test_anything_callable_can_be_decorated(made, name):
    callable_ = made()
    wrapped = process(callable_)
    assert wrapped.fn is callable_
    assert wrapped.name.endswith(name)
    assert isinstance(wrapped.module, str)


def test_async_functions_are_recognised():
    async def plain():
        return 1

    @types.coroutine
    def old():
        yield

    marked = Thing.method.fn
    asynchronous = [
        plain,
        old,
        functools.partial(plain),
        functools.partial(functools.partial(plain)),
        Thing(),
        Thing().__call__,
    ]
    assert all(thread(each).options.is_async for each in asynchronous)
    assert not any(
        thread(each).options.is_async for each in (marked, len, Thing, lambda: 1)
    )

    def sync():
        return plain()

    sync._is_coroutine_marker = object()
    assert callables.is_async(sync)


def test_generators_are_refused_however_they_are_wrapped():
    def generator():
        yield 1

    for each in (generator, functools.partial(generator), Generating()):
        with pytest.raises(TypeError, match=r"flow\.stream"):
            process(each)
    with pytest.raises(TypeError, match=r"flow\.stream"):
        process(staticmethod(generator))


def test_a_callable_object_that_refers_to_itself_is_still_one():
    class Loop:
        pass

    loop = Loop()
    Loop.__call__ = loop
    assert callables.innermost(loop) is loop
    knot = functools.partial(len)
    knot.__setstate__((knot, (), {}, {}))
    assert callables.innermost(knot) is knot


def test_methods_bind_the_instance():
    thing = Thing(3)
    node = thing.method(2)
    assert node.task is Thing.method
    assert node.args == (thing, 2)
    assert thing.method.fn(2) == 5
    assert thing.method.name == "Thing.method"
    assert thing.method.options == Thing.method.options
    assert thing.method == thing.method
    assert hash(thing.method) == hash(thing.method)
    assert thing.method != Thing(3).method
    assert thing.method != Thing.method
    assert isinstance(thing.method, Task)
    mapped = thing.method.map([1, 2]).args[0]
    assert [each.args for each in mapped] == [(thing, 1), (thing, 2)]
    assert {each.task for each in mapped} == {Thing.method}
    starred = thing.method.starmap([(1,)]).args[0]
    assert starred[0].args == (thing, 1)
    with pytest.raises(TypeError, match="takes 2 positional arguments but 3"):
        thing.method.map([1], [2])
    assert Thing.Nested().method().name == "Thing.Nested.method"


def test_decorating_a_bound_method_keeps_the_instance():
    thing = Thing(3)
    made = local(thing.method)
    assert type(made) is Task
    assert made.fn(2) == 5
    assert made(2).args == (2,)
    assert made.__get__(Thing(4)) is made


def test_static_and_class_methods_either_way_round():
    thing = Thing()
    for owner in (Thing, thing):
        assert owner.static(1).args == (1,)
        assert owner.outer_static(1).args == (1,)
        assert owner.outer_class(1).args == (Thing, 1)
        assert owner.inner_class(1).args == (Thing, 1)
        assert owner.outer_class.map([1]).args[0][0].args == (Thing, 1)

    class Sub(Thing):
        pass

    assert Sub.outer_class(1).args == (Sub, 1)
    assert Sub().inner_class(1).args == (Sub, 1)
    assert process(Thing.outer_class).fn(1) == (Thing, 1)


def test_more_decorators_over_methods():
    class Holder:
        @process(timeout=3)
        @local
        @staticmethod
        def first(a):
            return a

        @local
        @staticmethod
        @process(timeout=3)
        def second(a):
            return a

        @local
        @classmethod
        @process(timeout=3)
        def third(cls, a):
            return a

        @property
        @process
        def size(self):
            return 1

    holder = Holder()
    assert holder.first(1).args == holder.second(1).args == (1,)
    assert holder.third(1).args == (Holder, 1)
    specs = {Holder.first.spec, Holder.second.spec, holder.third.spec}
    assert len(specs) == 1
    assert holder.size.args == (holder,)


def test_only_functions_bind():
    thing = Thing()
    assert thing.builtin([1]).args == ([1],)
    assert thing.lambda_(1).args == (thing, 1)


def test_tasks_are_values():
    assert copy.copy(function) is function
    assert copy.deepcopy([function])[0] is function
    assert function == function  # noqa: PLR0124 - the point
    assert function != process(timeout=3)(function.fn)
    assert {function: 1}[function] == 1


def test_pickle_by_name_gives_the_same_task():
    for each in (function, coroutine, Thing.method, Thing.Nested.method):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(each, protocol)) is each
    outer = vars(Thing)["outer_class"]
    assert pickle.loads(pickle.dumps(outer)) is outer
    bound = pickle.loads(pickle.dumps(Thing(3).method))
    assert bound == bound  # noqa: PLR0124 - not the same object each time
    assert (type(bound), bound.task, bound.first) == (BoundTask, Thing.method, Thing(3))


def test_pickle_by_value_where_the_name_leads_elsewhere():
    made = process(timeout=2)(len)
    back = pickle.loads(pickle.dumps(made))
    assert back is not made
    assert (back.fn, back.spec, back.options) == (len, made.spec, made.options)
    assert back("ab").args == ("ab",)

    factor = 3

    @workflow(retry=2)
    def closure(a, b=1):
        return a * factor + b if a else closure(b, a)

    back = pickle.loads(cloudpickle.dumps(closure))
    assert back.fn(2) == 7
    assert back.options == closure.options
    assert back(1).args == (1,)
    with pytest.raises(TypeError, match="missing 1 required"):
        back()
    # The function finds its own task, not a copy of it.
    inner = back.fn.__closure__[0].cell_contents
    assert inner is back or inner.fn is back.fn


def test_pickling_a_function_that_refers_to_its_task():
    @process
    def recursive(n, step=1):
        return recursive(n - step) if n else 0

    function = pickle.loads(cloudpickle.dumps(recursive.fn))
    (cell,) = function.__closure__
    assert cell.cell_contents.fn is function
    assert cell.cell_contents(3).args == (3,)
    assert function(1).args == (0,)


def test_a_missing_name_is_a_clear_error():
    with pytest.raises(AttributeError, match="same version"):
        naming.find(__name__, "no_such_task")
    with pytest.raises(AttributeError, match="no task 'Thing'"):
        naming.find(__name__, "Thing")


def test_main_and_registered_modules_go_by_value():
    assert not naming.leads_to(function, "__main__", "function")
    assert naming.leads_to(function, __name__, "function")
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        assert not naming.leads_to(function, __name__, "function")
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    assert not naming.leads_to(function, "no.such.module", "function")


MAIN = """
import sys, pickle, cloudpickle
from entangle.process import process

@process
def fib(n):
    return n if n < 2 else add(fib(n - 1), fib(n - 2))

@process
def add(a, b):
    return a + b

sys.stdout.buffer.write(cloudpickle.dumps(fib))
"""


def test_a_task_of_main_travels_whole():
    data = subprocess.run(
        [sys.executable, "-c", MAIN], capture_output=True, check=True
    ).stdout
    fib = pickle.loads(data)
    node = fib.fn(5)
    assert node.name == "add"
    assert [each.task for each in node.args] == [fib, fib]


HEAVY = {
    "asyncio",
    "cloudpickle",
    "concurrent.futures",
    "dataclasses",
    "difflib",
    "importlib.metadata",
    "inspect",
    "logging",
    "pluggy",
    "signal",
    "subprocess",
    "threading",
    "entangle._run",
    "entangle._pool",
}


def test_importing_decorators_and_building_stays_light():
    program = (
        "import sys\n"
        "from entangle.process import process\n"
        "import entangle.thread, entangle.workflow, entangle.task, entangle.local\n"
        "import entangle.scheduler\n"
        "before = set(sys.modules)\n"
        "f = process(timeout=3)(lambda a: a)\n"
        "f(f(1))\n"
        f"print(*sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path[:] = {sys.path!r}\n{program}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_workers_can_tell_returned_nodes():
    program = (
        "import sys, entangle.process\nprint('entangle._graph.pack' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_the_general_form_runs_in_a_process():
    assert task(len).options.how == "process"
