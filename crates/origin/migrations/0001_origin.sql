-- Content, known by its SHA-256. `place` is where it is: on this disk, in the tier, or on both.
CREATE TABLE objects (
    id INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    sha1 BLOB NOT NULL CHECK (length(sha1) = 20),
    md5 BLOB CHECK (length(md5) = 16), -- for bans by old lists
    size INTEGER NOT NULL CHECK (size >= 0),
    kind TEXT NOT NULL,
    created INTEGER NOT NULL,
    place TEXT NOT NULL DEFAULT 'local' CHECK (place IN ('local', 'both', 'remote'))
) STRICT;
CREATE INDEX objects_by_sha1 ON objects (sha1);
CREATE INDEX objects_by_md5 ON objects (md5) WHERE md5 IS NOT NULL;

-- What stands in URLs. One that was removed stays for a while, so that it is not given to somebody else.
CREATE TABLE links (
    name TEXT PRIMARY KEY,
    object INTEGER REFERENCES objects (id),
    original TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,
    max_views INTEGER CHECK (max_views > 0),
    views INTEGER NOT NULL DEFAULT 0,
    shared INTEGER NOT NULL CHECK (shared IN (0, 1)), -- equal uploads get this one, too
    removed INTEGER,
    why TEXT CHECK (why IN ('deleted', 'expired', 'seen', 'operator')),
    CHECK ((removed IS NULL) = (why IS NULL)),
    CHECK (removed IS NOT NULL OR object IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_by_object ON links (object) WHERE object IS NOT NULL;
CREATE INDEX links_by_expiry ON links (expires) WHERE expires IS NOT NULL AND removed IS NULL;
CREATE INDEX links_by_removal ON links (removed) WHERE removed IS NOT NULL;

-- One upload's share in a link. Of its token the SHA-256 alone is kept; those whose answer had none share one claim.
CREATE TABLE claims (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL REFERENCES links (name),
    token BLOB CHECK (length(token) = 32),
    original TEXT NOT NULL,
    address TEXT,
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX claims_by_name ON claims (name);
CREATE UNIQUE INDEX claims_by_token ON claims (token) WHERE token IS NOT NULL;

-- Content that nobody may upload or see, by any of its hashes.
CREATE TABLE bans (
    hash BLOB PRIMARY KEY CHECK (length(hash) IN (16, 20, 32)),
    reason TEXT NOT NULL,
    created INTEGER NOT NULL,
    until INTEGER
) STRICT, WITHOUT ROWID;

-- Content that no link needs any more and whose file is about to go.
CREATE TABLE doomed (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32)
) STRICT, WITHOUT ROWID;

-- Everything that happened, in order.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    what TEXT NOT NULL CHECK (what IN ('stored', 'linked', 'claimed', 'removed', 'dropped', 'banned', 'unbanned')),
    name TEXT,
    hash BLOB,
    detail TEXT
) STRICT;
