"""The admin plane's bearer token: from the environment, or from a file that is read again when it changes."""

import hmac
import os
import stat
from pathlib import Path

from gateway.settings import Settings, SettingsError, is_token

DEFAULT_FILE = "var/admin_token"
"""Used by server and command line alike where neither variable is set; `tool-gateway init` and `make run` create it."""

_MOST_BYTES = 4096
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
"""A named pipe holds nobody up."""


class AdminToken:
    """Who may operate the gateway. Without a token nobody may: there is no open mode."""

    def __init__(self, literal: str | None, file: str | None) -> None:
        self._literal = literal
        self._file = None if literal else file or DEFAULT_FILE
        self._named = file is not None
        self._seen: tuple[int, ...] = ()
        self._from_file: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "AdminToken":
        """Raises SettingsError where a token file was named and holds no token now."""
        token = cls(settings.admin_token, settings.admin_token_file)
        if token._named and not token.current():
            raise SettingsError(
                f"GATEWAY_ADMIN_TOKEN_FILE: {settings.admin_token_file}: {token._problem()}; expected a readable file"
                " that holds one token of visible ASCII characters"
            )
        return token

    def current(self) -> str | None:
        """The token, or None where none is set. A file that has gone or holds none lets nobody in."""
        if self._file is None:
            return self._literal
        try:
            found = Path(self._file).stat()
        except OSError:
            self._seen, self._from_file = (), None
            return None
        seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if seen != self._seen:
            self._seen, self._from_file = seen, _read(self._file)
        return self._from_file

    def accepts(self, given: str) -> bool:
        """Takes the same time whatever `given` has in common with the token."""
        token = self.current()
        return token is not None and hmac.compare_digest(token.encode(), given.encode("utf-8", "replace"))

    @property
    def source(self) -> str:
        """What holds the token, for messages. A path chosen by the operator is not told to those who lack the token."""
        if self._file is None:
            return "GATEWAY_ADMIN_TOKEN"
        return "the file of GATEWAY_ADMIN_TOKEN_FILE" if self._named else DEFAULT_FILE

    def _problem(self) -> str:
        try:
            os.close(os.open(self._file or "", _FLAGS))
        except OSError as error:
            return (error.strerror or "unreadable").lower()
        return "holds no token"


def _read(path: str) -> str | None:
    """Never more than a token can be."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        text = os.read(descriptor, _MOST_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return text if is_token(text) else None
