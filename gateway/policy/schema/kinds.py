"""How values are read: each kind takes exactly what the schema says, tells all that is wrong, and gives what compile works with.

The kind of a key is made from its annotation in its section, when it is first asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, get_origin

from gateway.policy.document.problems import Path
from gateway.policy.document.scalars import Ambiguous
from gateway.policy.schema.section import Section, is_required
from gateway.policy.schema.wrongs import WRONG, Wrongs


class Kind(Protocol):
    """What may stand at a key."""

    def read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        """The value in its canonical form, or WRONG; what could be read of it, where only parts are wrong."""
        ...


@dataclass(frozen=True, eq=False)
class Form:
    """A scalar."""

    describe: str
    """What is expected, as an error line says it."""
    take: Callable[[Any], object]
    """Returns the canonical value, or raises ValueError, whose text says what is expected where `describe` is too general."""
    takes: tuple[type, ...] = (str,)
    json: Mapping[str, Any] | None = None
    """What editors can check; None: that it is text, whose form the description tells."""

    def read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        phrase = self.describe
        if type(value) in self.takes:
            try:
                return self.take(value)
            except ValueError as error:
                phrase = str(error) or phrase
        return wrongs.expected(
            path, phrase, value, if_quoted=isinstance(value, Ambiguous) and self._accepts(value.text)
        )

    def _accepts(self, text: str) -> bool:
        try:
            return str in self.takes and self.take(text) is not None
        except ValueError:
            return False


@dataclass(frozen=True, eq=False)
class Nullable:
    """`null`, or another kind."""

    kind: Kind

    def read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        return None if value is None else self.kind.read(value, path, wrongs)


@dataclass(frozen=True, eq=False)
class ListOf:
    """A list, read as a tuple. With a wrong item all of it is left out, so that places stay true."""

    item: Kind

    def read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        if type(value) is not list:
            return wrongs.expected(path, "a list", value)
        items = tuple([self.item.read(item, (*path, number), wrongs) for number, item in enumerate(value)])
        return WRONG if any(item is WRONG for item in items) else items


@dataclass(frozen=True, eq=False)
class MappingOf:
    """Entries of one kind, under names of a form. Wrong ones are left out."""

    name: Kind
    entry: Kind

    def read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        if type(value) is not dict:
            return wrongs.expected(path, "a mapping", value)
        entries = {}
        for name, below in value.items():
            here = (*path, name)
            known, entry = self.name.read(name, here, wrongs), self.entry.read(below, here, wrongs)
            if known is not WRONG and entry is not WRONG:
                entries[name] = entry
        return entries


class SectionOf:
    """A section's keys. Wrong ones are left out, as if they were not written."""

    def __init__(self, section: type[Section]) -> None:
        self.section = section
        self.keys = {key: kind_of(annotation) for key, annotation in section.ANNOTATIONS.items()}
        self.required = frozenset(key for key in self.keys if is_required(section, key))
        self.known = sorted(self.keys)

    def read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        if type(value) is not dict:
            return wrongs.expected(path, "a mapping", value)
        written = {}
        for key, below in value.items():
            here = (*path, key)
            if here in wrongs.paths:  # told before
                continue
            kind = self.keys.get(key)
            if kind is None:
                wrongs.unknown(here, self.known)
                continue
            read = kind.read(below, here, wrongs)
            if read is not WRONG:
                written[key] = read
        for key in self.required.difference(value):
            wrongs.tell((*path, key), "required key is missing")
        return self.section(**written) if self.required <= written.keys() else WRONG


class JsonObject:
    """A mapping that may hold any JSON, but no scalar that YAML readers disagree on."""

    def read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        return self._read(value, path, wrongs) if type(value) is dict else wrongs.expected(path, "a mapping", value)

    def _read(self, value: object, path: Path, wrongs: Wrongs) -> object:
        if isinstance(value, dict):
            read = {key: self._read(below, (*path, key), wrongs) for key, below in value.items()}
            return {key: below for key, below in read.items() if below is not WRONG}
        if isinstance(value, list):
            items = [self._read(item, (*path, number), wrongs) for number, item in enumerate(value)]
            return WRONG if any(item is WRONG for item in items) else items
        return wrongs.expected(path, "JSON", value, if_quoted=True) if isinstance(value, Ambiguous) else value


SWITCH = Form("true or false", bool, (bool,), {"type": "boolean"})


_SECTIONS: dict[type[Section], SectionOf] = {}


def section_of(section: type[Section]) -> SectionOf:
    """The kind of a section, made once."""
    if section not in _SECTIONS:
        _SECTIONS[section] = SectionOf(section)
    return _SECTIONS[section]


def kind_of(annotation: Any) -> Kind:
    """What the annotation of a section's key says."""
    if annotation is bool:
        return SWITCH
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return section_of(annotation)
    if hasattr(annotation, "__metadata__"):
        kind: Kind = annotation.__metadata__[0]
        return kind
    args = get_args(annotation)
    if type(None) in args:
        return Nullable(kind_of(args[0]))
    origin = get_origin(annotation)
    if origin is Literal:
        return _one_of(args)
    return ListOf(kind_of(args[0])) if origin is tuple else MappingOf(kind_of(args[0]), kind_of(args[1]))


def _one_of(words: tuple[str, ...]) -> Form:
    def take(word: str) -> str:
        if word not in words:
            raise ValueError
        return word

    return Form("one of " + ", ".join(words), take, json={"enum": list(words), "type": "string"})
