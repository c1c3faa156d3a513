"""What the demo imports: documents of three kinds of servers, some of which are faulty on purpose."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec

from sluice_stack.source import generic, research
from sluice_stack.source.faults import FAULTS
from sluice_stack.source.server import SAMPLE

SOURCES = {
    "synthea": "Synthetic patients (Synthea)",
    "ncpi": "Research data (NCPI)",
    "r4": "Generic R4 server",
}
SYNTHEA = 520
_TWICE = 20
_LARGE = ("big-5mb", "big-20mb")


class _Named(msgspec.Struct):
    id: str


def documents(source: str, run: str, sample: Path = SAMPLE, count: int = SYNTHEA) -> list[str]:
    """List the addresses to import from the demo source at `source`, in the order they are submitted.

    They are `count` of Synthea's documents with their text inline or by URL by turns, the research and the
    generic data set, two large files, one document for every fault that does not take minutes to play, and
    the first twenty again, which conflict resolution will skip. `run` sets the faults of one run apart from
    another's.
    """
    synthea = _addresses(source, "synthea", _synthea_ids(sample)[:count])
    others = [
        *_addresses(source, "ncpi", research.load().names("DocumentReference")),
        *_addresses(source, "r4", generic.load().names("DocumentReference")),
        *_addresses(source, "r4", _LARGE),
        *_addresses(source, "r4", [fault.document(run) for fault in FAULTS if not fault.slow]),
    ]
    return [*synthea, *others, *synthea[:_TWICE]]


def _addresses(source: str, base: str, ids: list[str] | tuple[str, ...]) -> list[str]:
    return [f"{source}/{base}/fhir/DocumentReference/{each}" for each in ids]


def _synthea_ids(sample: Path) -> list[str]:
    with gzip.open(sample / "DocumentReference.ndjson.gz", "rb") as lines:
        return [msgspec.json.decode(line, type=_Named).id for line in lines]
