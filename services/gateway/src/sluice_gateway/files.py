"""Files and folders in the Seven Bridges v2 shapes: the catalogue's words turned into the API's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sluice_gateway.hrefs import Hrefs
from sluice_gateway.models.base import Page
from sluice_gateway.models.files import (
    BulkError,
    BulkRecord,
    BulkRecords,
    File,
    FileChange,
    FileOrigin,
    FilesQuery,
    FileStorage,
    FolderRequest,
    MoveRequest,
)
from sluice_gateway.paging import Filters, Window, address, links
from sluice_gateway.problems import FieldProblem, Problem, invalid, not_found
from sluice_storage.catalogue import Catalogue
from sluice_storage.catalogue.model import (
    Entry,
    EntryKind,
    ForbiddenError,
    InvalidMoveError,
    Listing,
    NameTakenError,
    NotEmptyError,
    NotFoundError,
)

# The Seven Bridges API's own number for "requested file does not exist"; its official client wants a number.
_NO_SUCH_FILE = 5002


@contextmanager
def catalogue_problems(what: str) -> Iterator[None]:
    """Turn what the catalogue refuses into answers; `what` names the thing that was asked for."""
    try:
        yield
    except NotFoundError:
        raise not_found(what) from None
    except ForbiddenError:
        raise Problem(
            403, "forbidden", "You lack a permission in this project.", "Ask its administrator."
        ) from None
    except NameTakenError:
        raise Problem(409, "name_taken", "The name is taken.", "Choose another name.") from None
    except NotEmptyError:
        raise Problem(
            409, "not_empty", "The folder is not empty.", "Empty it first, or send recursive=true."
        ) from None
    except InvalidMoveError:
        raise Problem(
            400, "invalid_move", "It cannot be moved there.", "Choose a folder of the same project."
        ) from None


def one_place(project: str | None, parent: str | None) -> None:
    """Refuse a request that names no place, or two (400)."""
    if (project is None) == (parent is None):
        raise invalid([FieldProblem("", "either project or parent is required, and not both")])


class Files:
    """The files API.

    Parameters
    ----------
    catalogue
        Where files are.
    hrefs
        Makes addresses.
    """

    def __init__(self, catalogue: Catalogue, hrefs: Hrefs) -> None:
        self._catalogue = catalogue
        self._hrefs = hrefs

    def show(self, entry: Entry) -> File:
        """Give an entry in the API's shape."""
        origin = entry.origin
        return File(
            href=self._hrefs.file(entry.id),
            id=entry.id,
            name=entry.name,
            type="folder" if entry.kind is EntryKind.FOLDER else "file",
            size=entry.size,
            project=entry.project,
            parent=entry.parent,
            created_on=entry.created_on,
            modified_on=entry.modified_on,
            origin=FileOrigin(
                task=None,
                job=origin.job if origin else None,
                item=origin.item if origin else None,
                source=origin.source if origin else None,
            ),
            storage=FileStorage(),
            tags=list(entry.tags),
            metadata=dict(entry.metadata),
        )

    async def shown(self, subject: str, ids: Sequence[str]) -> dict[str, File]:
        """Give those of the files that are there and that the subject may see."""
        if not ids:
            return {}
        found = await self._catalogue.entries.get_many(subject, list(dict.fromkeys(ids)))
        return {entry: self.show(given) for entry, given in found.items()}

    async def get(self, subject: str, entry: str) -> Entry:
        """Give the entry; Problem 404 if there is none for the subject."""
        with catalogue_problems("file"):
            return await self._catalogue.entries.get(subject, entry)

    async def query(self, subject: str, query: FilesQuery) -> tuple[Page[File], int]:
        """Give a page of what is in a project's root or in a folder, and how much matches.

        Raises
        ------
        Problem
            400: neither or both are given; 404: it does not exist for the subject.
        """
        one_place(query.project, query.parent)
        parent = query.parent
        if query.project is not None:
            with catalogue_problems("project"):
                parent = (await self._catalogue.projects.get(subject, query.project.rstrip("/"))).root
        filters: dict[str, str | Sequence[str] | None] = {
            "project": query.project,
            "parent": query.parent,
            "name": query.name,
            "tag": query.tag,
            **{f"metadata.{key}": values for key, values in query.metadata.items()},
        }
        listing = Listing(
            parent=parent or "",
            names=tuple(query.name),
            tags=tuple(query.tag),
            metadata={key: tuple(values) for key, values in query.metadata.items()},
            limit=query.limit,
            offset=query.offset,
        )
        return await self._listed(subject, listing, self._hrefs("/v2/files"), filters)

    async def contents(self, subject: str, folder: str, window: Window) -> tuple[Page[File], int]:
        """Give a page of what is in a folder, and how much there is."""
        listing = Listing(parent=folder, limit=window.limit, offset=window.offset)
        return await self._listed(subject, listing, self._hrefs.file(folder) + "/list", {})

    async def create_folder(self, subject: str, wanted: FolderRequest) -> File:
        """Make a folder in another one or in a project's root."""
        one_place(wanted.project, wanted.parent)
        parent = wanted.parent
        if wanted.project is not None:
            with catalogue_problems("project"):
                parent = (await self._catalogue.projects.get(subject, wanted.project.rstrip("/"))).root
        with catalogue_problems("folder"):
            return self.show(await self._catalogue.entries.create_folder(subject, parent or "", wanted.name))

    async def change(self, subject: str, entry: str, change: FileChange, *, replace: bool = False) -> Entry:
        """Change what is given; `replace` replaces all metadata instead of merging it."""
        with catalogue_problems("file"):
            return await self._catalogue.entries.change(
                subject,
                entry,
                name=change.name,
                tags=change.tags,
                metadata=change.metadata,
                replace_metadata=replace,
            )

    async def move(self, subject: str, entry: str, wanted: MoveRequest) -> File:
        """Move to another folder of the same project."""
        with catalogue_problems("file or folder"):
            moved = await self._catalogue.entries.move(subject, entry, wanted.parent, name=wanted.name)
        return self.show(moved)

    async def delete(self, subject: str, entry: str, *, recursive: bool) -> None:
        """Delete a file or folder."""
        with catalogue_problems("file"):
            await self._catalogue.remove.entry(subject, entry, recursive=recursive)

    async def bulk(self, subject: str, ids: Sequence[str]) -> BulkRecords:
        """Give many files at once, each or the reason why not, in the order asked for."""
        found = await self.shown(subject, ids)
        missing = BulkError(
            status=404, code=_NO_SUCH_FILE, message="There is no such file.", more_info="Check the id."
        )
        return BulkRecords(
            items=[
                BulkRecord(resource=found.get(entry), error=None if entry in found else missing)
                for entry in ids
            ]
        )

    async def _listed(
        self, subject: str, listing: Listing, href: str, filters: Filters
    ) -> tuple[Page[File], int]:
        with catalogue_problems("folder"):
            page = await self._catalogue.entries.list(subject, listing)
        window = Window(listing.limit, listing.offset)
        shown = Page[File](
            href=address(href, filters, window),
            items=[self.show(entry) for entry in page.items],
            links=links(href, filters, window, page.total),
        )
        return shown, page.total
