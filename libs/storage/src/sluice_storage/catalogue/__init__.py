"""Projects, folders and files: what an import lands in, and what the files API shows.

    catalogue = Catalogue(pool, objects)            # sluice_storage.catalogue.Catalogue

    catalogue.projects                              # sluice_storage.catalogue.projects.Projects
        create(subject, project, *, name, description="", tags=()) -> Project        NameTakenError
        get(subject, project) -> Project
        list(subject, *, name=None, owner=None, limit=50, offset=0) -> Page[Project]
        change(subject, project, *, name=None, description=None, tags=None) -> Project
        delete(subject, project) -> None
        members(subject, project, *, limit=50, offset=0) -> Page[Member]
        member(subject, project, who) -> Member
        set_member(subject, project, member) -> Member
        remove_member(subject, project, who) -> None
        destinations(subject, *, projects=(), folders=()) -> Destinations             one query for a batch

    catalogue.entries                               # sluice_storage.catalogue.entries.Entries
        get(subject, entry) -> Entry
        get_many(subject, ids) -> dict[str, Entry]                                    leaves out what is not there
        list(subject, listing) -> Page[Entry]
        create_folder(subject, parent, name) -> Entry                                 NameTakenError
        change(subject, entry, *, name=None, tags=None, metadata=None, replace_metadata=False) -> Entry
        move(subject, entry, parent, *, name=None) -> Entry                           InvalidMoveError
        delete(subject, entry, *, recursive=False) -> None                            NotEmptyError
        open(subject, entry, *, start=0, end=None) -> Content(entry, start, end, chunks: AsyncIterator[bytes])

Every call names the subject it is made for. What a subject is not a member of does not exist for them
(`NotFoundError`); what they are a member of without the permission is `ForbiddenError`.
"""
