-- The ledger: everything observed, judged, intended and done.
-- Times are milliseconds since 1970-01-01T00:00:00Z unless a column says otherwise. docs/reference/ledger.md explains it all.

PRAGMA application_id = 0x7769746e; -- "witn"

-- Names, written once and never removed.
CREATE TABLE node    (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE address (id INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE boot    (id INTEGER PRIMARY KEY, boot TEXT NOT NULL UNIQUE) STRICT;

-- One row per tick. Fleet and vantage are numbers: v_judgement shows their names.
CREATE TABLE judgement (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    boot_ms    INTEGER NOT NULL,            -- the boot clock at the same moment
    boot       INTEGER NOT NULL,            -- boot.id
    fleet      INTEGER NOT NULL,
    vantage    INTEGER NOT NULL,
    news       INTEGER NOT NULL,            -- 1: fleet or vantage differ from the judgement before
    nodes      INTEGER NOT NULL,            -- how many were judged ...
    suspect    INTEGER NOT NULL,            -- ... and stood so
    withdrawn  INTEGER NOT NULL,
    probation  INTEGER NOT NULL,
    rounds     INTEGER NOT NULL,            -- how many rounds it was shown ...
    failed     INTEGER NOT NULL,            -- ... and how many of them failed
    anchors_at INTEGER,
    anchors_ok INTEGER,
    anchors_of INTEGER,
    request    TEXT                         -- what a person asked for, JSON
) STRICT;
CREATE INDEX judgement_at ON judgement (at);
CREATE INDEX judgement_news ON judgement (at) WHERE news = 1;
CREATE INDEX judgement_request ON judgement (at) WHERE request IS NOT NULL;

-- Raw observations, in the order they came, so that rows are appended and old ones leave whole pages.
CREATE TABLE observation (
    judgement        INTEGER NOT NULL,      -- the judgement they were shown to
    node             INTEGER NOT NULL,
    seq              INTEGER NOT NULL,      -- tells rounds of one node in one tick apart
    probe            INTEGER NOT NULL,      -- 0 https, 1 ping, 2 ssh
    address          INTEGER NOT NULL,
    started          INTEGER NOT NULL,      -- when the round was started, ms after the judgement (so mostly negative)
    ended            INTEGER NOT NULL,      -- when this probe was done, the same
    outcome          INTEGER NOT NULL,      -- kind + 256 * detail; 0 passed; v_observation shows it in words
    total_us         INTEGER NOT NULL,
    connect_us       INTEGER,
    secure_us        INTEGER,
    first_byte_us    INTEGER,
    status           INTEGER,
    certificate_days INTEGER,
    sent             INTEGER,
    received         INTEGER,
    rtt_us           INTEGER,
    note             INTEGER,               -- note.id
    PRIMARY KEY (judgement, node, seq, probe, address)
) STRICT, WITHOUT ROWID;

-- Words that observations share, once per day (days since 1970).
CREATE TABLE note (
    id   INTEGER PRIMARY KEY,
    day  INTEGER NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (day, text)
) STRICT;

CREATE TABLE strike (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    judgement INTEGER NOT NULL REFERENCES judgement,
    node      INTEGER NOT NULL REFERENCES node,
    at        INTEGER NOT NULL,
    faults    TEXT NOT NULL                 -- [["https","refused"], ...]
) STRICT;
CREATE INDEX strike_judgement ON strike (judgement);
CREATE INDEX strike_node ON strike (node, at);
CREATE INDEX strike_at ON strike (at);

-- What was concluded for a node, from this judgement on: a row only where something changed or was done.
CREATE TABLE node_state (
    node      INTEGER NOT NULL REFERENCES node,
    judgement INTEGER NOT NULL REFERENCES judgement,
    news      INTEGER NOT NULL,             -- 1: verdict or standing differ from the row before
    verdict   TEXT,                         -- NULL: no longer in the fleet
    standing  TEXT,
    strikes   INTEGER NOT NULL,
    rule      TEXT NOT NULL,
    why       TEXT NOT NULL,
    pin       TEXT,                         -- JSON
    in_dns    TEXT NOT NULL,                -- {"pool":true, ...}
    seen_from INTEGER,                      -- evidence: strikes and observations of the node from ...
    seen_to   INTEGER,                      -- ... until
    evidence  TEXT,                         -- the newest round that told something, JSON, where something was done
    PRIMARY KEY (node, judgement)
) STRICT, WITHOUT ROWID;
CREATE INDEX node_state_judgement ON node_state (judgement);

-- Actions. An alert that stands is one row; what changes DNS is a row each time it is asked for.
CREATE TABLE action (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    judgement INTEGER NOT NULL REFERENCES judgement,
    until     INTEGER,                      -- the first judgement without it; NULL: it stands
    kind      TEXT NOT NULL,
    node      INTEGER REFERENCES node,
    pool      TEXT,
    step      INTEGER,
    rule      TEXT NOT NULL,
    why       TEXT NOT NULL
) STRICT;
CREATE INDEX action_judgement ON action (judgement);
CREATE INDEX action_stands ON action (id) WHERE until IS NULL;

-- Changes that a guard refused: one row for as long as the same guard refuses the same change.
CREATE TABLE hold (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    judgement INTEGER NOT NULL REFERENCES judgement,
    until     INTEGER,                      -- the first judgement without it; NULL: it stands
    kind      TEXT NOT NULL,
    node      INTEGER NOT NULL REFERENCES node,
    pool      TEXT,
    guard     TEXT NOT NULL,
    why       TEXT NOT NULL
) STRICT;
CREATE INDEX hold_judgement ON hold (judgement);
CREATE INDEX hold_stands ON hold (id) WHERE until IS NULL;

-- Writes to registrars, written down before they are begun.
CREATE TABLE intent (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    judgement INTEGER NOT NULL REFERENCES judgement,
    at        INTEGER NOT NULL,
    pool      TEXT NOT NULL,
    plan      TEXT NOT NULL,                -- JSON
    state     TEXT NOT NULL,
    state_at  INTEGER NOT NULL,
    note      TEXT NOT NULL
) STRICT;
CREATE INDEX intent_judgement ON intent (judgement);
CREATE INDEX intent_at ON intent (at);
CREATE INDEX intent_open ON intent (id) WHERE state IN ('intended', 'applied', 'unknown');

-- Every state an intent has been in.
CREATE TABLE intent_state (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    intent INTEGER NOT NULL REFERENCES intent ON DELETE CASCADE,
    at     INTEGER NOT NULL,
    state  TEXT NOT NULL,
    note   TEXT NOT NULL
) STRICT;
CREATE INDEX intent_state_intent ON intent_state (intent);
CREATE INDEX intent_state_at ON intent_state (at);

-- When each authoritative server was seen to show what an intent wanted.
CREATE TABLE publication (
    intent INTEGER NOT NULL REFERENCES intent ON DELETE CASCADE,
    server TEXT NOT NULL,
    at     INTEGER NOT NULL,                -- when this was written down
    seen   INTEGER,                         -- NULL: not seen within its deadline
    note   TEXT NOT NULL,
    PRIMARY KEY (intent, server)
) STRICT, WITHOUT ROWID;

-- A copy of the zone from before each write.
CREATE TABLE snapshot (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    pool      TEXT NOT NULL,
    zone      TEXT NOT NULL,
    registrar TEXT NOT NULL,
    sets      TEXT NOT NULL,                -- [[{"owner":"@","type":"A"},{"ttl":60,"addresses":[...]}], ...]
    preimage  TEXT NOT NULL,                -- everything the adapter saw, JSON
    intent    INTEGER REFERENCES intent ON DELETE SET NULL
) STRICT;
CREATE INDEX snapshot_at ON snapshot (at);
CREATE INDEX snapshot_intent ON snapshot (intent);

-- What the registrars held: a row for as long as it stayed the same.
CREATE TABLE reading (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    pool     TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    sets     TEXT NOT NULL
) STRICT;
CREATE INDEX reading_pool ON reading (pool, id);

CREATE TABLE pin (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    node     INTEGER NOT NULL REFERENCES node,
    state    TEXT NOT NULL,
    since    INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    ended_at INTEGER                        -- taken off or replaced before its time
) STRICT;
CREATE INDEX pin_node ON pin (node);
CREATE INDEX pin_stands ON pin (until) WHERE ended_at IS NULL;

-- Who may tick. The token only ever grows.
CREATE TABLE lease (
    name          TEXT PRIMARY KEY,
    token         INTEGER NOT NULL,
    holder        TEXT,                     -- JSON; NULL: free
    since         INTEGER NOT NULL,
    until         INTEGER NOT NULL,
    until_boot_ms INTEGER NOT NULL          -- the same by the holder's boot clock
) STRICT;

-- What the rule remembers. What changes in every tick is in numbers; the rest is JSON, written when it changes.
CREATE TABLE memory (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    memory TEXT NOT NULL
) STRICT;

CREATE TABLE node_memory (
    node   INTEGER PRIMARY KEY REFERENCES node,
    memory TEXT NOT NULL
) STRICT;

CREATE TABLE node_now (
    node            INTEGER PRIMARY KEY,
    seen_judgement  INTEGER,                -- where its newest round is in observation
    seen_seq        INTEGER,
    round_judgement INTEGER,                -- where the round that the rule remembers is
    round_seq       INTEGER,
    clean_rounds    INTEGER NOT NULL DEFAULT 0,
    clean_since     INTEGER,
    failed_rounds   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- For people with sqlite3 at hand.
CREATE VIEW v_judgement AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS at,
       CASE fleet WHEN 0 THEN 'normal' WHEN 1 THEN 'single-fault' WHEN 2 THEN 'multi-fault' WHEN 3 THEN 'overload'
            WHEN 4 THEN 'path-trouble' WHEN 5 THEN 'common-fault' WHEN 6 THEN 'isolated' WHEN 7 THEN 'dark'
            WHEN 8 THEN 'blind' END AS fleet,
       CASE vantage WHEN 0 THEN 'clear' WHEN 1 THEN 'isolated' WHEN 2 THEN 'blind' END AS vantage,
       nodes, suspect, withdrawn, probation, rounds, failed, anchors_ok, anchors_of, request
  FROM judgement;

CREATE VIEW v_observation AS
SELECT o.judgement, strftime('%Y-%m-%dT%H:%M:%fZ', (j.at + o.ended) / 1000.0, 'unixepoch') AS at, n.name AS node,
       CASE o.probe WHEN 0 THEN 'https' WHEN 1 THEN 'ping' WHEN 2 THEN 'ssh' END AS probe, a.address,
       CASE o.outcome & 255 WHEN 0 THEN 'passed'
            WHEN 1 THEN 'refused' WHEN 2 THEN 'unreachable' WHEN 3 THEN 'reset'
            WHEN 4 THEN 'timeout:' || CASE o.outcome >> 8 WHEN 0 THEN 'connect' WHEN 1 THEN 'tls' WHEN 2 THEN 'request'
                 WHEN 3 THEN 'body' WHEN 4 THEN 'banner' WHEN 5 THEN 'handshake' WHEN 6 THEN 'login' ELSE 'command' END
            WHEN 5 THEN 'tls:' || CASE o.outcome >> 8 WHEN 0 THEN 'expired' WHEN 1 THEN 'not-yet-valid'
                 WHEN 2 THEN 'unknown-issuer' WHEN 3 THEN 'wrong-name' WHEN 4 THEN 'bad-certificate'
                 WHEN 5 THEN 'version' ELSE 'protocol' END
            WHEN 6 THEN 'status:' || (o.outcome >> 8) WHEN 7 THEN 'shedding:' || (o.outcome >> 8)
            WHEN 8 THEN 'body' WHEN 9 THEN 'lost' WHEN 10 THEN 'protocol' WHEN 11 THEN 'host-key' WHEN 12 THEN 'auth'
            WHEN 13 THEN 'exit:' || (o.outcome >> 8)
            WHEN 64 THEN 'inconclusive:' || CASE o.outcome >> 8 WHEN 0 THEN 'no-route' WHEN 1 THEN 'resources'
                 WHEN 2 THEN 'dns' WHEN 3 THEN 'firewall' WHEN 4 THEN 'starved' WHEN 5 THEN 'unavailable'
                 ELSE 'cancelled' END
       END AS outcome,
       o.total_us, o.connect_us, o.secure_us, o.first_byte_us, o.status, o.certificate_days, o.sent, o.received,
       o.rtt_us, t.text AS note
  FROM observation o
  JOIN judgement j ON j.id = o.judgement
  JOIN node n ON n.id = o.node
  JOIN address a ON a.id = o.address
  LEFT JOIN note t ON t.id = o.note;

CREATE VIEW v_node AS
SELECT n.name AS node, s.verdict, s.standing, s.strikes, s.rule, s.why, s.pin, s.in_dns, s.judgement,
       strftime('%Y-%m-%dT%H:%M:%fZ', j.at / 1000.0, 'unixepoch') AS since
  FROM node n
  JOIN node_state s ON s.node = n.id
   AND s.judgement = (SELECT max(judgement) FROM node_state WHERE node = n.id)
  JOIN judgement j ON j.id = s.judgement
 WHERE s.verdict IS NOT NULL;

CREATE VIEW v_intent AS
SELECT id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1000.0, 'unixepoch') AS at, pool, state,
       strftime('%Y-%m-%dT%H:%M:%fZ', state_at / 1000.0, 'unixepoch') AS state_at, judgement, note, plan
  FROM intent;
