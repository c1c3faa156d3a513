"""What holds bytes."""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview
"""Some bytes."""
