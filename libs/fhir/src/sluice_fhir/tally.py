"""What one process sees of a source's answers, until it tells the others."""

from __future__ import annotations

from dataclasses import dataclass

from sluice_fhir.conditions import Seen


@dataclass(slots=True)
class Tally:
    """What was seen, counted on at each answer (see `Seen`), and when the last refused call began."""

    good: int = 0
    refused: int = 0
    failed: int = 0
    answered: int = 0
    seconds: float = 0.0
    refused_at: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.good or self.refused or self.failed)

    def take(self, now: float, held_for: float) -> Seen:
        """Give what there is to tell at `now`, and count from nothing again."""
        seen = Seen(
            good=self.good,
            refused=self.refused,
            failed=self.failed,
            refused_ago=max(0.0, now - self.refused_at) if self.refused else 0.0,
            answered=self.answered,
            seconds=self.seconds,
            held_for=held_for,
        )
        self.good = self.refused = self.failed = self.answered = 0
        self.seconds = 0.0
        return seen

    def add(self, seen: Seen) -> None:
        """Take back what could not be told."""
        self.good += seen.good
        self.refused += seen.refused
        self.failed += seen.failed
        self.answered += seen.answered
        self.seconds += seen.seconds
