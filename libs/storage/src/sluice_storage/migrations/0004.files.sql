-- Projects, their members, the folders and files in them, and the content that files refer to.
--
-- Whoever writes here takes locks in one order, so that no two writers can wait for each other:
-- documents.jobs, then (project, folder) pairs in order, then blobs in the order of their hash.

SET ROLE sluice_owner_files;

CREATE TABLE files.projects (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[^/]+/[^/]+$'), -- owner/slug
    name text NOT NULL,
    description text NOT NULL DEFAULT '',
    tags text[] NOT NULL DEFAULT '{}',
    root text COLLATE "C" NOT NULL UNIQUE, -- the folder that holds what lies in no other folder
    created_by text NOT NULL,
    created_on timestamptz NOT NULL,
    modified_on timestamptz NOT NULL
);

-- A subject without a row here does not get to know that the project exists.
CREATE TABLE files.members (
    project text COLLATE "C" NOT NULL REFERENCES files.projects ON DELETE CASCADE,
    subject text COLLATE "C" NOT NULL,
    can_write boolean NOT NULL,
    can_copy boolean NOT NULL,
    can_execute boolean NOT NULL,
    can_admin boolean NOT NULL,
    PRIMARY KEY (subject, project)
);
CREATE INDEX members_of_project ON files.members (project, subject);

-- One row per distinct content, under whose hash the object store has it. A row without removed_at promises
-- that the object is there. When the last file that refers to it goes, removed_at is set first, and only
-- then, with the row locked, the object is removed; the row stays on for a day as a tombstone, so that an
-- attacher that found the object there before still learns that it is gone.
CREATE TABLE files.blobs (
    sha256 bytea PRIMARY KEY CHECK (octet_length(sha256) = 32),
    size bigint NOT NULL CHECK (size >= 0),
    stored_on timestamptz NOT NULL,
    removed_at timestamptz, -- nothing refers to it any more
    purged_at timestamptz, -- and its object is gone
    CHECK (purged_at IS NULL OR removed_at IS NOT NULL)
);
CREATE INDEX blobs_removed ON files.blobs (removed_at) WHERE removed_at IS NOT NULL;

CREATE TABLE files.entries (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-9a-f]{24}$'),
    project text COLLATE "C" NOT NULL REFERENCES files.projects,
    parent text COLLATE "C" REFERENCES files.entries, -- null: the project's root
    kind text NOT NULL CHECK (kind IN ('file', 'folder')),
    name text COLLATE "C" NOT NULL,
    size bigint,
    sha256 bytea REFERENCES files.blobs,
    content_type text,
    metadata jsonb NOT NULL DEFAULT '{}',
    tags text[] NOT NULL DEFAULT '{}',
    origin_job uuid,
    origin_item integer,
    origin_source text,
    renamed_from text COLLATE "C", -- the name asked for, when AUTORENAME chose another
    renamed_number integer, -- and the number it put in front
    created_on timestamptz NOT NULL,
    modified_on timestamptz NOT NULL,
    CHECK ((kind = 'file') = (sha256 IS NOT NULL) AND (kind = 'file') = (size IS NOT NULL)),
    CHECK (kind = 'folder' OR parent IS NOT NULL)
);
-- Files and folders share one namespace; this is also how a folder is listed, by name.
CREATE UNIQUE INDEX entries_name ON files.entries (parent, name);
CREATE INDEX entries_folders ON files.entries (parent) WHERE kind = 'folder';
CREATE INDEX entries_of_project ON files.entries (project, name, id);
CREATE INDEX entries_of_blob ON files.entries (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX entries_renamed ON files.entries (parent, renamed_from, renamed_number)
    WHERE renamed_number IS NOT NULL;
CREATE INDEX entries_metadata ON files.entries USING gin (metadata jsonb_path_ops) WHERE metadata <> '{}';
CREATE INDEX entries_tags ON files.entries USING gin (tags) WHERE tags <> '{}';

-- What became of each item, written with the file itself: a second delivery finds it here.
CREATE TABLE files.imports (
    job uuid NOT NULL,
    item integer NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('created', 'renamed', 'replaced', 'skipped')),
    entry text COLLATE "C" NOT NULL, -- no reference: the file may be deleted, the outcome stays
    size bigint NOT NULL,
    others integer NOT NULL, -- further contents the document had and that were not imported
    at timestamptz NOT NULL,
    PRIMARY KEY (job, item)
);
CREATE INDEX imports_at ON files.imports (at);

RESET ROLE;
