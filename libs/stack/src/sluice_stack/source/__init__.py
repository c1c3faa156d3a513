"""The demo FHIR source: an R4 server with synthetic data, files of any size, and every fault by its id.

It is fast on purpose, since what others reach is measured against it: answers are bytes made beforehand and
no request touches JSON. Run it with `python -m sluice_stack.source`, or in a test with `SourceServer`.
"""

from sluice_stack.source.server import SourceServer

__all__ = ["SourceServer"]
