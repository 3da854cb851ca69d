"""One mistake, where it is planted and who must notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleMutantError(Exception):
    """The code that a mutant changes is not there, or not only once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """``original`` stands in ``file`` exactly once, and ``planted`` takes its place.

    ``rows`` of docs/reliability.md say what would come of it. ``tests`` are the ones that must
    turn red, by the ids that pytest knows them under.
    ``servers``: they need Apache Kafka, see tests/servers/provision.py.
    """

    name: str
    rows: str
    file: str
    original: str
    planted: str
    tests: tuple[str, ...]
    why: str
    servers: bool = False

    def plant(self, root: Path) -> str:
        """Change the file below ``root`` and return what it was."""
        path = root / self.file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        times = text.count(self.original)
        if times != 1:
            raise StaleMutantError(f"{self.name}: its code stands {times} times in {self.file}")
        path.write_text(text.replace(self.original, self.planted), encoding="utf-8")
        return text
