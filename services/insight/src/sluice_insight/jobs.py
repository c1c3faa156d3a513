"""What is known of one job: which of its items have ended, how fast, and when the rest will have.

Items that have ended are a set, so an event told twice counts once. The rest is rough by nature: an estimate
is drawn from the job's own pace lately, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from sluice_contracts.events import Event, JobCancelled, JobFinished, JobKind, JobPlanned
from sluice_insight.rates import Window

# The pace is looked at over about the later half of what a job has taken so far.
_SAMPLES = 20
_SPACINGS = 2 * _SAMPLES
_SHORTEST_SPACING = 1.0
_LONGEST_ESTIMATE = 30 * 86400.0


class JobView(Struct, kw_only=True):
    """One job; it is also its row in the changelog.

    Parameters
    ----------
    kind, client, planned_at, items, sources, item_sources
        What its plan says; nothing before that came. Of several plans the earliest stands.
    ended
        A bit for each item that has ended, by its position.
    done, failed, size
        How many have ended, how many of them without success, and the bytes of the others.
    heard_at
        When anything was last heard of it, Unix seconds.
    due
        When the last of its items that wait for another try is due.
    cancelled
        Whether its owner cancelled it.
    finished_at
        When its end was announced.
    samples
        Times and how many items had ended then, oldest first.
    early
        What is to be counted of items that were heard of before their plan, by their position.
    """

    kind: JobKind | None = None
    client: str = ""
    planned_at: float = 0.0
    items: int = 0
    sources: tuple[str, ...] = ()
    item_sources: tuple[int, ...] = ()
    ended: bytearray = field(default_factory=bytearray)
    done: int = 0
    failed: int = 0
    size: int = 0
    heard_at: float = 0.0
    due: float = 0.0
    cancelled: bool = False
    finished_at: float | None = None
    samples: list[tuple[float, int]] = field(default_factory=list)
    early: dict[int, Window] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether it is planned, not announced as finished, and has items that have not ended."""
        return (
            self.kind is not None
            and self.finished_at is None
            and not self.cancelled
            and self.done < self.items
        )

    @property
    def pending(self) -> int:
        """How many of its items have not ended."""
        return max(0, self.items - self.done)

    def source_of(self, item: int) -> str | None:
        """Give the server that an item comes from, None if it comes from none or nobody said."""
        number = 0
        if self.item_sources:
            if item >= len(self.item_sources):
                return None
            number = self.item_sources[item]
        return self.sources[number] if number < len(self.sources) else None


def hear(view: JobView, event: Event, at: float) -> None:
    """Take note of what an event says about its job; `at` is its time, or now if that is earlier."""
    view.heard_at = max(view.heard_at, at)
    if isinstance(event, JobPlanned):
        if view.kind is None or event.at < view.planned_at:
            view.kind = event.kind
            view.client = event.client
            view.planned_at = event.at
            view.items = event.items
            view.sources = event.sources
            view.item_sources = event.item_sources
            view.samples = [(event.at, 0), *(sample for sample in view.samples if sample[0] > event.at)]
    elif isinstance(event, JobCancelled):
        view.cancelled = True
    elif isinstance(event, JobFinished):
        view.finished_at = at


def end(view: JobView, item: int) -> bool:
    """Note that an item has ended; give whether that is new."""
    byte, bit = divmod(item, 8)
    missing = byte + 1 - len(view.ended)
    if missing > 0:
        view.ended.extend(bytes(missing))
    if view.ended[byte] >> bit & 1:
        return False
    view.ended[byte] |= 1 << bit
    view.done += 1
    return True


def sample(view: JobView, at: float) -> None:
    """Keep how far the job is, if the last time that was kept is long enough ago."""
    if view.kind is None or not view.samples:
        return
    spacing = max(_SHORTEST_SPACING, (at - view.planned_at) / _SPACINGS)
    if at - view.samples[-1][0] >= spacing:
        view.samples.append((at, view.done))
        del view.samples[:-_SAMPLES]


def eta(view: JobView, now: float) -> float | None:
    """Estimate when the job will end, Unix seconds; None if there is nothing to tell it by.

    An item that waits for another try holds the job up until that is due at least.
    """
    if not view.running or not view.samples:
        return None
    rate = _rate(view.samples, view.done, now)
    if rate <= 0:
        return None
    left = view.pending / rate
    return max(now + left, view.due) if left <= _LONGEST_ESTIMATE else None


def _rate(samples: Sequence[tuple[float, int]], done: int, now: float) -> float:
    """Give items a second since the oldest sample; while nothing ends, it falls."""
    at, before = samples[0]
    elapsed = now - at
    return (done - before) / elapsed if elapsed >= _SHORTEST_SPACING else 0.0


def stuck(view: JobView, now: float, after: float) -> bool:
    """Whether nothing was heard of a running job for `after` seconds, and nothing is due either."""
    return view.running and now - max(view.heard_at, view.due) > after
