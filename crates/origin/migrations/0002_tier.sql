-- Who this is: one row. `origin` is of this machine, `lineage` of this history (another begins with each restore), and
-- `epoch` grows whenever another one begins to write.
CREATE TABLE standing (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    origin TEXT NOT NULL,
    lineage TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    role TEXT NOT NULL CHECK (role IN ('writes', 'follows', 'fenced')),
    fenced_by TEXT, -- who began to write last, as far as this one was told
    began INTEGER NOT NULL,
    applying INTEGER NOT NULL DEFAULT 0 CHECK (applying IN (0, 1)) -- what another one wrote is being copied
) STRICT;
INSERT INTO standing (one, origin, lineage, epoch, role, began)
VALUES (1, lower(hex(randomblob(8))), lower(hex(randomblob(8))), 1, 'writes', CAST(unixepoch('subsec') * 1000 AS INTEGER));

-- How far something has come.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every row that was written, in order: see `backup::journal`, which makes the triggers that fill it.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    line TEXT NOT NULL
) STRICT;

-- What is in the tier, or is to go there, or is to go from there because nobody needs it any more.
CREATE TABLE replicas (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    size INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'verified', 'bad')),
    since INTEGER NOT NULL,
    due INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    verified INTEGER,
    dropped INTEGER,
    error TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX replicas_by_due ON replicas (due) WHERE state <> 'verified' AND dropped IS NULL;
CREATE INDEX replicas_by_drop ON replicas (dropped) WHERE dropped IS NOT NULL;
INSERT INTO replicas (sha256, size, state, since) SELECT sha256, size, 'waiting', created FROM objects;

CREATE TRIGGER replicas_begin AFTER INSERT ON objects BEGIN
    INSERT INTO replicas (sha256, size, state, since)
    VALUES (NEW.sha256, NEW.size, 'waiting', CAST(unixepoch('subsec') * 1000 AS INTEGER))
    -- It may be there from before: that is looked at anew.
    ON CONFLICT (sha256) DO UPDATE SET dropped = NULL, state = 'waiting', since = excluded.since, due = 0, attempts = 0;
END;
CREATE TRIGGER replicas_end AFTER DELETE ON objects BEGIN
    UPDATE replicas SET dropped = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE sha256 = OLD.sha256;
END;

-- Who copies rows removes files by itself.
CREATE TRIGGER doom_copied AFTER DELETE ON objects WHEN (SELECT applying FROM standing) BEGIN
    INSERT OR IGNORE INTO doomed (sha256) VALUES (OLD.sha256);
END;
CREATE TRIGGER undoom_copied AFTER INSERT ON objects WHEN (SELECT applying FROM standing) BEGIN
    DELETE FROM doomed WHERE sha256 = NEW.sha256;
END;

-- When content was last asked for, to the hour.
CREATE TABLE accesses (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What `backup verify` found.
CREATE TABLE checks (
    at INTEGER PRIMARY KEY,
    report TEXT NOT NULL
) STRICT;

-- One that does not write does not, whatever asks it to.
CREATE TRIGGER fence_links_insert BEFORE INSERT ON links
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_links_update BEFORE UPDATE ON links
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_links_delete BEFORE DELETE ON links
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_objects_insert BEFORE INSERT ON objects
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_objects_delete BEFORE DELETE ON objects
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_claims_insert BEFORE INSERT ON claims
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_claims_delete BEFORE DELETE ON claims
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_bans_insert BEFORE INSERT ON bans
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_bans_delete BEFORE DELETE ON bans
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
