"""The decorators, made of the executors' classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from entangle.backend import context, infrastructure

from ._account import account
from ._ec2 import Ec2Executor
from ._ec2_stream import Ec2StreamExecutor
from ._fargate import FargateExecutor
from ._lambda import LambdaExecutor
from ._proxy import LambdaProxyExecutor, event
from ._ways import by_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import ParamSpec, Protocol, TypeVar

    # For checkers alone: what Entangle's own decorators return.
    from entangle._graph.task import Task

    from ._proxy import Invocation
    from ._ways import Via

    P = ParamSpec("P")
    R = TypeVar("R")

    class Ships(Protocol):
        """A decorator under which a function's calls stay what they are."""

        @overload
        def __call__(self, fn: Task[P, R], /) -> Task[P, R]: ...
        @overload
        def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...

    class Names(Protocol):
        """A decorator under which a function is called like a Lambda function."""

        def __call__(self, fn: Callable[..., Any], /) -> Task[..., Any]:
            """Decorate a function, whose own body is never run."""
            ...


aws = context(account, name="aws", secrets=["keys"])
shipped = infrastructure(LambdaExecutor, name="lmbda", partners=[aws])
proxy = infrastructure(
    LambdaProxyExecutor, name="lmbda", partners=[aws], calls_like=event
)

ec2_jobs = infrastructure(Ec2Executor, name="ec2", partners=[aws])
ec2_kept = infrastructure(Ec2StreamExecutor, name="ec2", partners=[aws])
fargate = infrastructure(FargateExecutor, partners=[aws])


class Lmbda:
    """``@lmbda``: tasks on AWS Lambda.

    With ``function=`` the task is but the name of a Lambda function that is there, and
    is called like it: its options are those of `LambdaProxyExecutor`. Without, the task
    is shipped to a function that is made for it: its options are those of
    `LambdaExecutor`.
    """

    @overload
    def __call__(self, fn: Task[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(
        self, *, function: str, invocation: Invocation = ..., qualifier: str = ...
    ) -> Names: ...
    @overload
    def __call__(
        self,
        *,
        memory: int = ...,
        timeout: int = ...,
        packages: Sequence[str] = ...,
        architecture: str = ...,
        python: str = ...,
        storage: int = ...,
        concurrency: int = ...,
        execution_role: str = ...,
        bucket: str = ...,
        layers: Sequence[str] = ...,
    ) -> Ships: ...
    def __call__(self, *args: Any, **options: Any) -> Any:
        """Decorate a function, or give the options for that."""
        chosen: Any = proxy if "function" in options else shipped
        return chosen(*args, **options)

    def __repr__(self) -> str:
        """Show the name."""
        return "<decorator @lmbda of entangle.aws>"


lmbda = Lmbda()


class Ec2:
    """``@ec2``: tasks on AWS EC2.

    Where its instances can be reached by sessions of SSM they stay for more calls: its
    options are those of `Ec2StreamExecutor`. Else each call is an instance of its own:
    its options are those of `Ec2Executor`. ``via=`` says which, if it matters.
    """

    @overload
    def __call__(self, fn: Task[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        via: Via = ...,
        ami: str = ...,
        instance_type: str = ...,
        python: str = ...,
        subnet: str = ...,
        security_groups: Sequence[str] = ...,
        public_ip: bool | None = ...,
        instance_profile: str = ...,
        spot: bool = ...,
        disk: int = ...,
        lifetime: float = ...,
        bucket: str = ...,
        instances: int = ...,
        calls: int | None = ...,
        fresh: bool = ...,
        idle: float = ...,
        trust: bool = ...,
    ) -> Ships: ...
    def __call__(self, *args: Any, **options: Any) -> Any:
        """Decorate a function, or give the options for that."""
        chosen: Any = ec2_kept if by_session(options) else ec2_jobs
        return chosen(*args, **options)

    def __repr__(self) -> str:
        """Show the name."""
        return "<decorator @ec2 of entangle.aws>"


ec2 = Ec2()
