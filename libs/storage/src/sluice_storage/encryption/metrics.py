"""What is counted of encrypted objects, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

FORGED = Counter("sluice_objects_forged", "Objects that were read and are not what was written", ["of"])
# An increase is only seen from a value that was there before.
for _of in ("contents", "exports"):
    FORGED.labels(_of)
