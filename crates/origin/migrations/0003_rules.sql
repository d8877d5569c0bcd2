-- Uploads that come in parts. What stands in their URLs is secret, and known by its SHA-256 here.
CREATE TABLE resumable (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    length INTEGER CHECK (length >= 0), -- none: not told yet
    received INTEGER NOT NULL DEFAULT 0, -- so much is on the disk, whatever happens
    metadata TEXT NOT NULL, -- as it was sent
    original TEXT NOT NULL,
    lasts INTEGER, -- once it is published
    max_views INTEGER,
    owner BLOB NOT NULL, -- the same for uploads of one address during one run, and nothing else
    address TEXT,
    expires INTEGER NOT NULL,
    name TEXT -- once it is published
) STRICT, WITHOUT ROWID;
CREATE INDEX resumable_by_expiry ON resumable (expires);
CREATE INDEX resumable_by_owner ON resumable (owner) WHERE name IS NULL;

-- Who may neither upload nor see anything.
CREATE TABLE address_bans (
    network TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    until INTEGER
) STRICT, WITHOUT ROWID;

-- Up to which change an edge was told what to forget.
CREATE TABLE edges (
    url TEXT PRIMARY KEY,
    told INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER fence_address_bans_insert BEFORE INSERT ON address_bans
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
CREATE TRIGGER fence_address_bans_delete BEFORE DELETE ON address_bans
WHEN (SELECT role <> 'writes' AND NOT applying FROM standing) BEGIN SELECT RAISE(ABORT, 'another origin writes'); END;
