"""What a source did wrong, in the words of an item's error."""

from __future__ import annotations

from sluice_contracts.errors import ItemError


class SourceFailure(Exception):  # noqa: N818 - it is an outcome of asking a source, not a defect of ours
    """A source did not give what was asked of it.

    It never holds an address, a header or a byte of the source's answer, so that it may be logged.

    Parameters
    ----------
    code
        The item's error code.
    status
        The HTTP status of the source's answer, None if there was none.
    retry
        Whether asking again later may succeed.
    after
        Seconds to wait before asking again, if the source said so.
    counts
        False if the source was not even asked, because it was not our turn: that is no failure of its.
    """

    def __init__(
        self,
        code: ItemError,
        status: int | None = None,
        *,
        retry: bool = False,
        after: float | None = None,
        counts: bool = True,
    ) -> None:
        super().__init__(code, status)
        self.code = code
        self.status = status
        self.retry = retry
        self.after = after
        self.counts = counts

    def called(self, code: ItemError) -> SourceFailure:
        """Give the same failure under another code."""
        return SourceFailure(code, self.status, retry=self.retry, after=self.after, counts=self.counts)

    def __str__(self) -> str:
        return self.code if self.status is None else f"{self.code} (source status {self.status})"
