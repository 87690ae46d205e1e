"""References to secrets, `${env:NAME}` and `${file:PATH}`: their form and what they stand for. Reads nothing itself."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.policy.document.problems import looks_secret

_REFERENCE = re.compile(r"\$\{(env|file):([^${}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_HEADER = re.compile(
    r"(?i)(?:.*[-_])?(?:authorization|cookie|token|key|apikey|secret|password|passwd|auth|credentials?|signature)"
)
_SCHEME_ONLY = re.compile(r"(?i)(?:bearer|basic|token|apikey|digest|negotiate)?")


class Reference(NamedTuple):
    """One `${kind:name}`."""

    kind: str
    """`env` or `file`."""
    name: str

    def __str__(self) -> str:
        return f"${{{self.kind}:{self.name}}}"


Secrets = Mapping[Reference, str]
"""What each reference stands for."""


def references(text: str) -> Iterator[Reference]:
    """The references in a text, in order."""
    for match in _REFERENCE.finditer(text):
        yield Reference(match[1], match[2])


def read_template(text: str) -> str:
    """A text that may hold references. Raises ValueError where one is malformed."""
    if "${" in _REFERENCE.sub("", text):
        raise ValueError("references of the form ${env:NAME} or ${file:PATH}")
    for reference in references(text):
        if reference.kind == "env" and not _NAME.fullmatch(reference.name):
            raise ValueError("a variable's name in ${env:NAME}")
        if reference.kind == "file" and (not reference.name.strip() or not reference.name.isprintable()):
            raise ValueError("a path in ${file:PATH}")
    return text


def is_reference(text: str) -> bool:
    """Is the whole text one reference?"""
    return _REFERENCE.fullmatch(text) is not None


def expand(text: str, secrets: Secrets) -> str:
    """The text with every reference replaced by what it stands for; KeyError where one is not known."""
    return _REFERENCE.sub(lambda match: secrets[Reference(match[1], match[2])], text)


def is_literal_credential(header: str, value: str) -> bool:
    """Does this header carry a credential that is written out, in whole or in part?"""
    literal = _REFERENCE.sub("", value)
    if _SECRET_HEADER.fullmatch(header):
        return not _SCHEME_ONLY.fullmatch(literal.strip())
    return looks_secret(literal)
