"""The words of the resource store.

What a job keeps between its steps (`Snapshot`, `Window`, `Part`) are msgspec structs, to be stored as JSON.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

Range = tuple[int, int]
"""Places in the order of rows (seq), from the first up to and including the last."""


class Snapshot(Struct, frozen=True):
    """Everything that was committed when it was taken, whatever is written afterwards.

    `batch` is the last batch in it. `time` (aware, whole milliseconds) lies between it and all later ones:
    every resource in the snapshot has a meta.lastUpdated of at most `time`, every other version a later one.
    That makes it the transactionTime of an export.
    """

    batch: int
    time: datetime


class Window(Struct, frozen=True, omit_defaults=True):
    """The resources of a snapshot whose meta.lastUpdated is after `since` and up to `until` (both aware)."""

    snapshot: Snapshot
    since: datetime | None = None
    until: datetime | None = None


class Total(Struct, frozen=True):
    """How many resources and how many bytes of NDJSON; a little too high where a window cuts."""

    resources: int
    bytes: int


class Place(Struct, frozen=True, gc=False):
    """Where in the order of rows (seq) the resource with this id is."""

    seq: int
    id: str


class Part(Struct, frozen=True, omit_defaults=True):
    """What one read covers; made by the planner, and of its own making only.

    `rows` and `largest` (bytes of the longest resource) are upper bounds, `bytes` is one but for a batch that
    is cut, whose rows are taken to be equally long. Either `ranges` says where in the order of rows the part
    is, or `patients` whose data it holds:

    - `compartment`: of the ranges, only what is in the compartment of some patient;
    - `shared`: what is in the compartments of several patients, of which `patients` (then all that the export
      is about) has at least one. Such a resource is in no other part, so that it is read once;
    - `deleted`: tombstones instead of resources.
    """

    type: str
    rows: int
    bytes: int
    largest: int
    ranges: tuple[Range, ...] = ()
    patients: tuple[str, ...] = ()
    compartment: bool = False
    shared: bool = False
    deleted: bool = False


class Chunk(Struct, frozen=True, gc=False):
    """`count` lines of NDJSON, each with its end."""

    data: bytes
    count: int


class PatientChunk(Struct, frozen=True, gc=False):
    """`count` lines of NDJSON of one type out of one patient's compartment."""

    patient: str
    type: str
    data: bytes
    count: int


class Deleted(Struct, frozen=True, gc=False):
    """A resource that is no more, and since when."""

    type: str
    id: str
    updated: datetime


class Stored(Struct, frozen=True):
    """The current version of a resource.

    `body` is one line of NDJSON without its end, None if the resource is `deleted`; `patients` are those
    whose compartments it is in (of a deleted resource: was in); `seq` is its place in the order of rows.
    """

    type: str
    id: str
    version: int
    updated: datetime
    deleted: bool
    body: bytes | None
    patients: frozenset[str]
    seq: int = 0


class Page(Struct, frozen=True):
    """Some resources of a type, in the order in which they came; `next` is where the next page starts."""

    items: tuple[Stored, ...]
    next: int | None


class Group(Struct, frozen=True):
    """A group of patients; `managed` is `resource` if a Group resource says who is in it, else `api`."""

    id: str
    name: str
    managed: str
    updated: datetime
    members: int


class Member(Struct, frozen=True):
    """A patient in a group, and since when."""

    patient: str
    since: datetime


class MembersChanged(Struct, frozen=True):
    """How many patients came into a group and how many left it, and how many are in it now."""

    added: int
    removed: int
    members: int


class GroupExistsError(Exception):
    """There is a group of this id."""


class LoadedGroupError(Exception):
    """The group is as a Group resource says, and is changed by loading that."""
