"""Decorators made of executor classes and of functions that return settings."""

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
from life_kit import output_of

from entangle.backend import Executor, ForeignExecutor, context, infrastructure
from entangle.errors import CompositionError, OptionError, UnmetCapabilityError
from entangle.local import local
from entangle.process import process
from entangle.scheduler import scheduler
from entangle.task import task
from entangle.thread import thread
from entangle.workflow import workflow

HERE = __file__
SECRET, OTHER = "hunter2", "swordfish"


class IdleExecutor(Executor):
    """Runs nothing."""

    def start(self, call):
        raise NotImplementedError

    def cancel(self, call, grace):
        raise NotImplementedError


class OnpremExecutor(IdleExecutor):
    """Runs calls on machines of one's own.

    Args:
        host: Which.
        port, load, verify, packages, labels, user, mode, size, pair, many: More.
        kinds, names, each, mapping, path, old, anything, token: And more.
    """

    def __init__(
        self,
        *,
        host: str = "localhost",
        port: int = 22,
        load: float = 0.5,
        verify: bool = True,
        packages: list[str] | None = None,
        labels: dict[str, int] | None = None,
        user: Optional[str] = None,  # noqa: UP045 - the old form is checked too
        mode: Literal["fast", 3] = "fast",
        size: int | str = 1,
        pair: tuple[int, str] | None = None,
        many: tuple[int, ...] = (),
        kinds: set[str] | None = None,
        names: Sequence[str] = (),
        each: Iterable[str] = (),
        mapping: Mapping[str, list[int]] | None = None,
        path: Path | None = None,
        old: Union[int, None] = None,  # noqa: UP007 - as user
        anything: Any = None,
        token: str | bytes = "",
    ):
        given = dict(locals())
        super().__init__()
        self.given = {name: given[name] for name in onprem.options}

    @classmethod
    def check_options(cls, *, host="localhost", port=22, **others):
        if not host:
            raise ValueError("a host has a name")
        if not 0 < port < 1 << 16:
            raise TypeError(f"{port} is no port")


onprem = infrastructure(OnpremExecutor, secrets=["token", "mode"])


class NeedyExecutor(IdleExecutor):
    """Can't do without: host."""

    def __init__(self, *, host: str):
        super().__init__()


needy = infrastructure(NeedyExecutor)


def _login(*, user: str = "nobody", password: str = ""):
    """Say who: user, with which password."""
    return f"{user}:{password}"


login = context(_login, name="login", secrets=["password"])


def region(*, name: str):
    """Say where: name."""
    return name


in_region = context(region, name="in_region")


class CloudExecutor(IdleExecutor):
    """Runs calls in a cloud.

    Args:
        size: How big.
    """

    def __init__(self, *, size: int = 1, login: str):
        super().__init__()
        self.size = size
        self.login = login


cloud = infrastructure(CloudExecutor, partners=[login])


def remote(event: dict, /, *, dry: bool = False) -> int:
    """What calls of the work look like."""


class ServiceExecutor(IdleExecutor):
    """Has the work already: name.

    Args:
        name: Which work.
    """

    def __init__(self, *, name: str = "work"):
        super().__init__()


service = infrastructure(ServiceExecutor, calls_like=remote)


def plain(a, b=1):
    return a + b


def place(decorated):
    """Return the target of a task."""
    return decorated.options.executor


# -- options --------------------------------------------------------------------------

BAD = [
    ("host", 3, "must be str, not int 3"),
    ("host", b"x", "must be str, not bytes"),
    ("host", None, "must be str, not NoneType None"),
    ("port", "22", "must be int, not str '22'"),
    ("port", True, "must be int, not bool True"),
    ("port", 22.0, "must be int, not float"),
    ("load", "x", "must be float"),
    ("load", True, "must be float, not bool"),
    ("verify", 1, "must be bool, not int 1"),
    ("packages", "numpy", "list[str] | None, not str 'numpy'"),
    ("packages", [1], "list[str] | None, not list [1]"),
    ("packages", ("numpy",), "not tuple"),
    ("packages", {"numpy"}, "not set"),
    ("labels", {"a": "1"}, "dict[str, int]"),
    ("labels", {1: 1}, "dict[str, int]"),
    ("labels", [("a", 1)], "not list"),
    ("user", 3, "user must be"),
    ("mode", "slow", "mode must be 'fast' or 3, not str"),
    ("mode", 3.0, "mode must be"),
    ("size", 1.5, "int | str, not float"),
    ("size", None, "not NoneType"),
    ("pair", (1,), "pair must be"),
    ("pair", (1, 2), "pair must be"),
    ("pair", (1, "a", "b"), "pair must be"),
    ("pair", [1, "a"], "not list"),
    ("many", (1, "a"), "many must be"),
    ("kinds", {1}, "kinds must be"),
    ("kinds", "ab", "not str"),
    ("names", "ab", "names must be"),
    ("names", [1], "names must be"),
    ("each", "ab", "each must be"),
    ("each", b"ab", "each must be"),
    ("mapping", {"a": ["b"]}, "mapping must be"),
    ("mapping", {"a": 1}, "mapping must be"),
    ("path", "/tmp", "path must be"),
    ("old", "x", "old must be"),
    ("anything", bytearray(b"x"), "must be hashable, or a list, dict or set of what"),
    ("anything", [[bytearray()]], "must be hashable"),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD)
def test_values_of_a_wrong_type(name, value, words):
    with pytest.raises(OptionError) as caught:
        onprem(**{name: value})
    assert str(caught.value).startswith(f"onprem(): {name} must be ")
    assert words in str(caught.value)
    assert (caught.value.decorator, caught.value.option) == ("onprem", name)
    with pytest.raises(OptionError):
        onprem(plain, **{name: value})


GOOD = [
    ("host", "there", "there"),
    ("port", 23, 23),
    ("load", 1, 1),
    ("load", 1.5, 1.5),
    ("verify", False, False),
    ("packages", ["a", "b"], ("a", "b")),
    ("packages", [], ()),
    ("labels", {"b": 1, "a": 2}, {"a": 2, "b": 1}),
    ("labels", {}, {}),
    ("user", "me", "me"),
    ("user", None, None),
    ("mode", 3, 3),
    ("size", "big", "big"),
    ("pair", (1, "a"), (1, "a")),
    ("many", (1, 2, 3), (1, 2, 3)),
    ("kinds", {"a"}, frozenset({"a"})),
    ("names", ("a",), ("a",)),
    ("names", ["a"], ("a",)),
    ("each", ["a"], ("a",)),
    ("mapping", {"a": [1, 2]}, {"a": (1, 2)}),
    ("path", Path("/tmp"), Path("/tmp")),
    ("old", None, None),
    ("anything", {"a": [{"b": {1}}]}, {"a": ({"b": frozenset({1})},)}),
    ("anything", {1: "a", "b": 2}, {1: "a", "b": 2}),
    ("anything", len, len),
    ("anything", "text", "text"),
    ("anything", b"bytes", b"bytes"),
]


@pytest.mark.parametrize(("name", "value", "arrives"), GOOD)
def test_values_reach_the_executor(name, value, arrives):
    target = place(onprem(**{name: value})(plain))
    hash(target)
    made = target.made()
    assert type(made) is OnpremExecutor
    assert made.given[name] == arrives
    # Nothing else is given: the author's defaults hold.
    default = OnpremExecutor().given
    others = {key: each for key, each in made.given.items() if key != name}
    assert others == {key: each for key, each in default.items() if key != name}


def test_each_executor_gets_containers_of_its_own():
    target = place(onprem(labels={"a": 1})(plain))
    target.made().given["labels"]["b"] = 2
    assert target.made().given["labels"] == {"a": 1}


def test_what_was_given_may_change_afterwards():
    packages = ["a"]
    labels = {"a": 1}
    target = place(onprem(packages=packages, labels=labels)(plain))
    packages.append("b")
    labels["b"] = 2
    made = target.made()
    assert list(made.given["packages"]) == ["a"]
    assert made.given["labels"] == {"a": 1}


def test_what_can_be_iterated_over_once_is_refused_or_kept_whole():
    try:
        decorated = onprem(each=(name for name in "ab"))(plain)
    except OptionError:
        return
    assert list(place(decorated).made().given["each"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hots": "x"}, "onprem() has no option 'hots'; did you mean 'host'?"),
        ({"xyzzy": 3}, "has no option 'xyzzy'; its options are host, port, load"),
        ({"timeout": 3}, "has no option 'timeout'"),
        ({"self": 3}, "self"),
    ],
)
def test_unknown_options(options, words):
    with pytest.raises(TypeError) as caught:
        onprem(**options)
    assert words in str(caught.value)


def test_an_unknown_option_of_what_takes_none():
    class BareExecutor(IdleExecutor):
        """Takes nothing."""

    bare = infrastructure(BareExecutor)
    with pytest.raises(OptionError, match="has no option 'x'; its options are none"):
        bare(x=1)
    assert type(place(bare(plain)).made()) is BareExecutor


@pytest.mark.parametrize("use", [lambda: needy(), lambda: needy(plain)])
def test_a_missing_option(use):
    with pytest.raises(OptionError) as caught:
        use()
    assert str(caught.value) == "needy() needs host=: see help(needy)"
    assert caught.value.option == "host"
    assert needy(host="x")(plain)


@pytest.mark.parametrize("args", [("there",), (3,), (None,), (plain, plain), ([],)])
def test_options_by_position(args):
    with pytest.raises(OptionError, match=r"onprem\(\) takes its options by name: ho"):
        onprem(*args)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": ""}, "onprem(): a host has a name"),
        ({"port": 0}, "onprem(): 0 is no port"),
    ],
)
def test_what_only_the_author_can_check(options, words):
    with pytest.raises(OptionError) as caught:
        onprem(**options)
    assert str(caught.value) == words
    assert isinstance(caught.value.__cause__, (ValueError, TypeError))
    assert caught.value.decorator == "onprem"


def test_annotations_that_cannot_be_resolved_check_nothing():
    def loose(*, a: "NoSuchType" = 1, b: int = 2):  # noqa: F821
        """Take a and b."""

    for value in (1.5, "x"):
        assert context(loose)(b=value)(plain)


def test_options_without_annotations_take_anything():
    def loose(*, a=1):
        """Take a."""

    for value in (3, "x", None, ["x"]):
        assert context(loose)(a=value)(plain)


# -- making -----------------------------------------------------------------------------


def positional(host="x"):
    """Take host."""


def variadic(**options):
    """Take options."""


def several(*hosts, a=1):
    """Take hosts, a."""


def undocumented(*, host="x", port=3):
    """Take host."""


def silent(*, host="x"):
    pass


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional, "the options of positional must be keyword-only parameters"),
        (variadic, "the options of variadic must be keyword-only parameters"),
        (several, "the options of several must be keyword-only parameters"),
        (undocumented, "option 'port' of @undocumented is not documented"),
        (silent, "option 'host' of @silent is not documented"),
        (len, "is no plain function or class"),
    ],
)
def test_what_no_decorator_can_be_made_of(function, words):
    with pytest.raises(TypeError) as caught:
        context(function)
    assert words in str(caught.value)
    if function is not len:

        class ThisExecutor(IdleExecutor):
            __doc__ = function.__doc__

        parameters = re.search(r"\((.*)\)", _head(function)).group(1)
        names = {}
        exec(f"def __init__(self, {parameters}): pass", names)
        ThisExecutor.__init__ = names["__init__"]
        with pytest.raises(TypeError):
            infrastructure(ThisExecutor)


def _head(function):
    import inspect

    return f"def f{inspect.signature(function)}"


@pytest.mark.parametrize("made_of", [3, len, IdleExecutor(), type("X", (), {})])
def test_infrastructure_takes_classes_of_executors(made_of):
    with pytest.raises(TypeError, match=r"is no subclass of entangle\.backend\.Exec"):
        infrastructure(made_of)


def test_context_takes_functions():
    with pytest.raises(TypeError, match="3 is no function"):
        context(3)


@pytest.mark.parametrize(
    "name", ["where", "how", "timeout", "executor", "cpus", "impl", "no name", "a-b"]
)
def test_names_that_are_taken(name):
    words = f"{name!r} can't be the name of a decorator"
    with pytest.raises(TypeError, match=re.escape(words)):
        infrastructure(IdleExecutor, name=name)
    with pytest.raises(TypeError, match=re.escape(words)):
        context(_login, name=name)


def test_a_partner_that_is_not_asked_for():
    with pytest.raises(TypeError, match="takes no keyword 'login' for its settings"):
        infrastructure(OnpremExecutor, partners=[login])


def test_names_and_documentation():
    assert onprem.name == onprem.__name__ == onprem.__qualname__ == "onprem"
    assert infrastructure(IdleExecutor, name="other").name == "other"
    assert (in_region.name, login.name) == ("in_region", "login")
    assert onprem.__module__ == __name__
    assert onprem.__doc__.startswith("``@onprem``: Runs calls on machines of one's own")
    assert "host: Which." in onprem.__doc__
    assert login.__doc__ == "``@login``: Say who: user, with which password."
    assert repr(onprem) == f"<decorator @onprem of {__name__}>"


def test_partners_are_no_options():
    assert cloud.options == ("size",)
    with pytest.raises(OptionError, match="no option 'login'"):
        cloud(login="x")


# -- use ------------------------------------------------------------------------------


def test_bare_and_with_options():
    bare = onprem(plain)
    assert bare.fn is plain
    assert place(bare) == onprem.target == place(onprem()(plain))
    assert bare.spec == onprem()(plain).spec
    assert onprem(host="x")(plain).spec == onprem(plain, host="x").spec
    assert bare.name == "plain"


def test_methods():
    class Model:
        @onprem
        def fit(self, data):
            return data

        @staticmethod
        @onprem(host="x")
        def load(path):
            return path

        @onprem
        @classmethod
        def make(cls, size):
            return size

    model = Model()
    assert place(model.fit) == onprem.target
    assert model.fit(1).args == (model, 1)
    assert Model.load("x").args == ("x",)
    assert Model.make(3).args == (Model, 3)


@pytest.mark.parametrize(
    ("given", "decorator"),
    [
        (onprem, onprem),
        (onprem(), onprem),
        (onprem(host="x", labels={"a": 1}), onprem(host="x", labels={"a": 1})),
        (needy(host="x"), needy(host="x")),
        (service, service),
        (cloud(size=3), cloud(size=3)),
    ],
)
def test_a_decorator_as_executor_means_the_same(given, decorator):
    general, own = task(executor=given)(plain), decorator(plain)
    assert general.options == own.options
    assert hash(place(general)) == hash(place(own))
    assert (
        task(executor=given)(task(retry=2)(plain)).options
        == decorator(task(retry=2)(plain)).options
    )


def test_both_ways_at_once_for_the_same_place():
    stacks = (
        lambda: onprem(task(executor=onprem)(plain)),
        lambda: task(executor=onprem)(onprem(plain)),
    )
    outcomes = []
    for stack in stacks:
        try:
            outcomes.append(stack().options)
        except CompositionError as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_decorators_that_are_no_place_are_no_executor():
    for given in (login, login(user="x"), local(cpus=2), process, process()):
        with pytest.raises(OptionError, match="must be the name of an executor"):
            task(executor=given)
    with pytest.raises(OptionError, match="needs host="):
        task(executor=needy)


# -- partners and what excludes what ---------------------------------------------------


def test_a_missing_partner_gives_its_defaults():
    assert place(cloud(plain)).made().login == "nobody:"


@pytest.mark.parametrize(
    "stack",
    [
        lambda who: cloud(who(plain)),
        lambda who: who(cloud(plain)),
        lambda who: task(executor=cloud)(who(plain)),
        lambda who: who(task(executor=cloud)(plain)),
        lambda who: who(process(cloud(task(retry=1)(plain)))),
    ],
)
def test_a_partners_settings_reach_the_executor(stack):
    both = stack(login(user="me", password=SECRET))
    assert place(both).made().login == f"me:{SECRET}"
    assert place(both) != place(cloud(plain))
    assert place(both) == place(cloud(login(user="me", password=SECRET)(plain)))


def test_a_partner_without_defaults():
    """Whatever is said first, the complete stack counts."""

    class FarExecutor(IdleExecutor):
        """Runs far away."""

        def __init__(self, *, in_region):
            super().__init__()
            self.region = in_region

    far = infrastructure(FarExecutor, partners=[in_region])
    assert place(far(in_region(name="eu")(plain))).made().region == "eu"
    assert place(in_region(name="eu")(far(plain))).made().region == "eu"


def test_a_partner_beside_another_place_changes_nothing():
    assert place(login(user="me")(onprem(plain))) == place(onprem(plain))
    assert login(user="me")(plain).options == task(plain).options


def lines(error):
    """Return the decorators that an error names, as lines of this file."""
    assert all(origin in str(error) for origin in error.origins)
    assert all(origin.startswith(f"{HERE}:") for origin in error.origins)
    return sorted(int(origin.rpartition(":")[2]) for origin in error.origins)


def conflict(inner, outer):
    """Return the error of two decorators, written on lines of their own."""
    first = inner()
    line = first.spec.facets[0].origin.rpartition(":")[2]
    with pytest.raises(CompositionError) as caught:
        outer(first)
    return caught.value, int(line)


def test_conflicts_name_both_lines():
    def inner():
        return onprem(host="x")(plain)

    def outer(first):
        return onprem(host="y")(first)

    error, line = conflict(inner, outer)
    assert lines(error) == [
        inner.__code__.co_firstlineno + 1,
        outer.__code__.co_firstlineno + 1,
    ]
    assert line in lines(error)
    assert "@onprem(host='x')" in str(error)
    assert "@onprem(host='y')" in str(error)
    assert error.task == "plain"


EXCLUDING = {
    "another place": (onprem(host="x"), cloud),
    "the same with other options": (onprem(host="x"), onprem(host="y")),
    "a thread": (onprem, thread),
    "a workflow": (onprem, workflow),
    "another executor": (onprem, task(executor=cloud)),
    "another executor by name": (onprem, task(executor="thread")),
    "another login": (login(user="a"), login(user="b")),
    "a place and what it excludes": (
        infrastructure(IdleExecutor, name="lonely", excludes=["login"]),
        login(user="me"),
    ),
    "a place as executor and what it excludes": (
        task(executor=infrastructure(IdleExecutor, name="lonely", excludes=["login"])),
        login(user="me"),
    ),
    "a context and the context it excludes": (
        context(_login, name="other", excludes=["login"]),
        login(user="me"),
    ),
    "a context and the place it excludes": (
        context(_login, name="other", excludes=["onprem"]),
        onprem,
    ),
    "a context and the place as executor": (
        context(_login, name="other", excludes=["onprem"]),
        task(executor=onprem(host="x")),
    ),
    "a context and how": (context(_login, name="other", excludes=["thread"]), thread),
    "a context and resources": (
        context(_login, name="other", excludes=["local"]),
        local(cpus=2),
    ),
    "a context and another's option": (
        context(_login, name="other", excludes=["scheduler"]),
        scheduler(cpus=2),
    ),
}


@pytest.mark.parametrize(("one", "other"), EXCLUDING.values(), ids=EXCLUDING)
def test_what_excludes_each_other_does_so_either_way_round(one, other):
    for first, second in ((one, other), (other, one)):
        with pytest.raises(CompositionError) as caught:
            second(first(plain))
        assert len(caught.value.origins) == 2
        assert lines(caught.value)
        assert caught.value.task == "plain"


def test_what_is_not_excluded_goes_together():
    lonely = infrastructure(IdleExecutor, name="lonely", excludes=["login"])
    assert in_region(name="eu")(lonely(plain))
    other = context(_login, name="other", excludes=["cloud", "thread"])
    assert other(onprem(process(plain)))


@pytest.mark.parametrize(
    "option", [{"timeout": 3}, {"env": {"A": "1"}}, {"fresh": True}, {"nice": 3}]
)
def test_what_a_place_cannot_honour_is_refused_at_decoration(option):
    (name,) = option
    for stack in (
        lambda: onprem(process(**option)(plain)),
        lambda: process(**option)(onprem(plain)),
        lambda: task(executor=onprem, **option)(plain),
    ):
        with pytest.raises(UnmetCapabilityError) as caught:
            stack()
        assert caught.value.option == name
        assert len(caught.value.origins) == 2
    for stack in (lambda: onprem(local(cpus=2)(plain)), lambda: local(2)):
        with pytest.raises(CompositionError):
            stack()


# -- secrets ------------------------------------------------------------------------------


def test_secrets_are_shown_nowhere(caplog):
    given = onprem(host="x", token=SECRET, mode=3)
    who = login(user="me", password=SECRET)
    decorated = who(given(plain))
    target = place(decorated)
    assert target.made().given["token"] == SECRET
    conflicts = []
    for clash in (
        lambda: onprem(token=OTHER)(given(plain)),
        lambda: login(password=OTHER)(who(plain)),
        lambda: task(executor=cloud)(decorated),
        lambda: thread(decorated),
        lambda: process(timeout=3)(decorated),
        lambda: onprem(token=[SECRET]),
        lambda: onprem(token=3),
        lambda: onprem(mode=SECRET),
        lambda: onprem(token=bytearray(SECRET.encode())),
        lambda: login(password=3.5),
    ):
        with pytest.raises(CompositionError) as caught:
            clash()
        conflicts.append(str(caught.value) + repr(caught.value))
    assert "3.5" not in conflicts[-1]
    planned = decorated(1).plan()
    texts = [
        repr(target),
        str(target),
        repr(decorated),
        repr(decorated.spec),
        decorated.spec.summary(),
        repr(given),
        repr(who),
        str(planned),
        repr(planned.tasks),
        *conflicts,
        caplog.text,
    ]
    for text in texts:
        assert SECRET not in text
        assert OTHER not in text
    assert repr(target) == "onprem(host='x', mode=…, token=…)"
    assert planned.tasks[0].options == {"host": "x"}


# -- calls like --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "decorated",
    [
        service(plain),
        service(name="x")(plain),
        task(executor=service)(plain),
        task(retry=2)(service(plain)),
        service(task(retry=2)(plain)),
        service(lambda: None),
    ],
)
def test_the_signature_is_replaced(decorated):
    assert decorated({"a": 1}).args == ({"a": 1},)
    assert decorated({}, dry=True).kwargs == {"dry": True}
    for call in (
        lambda: decorated(),
        lambda: decorated(1, 2),
        lambda: decorated(1, b=2),
        lambda: decorated(event={}),
    ):
        with pytest.raises(TypeError, match=decorated.name):
            call()
    assert len(decorated.map([{}, {}]).args[0]) == 2


def test_the_signature_of_other_places_is_the_functions_own():
    decorated = onprem(plain)
    assert decorated(1, b=2).kwargs == {"b": 2}
    with pytest.raises(TypeError, match="plain"):
        decorated()


# -- equality and travel ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (onprem, onprem()),
        (onprem(host="x", port=3), onprem(port=3, host="x")),
        (onprem(labels={"a": 1, "b": 2}), onprem(labels={"b": 2, "a": 1})),
        (onprem(anything=[1, [2]]), onprem(anything=(1, (2,)))),
        (onprem(kinds={"a", "b"}), onprem(kinds={"b", "a"})),
    ],
)
def test_targets_that_say_the_same_are_equal(one, other):
    first, second = place(one(plain)), place(other(plain))
    assert first == second
    assert hash(first) == hash(second)
    assert len({first, second}) == 1
    assert one(plain).spec == other(plain).spec


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (onprem(host="x"), onprem(host="y")),
        (onprem(host="x"), onprem()),
        (onprem(host="x"), needy(host="x")),
        (onprem(anything={"a": 1}), onprem(anything=[("a", 1)])),
        (onprem(anything={"a"}), onprem(anything=["a"])),
        (onprem, infrastructure(OnpremExecutor, excludes=["anything"])),
        (onprem(anything=1), onprem(anything=True)),
    ],
)
def test_targets_that_say_something_else_differ(one, other):
    first, second = place(one(plain)), place(other(plain))
    assert first != second
    assert one(plain).spec != other(plain).spec
    assert first != "onprem()"


on_x = onprem(host="x", labels={"b": 1, "a": 2})(plain)
unbound = infrastructure(OnpremExecutor, name="elsewhere")


def travelled(value):
    return pickle.loads(pickle.dumps(value))


def test_decorators_and_tasks_travel_by_name():
    assert travelled(onprem) is onprem
    assert travelled(on_x) is not None
    assert travelled(service) is service
    target = travelled(place(on_x))
    assert target == place(on_x)
    assert hash(target) == hash(place(on_x))
    assert target.of is onprem
    assert travelled(on_x.spec) == on_x.spec
    with_partner = login(user="me")(cloud(plain))
    assert travelled(place(with_partner)) == place(with_partner)
    assert travelled(place(with_partner)).made().login == "me:"


def test_a_decorator_that_its_name_does_not_lead_to_travels_by_value():
    copy = travelled(unbound)
    assert copy is not unbound
    assert (copy.name, copy.module, copy.options) == (
        "elsewhere",
        __name__,
        unbound.options,
    )
    target = travelled(place(unbound(host="x")(plain)))
    assert repr(target) == "elsewhere(host='x')"
    assert target.made().given["host"] == "x"
    assert copy(host="y")(plain)
    with pytest.raises(OptionError, match="did you mean 'host'?"):
        copy(hots="y")


def test_places_that_travel_by_value_are_still_the_same_place():
    target = place(unbound(host="x")(plain))
    assert travelled(target) == target
    assert hash(travelled(target)) == hash(target)


SCRIPT = """
from entangle.backend import Executor, context, infrastructure
from entangle.process import process
def login(*, user: str = "nobody"):
    "Say who: user."
    return user
login = context(login)
class NearExecutor(Executor):
    "Runs near: host."
    def __init__(self, *, host: str = "", login=None):
        super().__init__()
        self.said = host, login
    def start(self, call): call.succeeded((self.said, call.invoke()))
    def cancel(self, call, grace): ...
near = infrastructure(NearExecutor, partners=[login])
@login(user="me")
@near(host="x")
def double(number): return 2 * number
@process
def outer():
    target = double.options.executor
    return repr(target), double(3)(), target, near
text, value, target, decorator = outer()()
print(text, value, target == double.options.executor, decorator.name)
"""


@pytest.mark.process
def test_decorators_of_a_script_travel_by_value(tmp_path):
    out = output_of(SCRIPT, path=tmp_path / "script.py")
    assert out == "near(host='x') (('x', 'me'), 6) True near\n"


def test_foreign_executors_are_no_decorator():
    with pytest.raises(TypeError, match="keyword-only"):
        infrastructure(ForeignExecutor)
