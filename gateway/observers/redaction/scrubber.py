"""What the log scrubs with: the redactor, loaded for the first text that needs it.

With RE2 and all its patterns it is 4 MB and a tenth of the start, and a gateway that rests has nothing but names to write.
"""

from typing import TYPE_CHECKING

from gateway.observers.redaction.names import is_random, may_hide
from gateway.policy.snapshot import Redaction

if TYPE_CHECKING:
    from gateway.observers.redaction.redact import Redactor

SURPLUS = 1024
"""Bytes beyond the logged ones that `scrub` should see, so that a value across the edge is still recognised."""


class Scrubber:
    """Says what a Redactor of the same rules says. Every method raises, and returns no text, where that cannot be loaded."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._loaded: Redactor | None = None
        self.problem: str | None = None
        """Why that cannot be loaded."""

    def scrub(self, text: bytes, *, stop: int, cut: bool) -> bytes:
        """A payload's text up to `stop`. `cut`: it goes on where it ends here."""
        return self._redactor().scrub(text, stop=stop, cut=cut)

    def scrub_text(self, text: str) -> str:
        """Error texts, event fields, paths and queries."""
        return self._redactor().scrub_text(text)

    def scrub_name(self, name: str) -> str:
        """What the caller chose (a tool, a run). While nothing is loaded, a name with nothing to hide loads nothing."""
        if self._loaded is None and not self._redaction.patterns and (is_random(name) or not may_hide(name)):
            return name
        return self._redactor().scrub_name(name)

    def _redactor(self) -> "Redactor":
        return self._loaded or self._load()

    def _load(self) -> "Redactor":
        try:
            from gateway.observers.redaction.redact import Redactor

            self._loaded = Redactor(self._redaction)
        except Exception as error:
            self.problem = f"redaction cannot be loaded ({type(error).__name__}): lines that need it are dropped"
            raise
        self.problem = None
        return self._loaded
