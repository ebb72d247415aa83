"""The part of the suite about values, arguments and errors."""

from __future__ import annotations

import functools
import hashlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from entangle.backend import ForeignExecutor
from entangle.errors import (
    EntangleError,
    TaskError,
)
from entangle.task import task

from .base import Suite
from .bodies import VALUES, same

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle.backend import Capabilities, Executor


class ValuesSuite(Suite):
    """What goes in and what comes out."""

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_values_come_back_as_they_went(
        self, executor: Executor, value: object
    ) -> None:
        """Whatever pickles arrives as it is, both ways."""
        returned = self.run(executor, same, value)
        assert type(returned) is type(value)
        assert repr(returned) == repr(value)

    def test_arguments_of_all_kinds(self, executor: Executor) -> None:
        """By position and by name."""

        def echo(*args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        assert self.run(executor, echo, 1, (2,), x=[3], y=None) == (
            (1, (2,)),
            {"x": [3], "y": None},
        )
        assert self.run(executor, echo) == ((), {})

    def test_functions_of_all_kinds(self, executor: Executor) -> None:
        """Closures, lambdas, partials, builtins, methods, callable objects."""
        offset = 10

        class Adder:
            def __call__(self, number: int) -> int:
                return number + offset

            def method(self, number: int) -> int:
                return number + 2 * offset

        functions: list[Callable[[int], Any]] = [
            lambda number: number + offset,
            functools.partial(max, offset),
            str,
            Adder(),
            Adder().method,
        ]
        values = [self.run(executor, function, 1) for function in functions]
        assert values == [11, 10, "1", 11, 21]

    def test_instances_come_back_as_the_callers_class(self, executor: Executor) -> None:
        """Their class is not made anew on the way."""

        class Point:
            def __init__(self, x: int) -> None:
                self.x = x

        returned = self.run(executor, same, Point(3))
        assert type(returned) is Point
        assert returned.x == 3

    def test_coroutine_functions(self, executor: Executor) -> None:
        """An ``async def`` is run to its end."""

        async def double(number: int) -> int:
            import asyncio

            await asyncio.sleep(0)
            return 2 * number

        assert task(executor=executor)(double)(4)() == 8

    def test_payloads_of_all_sizes(self, executor: Executor) -> None:
        """From nothing to the largest that the class names, both ways."""

        def digest(data: bytes) -> tuple[int, str, bytes]:
            return len(data), hashlib.sha256(data).hexdigest(), data

        for size in (0, 1, 4095, 4096, 65_537, 5_000_000, self.most_bytes):
            data = os.urandom(min(size, 4096)) * (size // 4096 + 1)
            data = data[: min(size, self.most_bytes)]
            length, digested, returned = self.run(executor, digest, data)
            assert length == len(data)
            assert digested == hashlib.sha256(data).hexdigest()
            assert returned == data

    def test_objects_are_shared_or_copied_as_declared(
        self, executor: Executor, capabilities: Capabilities
    ) -> None:
        """With `shared_objects` a call gets the very object, else a copy."""

        def change(given: list[int]) -> list[int]:
            given.append(1)
            return given

        mine: list[int] = []
        if isinstance(executor, ForeignExecutor):
            pytest.skip("nobody knows of a foreign executor whether it copies")
        returned = self.run(executor, change, mine)
        assert returned == [1]
        assert (returned is mine) == capabilities.shared_objects
        assert mine == ([1] if capabilities.shared_objects else [])

    def test_exceptions_arrive_as_themselves(self, executor: Executor) -> None:
        """Type, arguments, attributes and notes."""

        def fail() -> None:
            error = LookupError("no", 7)
            error.add_note("a note of the body's")
            raise error

        with pytest.raises(LookupError) as caught:
            self.run(executor, fail)
        assert caught.value.args == ("no", 7)
        assert "a note of the body's" in caught.value.__notes__

    @pytest.mark.parametrize(
        "kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration]
    )
    def test_what_would_steer_the_caller_is_wrapped(
        self, executor: Executor, kind: type[BaseException]
    ) -> None:
        """A body can't end the caller's program, loop or iteration."""

        def steer() -> None:
            raise kind("steering")

        with pytest.raises((TaskError, EntangleError, RuntimeError)) as caught:
            task(executor=executor)(steer)()()
        assert not isinstance(caught.value, kind)
        assert self.run(executor, lambda: 1) == 1

    def test_endless_recursion(self, executor: Executor) -> None:
        """It is an error of that call alone."""

        def deeper(level: int) -> int:
            return deeper(level + 1)

        with pytest.raises(RecursionError):
            self.run(executor, deeper, 0)
        assert self.run(executor, lambda: 1) == 1

    def test_unpicklable_things(self, executor: Executor, apart: bool) -> None:
        """Arguments, values and exceptions that can't travel are errors, not hangs."""
        if not apart:
            pytest.skip("nothing has to be pickled here")

        class Rooted:
            def __reduce__(self) -> Any:
                raise TypeError("it stays at home")

        class RootedError(Exception):
            def __init__(self) -> None:
                super().__init__("rooted")
                self.cargo = Rooted()

        def fail() -> None:
            raise RootedError

        with pytest.raises(Exception, match=r"stays at home|pickle"):
            self.run(executor, same, {"deep": [Rooted()]})
        with pytest.raises(Exception, match=r"stays at home|pickle"):
            self.run(executor, lambda: Rooted())  # noqa: PLW0108 - by value
        if not isinstance(executor, ForeignExecutor):  # it may break for good
            with pytest.raises(Exception, match=r"rooted|stays at home|pickle"):
                self.run(executor, fail)
        assert self.run(executor, lambda: 1) == 1
