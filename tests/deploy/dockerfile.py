"""The Dockerfile, read: its stages, their instructions, and what they say. For who checks what is written, and who does it."""

import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stage:
    """(keyword, the rest) in order."""

    instructions: tuple[tuple[str, str], ...]

    def values(self, keyword: str) -> list[str]:
        return [rest for found, rest in self.instructions if found == keyword]

    @property
    def base(self) -> str:
        return self.values("FROM")[0].split()[0]

    @property
    def name(self) -> str:
        """ "" where it has none."""
        return self.values("FROM")[0].partition(" AS ")[2]

    @cached_property
    def environment(self) -> dict[str, str]:
        return dict(word.partition("=")[::2] for line in self.values("ENV") for word in shlex.split(line))

    @cached_property
    def labels(self) -> dict[str, str]:
        return dict(word.partition("=")[::2] for line in self.values("LABEL") for word in shlex.split(line))

    @property
    def sources(self) -> list[str]:
        """What is copied from the repository."""
        lines = [line.split() for line in self.values("COPY") if not line.startswith("--from=")]
        return [word for words in lines for word in words[:-1] if not word.startswith("--")]

    def command(self) -> list[str]:
        """Exec form: what process 1 is."""
        words = [*json.loads(self.values("ENTRYPOINT")[0]), *json.loads(self.values("CMD")[0])]
        return [str(word) for word in words]

    def health_command(self) -> list[str]:
        (line,) = self.values("HEALTHCHECK")
        return [str(word) for word in json.loads(line.partition("CMD ")[2])]


def stages() -> list[Stage]:
    """Continuation lines joined, comments gone."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.strip() and line[0] != "#"]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    found: list[list[tuple[str, str]]] = []
    for keyword, _, rest in (line.partition(" ") for line in joined):
        if keyword == "FROM":
            found.append([])
        found[-1].append((keyword, rest.strip()))
    return [Stage(tuple(stage)) for stage in found]


BUILD, LOCK, FINAL = stages()
