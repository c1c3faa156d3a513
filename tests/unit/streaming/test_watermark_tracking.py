"""The watermark: never past a record that is not done, always up to one that is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_streaming.watermark import Watermark


@given(st.data())
def test_the_position_is_the_end_of_the_done_prefix_at_every_moment(data: st.DataObject) -> None:
    offsets = sorted(data.draw(st.sets(st.integers(0, 200), min_size=1, max_size=40)))
    finish_order = data.draw(st.permutations(offsets))
    mark, started, finished = Watermark(), 0, set[int]()
    for offset in finish_order:
        while started < len(offsets) and (offset >= offsets[started] or data.draw(st.booleans())):
            mark.start(offsets[started])
            started += 1
        mark.finish(offset)
        finished.add(offset)
        prefix = [known for index, known in enumerate(offsets) if set(offsets[: index + 1]) <= finished]
        assert mark.position == (prefix[-1] + 1 if prefix else None)
        assert mark.span == started - len(prefix)
    assert mark.position == offsets[-1] + 1
    assert mark.span == 0


def test_what_is_committed_is_the_next_offset_to_read() -> None:
    mark = Watermark()
    mark.start(41)
    mark.finish(41)
    assert mark.position == 42


def test_offsets_that_do_not_rise_are_refused() -> None:
    mark = Watermark()
    mark.start(5)
    with pytest.raises(ValueError, match="after"):
        mark.start(5)
    mark.finish(5)
    with pytest.raises(ValueError, match="after"):
        mark.start(4)
    mark.start(6)
