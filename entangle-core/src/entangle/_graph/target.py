"""Targets: hashable descriptions of places where calls run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from entangle.errors import CompositionError, OptionError

if TYPE_CHECKING:
    from entangle._graph.configured import Configured, Located


class FrozenMapping(tuple[Any, ...]):
    """The items of a mapping, sorted by key where keys compare."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Differ from a tuple of the same pairs, which is no mapping."""
        return type(other) is FrozenMapping and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        """Hash the items."""
        return hash(tuple(self))


def frozen(value: Any) -> Any:
    """Return a value in a hashable form that `thawed` gives back.

    Raises:
        TypeError: it has none.
    """
    # What a container holds may be anything.
    items: list[Any]
    several: Any = value
    if isinstance(value, Mapping):
        items = [(key, frozen(several[key])) for key in several]
        try:
            items.sort()
        except TypeError:
            pass  # then as written
        return FrozenMapping(items)
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, several))
    if isinstance(value, (set, frozenset)):
        return frozenset(map(frozen, several))
    hash(value)
    return value


def thawed(frozen_value: Any) -> Any:
    """Return what was frozen: mappings as dicts, sequences as tuples."""
    value: Any = frozen_value
    if type(value) is FrozenMapping:
        return {key: thawed(item) for key, item in value}
    if type(value) is tuple:
        items: list[Any] = [*frozen_value]
        return tuple(map(thawed, items))
    return value


class Settings:
    """The options given to a configured decorator; equal if they say the same.

    Attributes:
        of: The decorator.
        options: The options in hashable form, by name, sorted.
    """

    __slots__ = ("of", "options")

    def __init__(self, of: Configured, options: tuple[tuple[str, Any], ...]) -> None:
        """Keep options that were checked."""
        self.of = of
        self.options = options

    def __eq__(self, other: object) -> bool:
        """Compare what is said."""
        if type(other) is not type(self):
            return NotImplemented
        return self._said() == other._said()

    def __hash__(self) -> int:
        """Hash what is said."""
        return hash(self._said())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the decorator."""
        return type(self), (self.of, self.options)

    def __repr__(self) -> str:
        """Show it as people write it, without what is secret."""
        secret = self.of.secrets
        options = ", ".join(
            f"{name}={'…' if name in secret else repr(thawed(value))}"
            for name, value in self.options
        )
        return f"{self.of.name}({options})"

    def _said(self) -> tuple[Any, ...]:
        # With types: 1 is no True here.
        kinds: list[object] = [type(value) for _, value in self.options]
        return self.of, self.options, tuple(kinds)

    def arguments(self) -> dict[str, Any]:
        """Return the options as keyword arguments."""
        return {name: thawed(value) for name, value in self.options}

    def made(self) -> Any:
        """Return what the decorator's function makes of the options."""
        return self.of.make(**self.arguments())


class Target(Settings):
    """A place: an infrastructure decorator, its options, its partners' settings."""

    __slots__ = ("partners",)

    of: Located

    def __init__(
        self,
        of: Configured,
        options: tuple[tuple[str, Any], ...],
        partners: tuple[Settings, ...] = (),
    ) -> None:
        """Describe a place."""
        super().__init__(of, options)
        self.partners = partners

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the decorator."""
        return Target, (self.of, self.options, self.partners)

    def _said(self) -> tuple[Any, ...]:
        return *super()._said(), self.partners

    def beside(self, stated: Mapping[str, object]) -> Target:
        """Return this place with its partners' settings, as far as they are known.

        Args:
            stated: What other decorators of the task say, by key.
        """
        if not self.of.partners:
            return self
        partners: list[Settings] = []
        for partner in self.of.partners:
            found = stated.get(partner.name)
            if isinstance(found, Settings):
                partners.append(found)
            else:
                # One without defaults may still be added, by another decorator.
                with suppress(OptionError):
                    partners.append(partner.settings({}))
        return Target(self.of, self.options, tuple(partners))

    def check_partners(self) -> None:
        """Refuse a place one of whose partners is missing.

        Raises:
            CompositionError: it has no defaults, so the task has to carry it.
        """
        there = {settings.of for settings in self.partners}
        for partner in self.of.partners:
            if partner not in there:
                raise CompositionError(
                    f"@{self.of.name} needs its partner @{partner.name}, which has no "
                    f"defaults: decorate the task with @{partner.name}(...), too"
                )

    def made(self) -> Any:
        """Return an executor for this place; who asks for it owns it.

        Raises:
            CompositionError: a partner is missing.
            Exception: what the executor's constructor raises.
        """
        self.check_partners()
        partners = {settings.of.name: settings.made() for settings in self.partners}
        return self.of.make(**self.arguments(), **partners)
