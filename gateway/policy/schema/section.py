"""What all sections of a policy have in common: an object that holds the keys that are written; all others stand at their defaults."""

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, TypeVar, dataclass_transform

S = TypeVar("S", bound="Section")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Section:
    """A mapping of known keys, frozen: a subclass's annotations are the schema, its class attributes the defaults.

    (Not a dataclass: twenty of them are 10 ms of every start, and each of ten thousand tools would hold all its defaults.)
    """

    ANNOTATIONS: ClassVar[Mapping[str, Any]] = {}
    """Every key, in order, those of the class above first."""

    def __init_subclass__(cls) -> None:
        cls.ANNOTATIONS = {**cls.ANNOTATIONS, **vars(cls).get("__annotations__", {})}

    def __init__(self, **written: Any) -> None:
        vars(self).update(written)

    def __setattr__(self, key: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Section)
            and type(other) is type(self)
            and (vars(self) == vars(other) or filled(self) == filled(other))
        )

    __hash__ = None  # type: ignore[assignment]  # how a class says so; sections hold mappings

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


def is_required(section: type[Section], key: str) -> bool:
    """A key without a default."""
    return not hasattr(section, key)


def written(section: Section) -> Mapping[str, Any]:
    """The keys that the file has, and their values."""
    return vars(section)


def filled(section: Section) -> dict[str, Any]:
    """Every key with its value, written or not."""
    return {key: getattr(section, key) for key in section.ANNOTATIONS}


def changed(section: S, **changes: object) -> S:
    """A copy with other values for these keys."""
    return type(section)(**(vars(section) | changes))


def plain(value: object) -> object:
    """What a serialiser of plain data asks for where it meets a section, or a tuple with names."""
    if isinstance(value, Section):
        return filled(value)
    if isinstance(value, tuple):
        return tuple(value)
    raise TypeError(type(value).__name__)
