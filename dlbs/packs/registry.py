"""A registry of classes by name: each base class has its own names, set by `register` and looked up by `by_name`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from dlbs.errors import ConfigError, did_you_mean

__all__ = ["Registrable"]

Registered = TypeVar("Registered", bound="type[Any]")


class Registrable:
    """A base class whose subclasses are registered by name.

    class Reader(Registrable): ...

    @Reader.register("jsonl")
    class JsonLines(Reader): ...
    """

    registered: ClassVar[dict[type, dict[str, tuple[type[Any], str | None]]]] = {}

    @classmethod
    def register(
        cls, name: str, constructor: str | None = None, exist_ok: bool = False
    ) -> Callable[[Registered], Registered]:
        """Register a class under a name.

        Args:
            name: The name.
            constructor: Class method that constructs an object; by default the class itself.
            exist_ok: Replace another class of that name.

        Raises:
            ConfigError: Another class has that name.
        """
        known = Registrable.registered.setdefault(cls, {})

        def remember(made: Registered) -> Registered:
            # Loading a file again defines the same class again.
            if name in known and not exist_ok and known[name][0].__qualname__ != made.__qualname__:
                raise ConfigError(
                    f"{cls.__name__} {name!r} is registered twice",
                    hint="use register(..., exist_ok=True) to replace the first",
                )
            known[name] = (made, constructor)
            return made

        return remember

    @classmethod
    def classes(cls) -> dict[str, type[Any]]:
        """All classes registered for this base class, by name."""
        return {name: made for name, (made, _) in Registrable.registered.get(cls, {}).items()}

    @classmethod
    def by_name(cls, name: str) -> Any:
        """The class with a name, or the constructor that it was registered with.

        Raises:
            ConfigError: The name is unknown; the message contains the closest ones.
        """
        known = Registrable.registered.get(cls, {})
        if name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"unknown {cls.__name__} {name!r}", hint=hint)
        made, constructor = known[name]
        return getattr(made, constructor) if constructor else made

    @classmethod
    def list_available(cls) -> list[str]:
        """All registered names, sorted."""
        return sorted(Registrable.registered.get(cls, {}))
