"""Inputs that are near to what a parser takes."""

from __future__ import annotations

import json

from hypothesis import strategies as st

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def bytes_near(*samples: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, any JSON, and samples of which a piece is cut out or replaced."""

    def spoilt(sample: bytes, at: float, gone: int, put: bytes) -> bytes:
        place = int(at * len(sample))
        return sample[:place] + put + sample[place + gone :]

    near = st.builds(
        spoilt, st.sampled_from(samples), st.floats(0, 1), st.integers(0, 12), st.binary(max_size=6)
    )
    return st.binary(max_size=64) | json_values.map(lambda value: json.dumps(value).encode()) | near
