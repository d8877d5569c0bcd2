-- What the rule went by beside rounds: what nodes said that they carry, what other vantage points said, and its words.

-- One row per figure that a judgement was shown. What was not told is NULL, and never 0.
CREATE TABLE load (
    judgement        INTEGER NOT NULL,      -- the judgement it was shown to
    node             INTEGER NOT NULL,
    source           INTEGER NOT NULL,      -- 0 health, 1 metrics, 2 ssh
    at               INTEGER NOT NULL,      -- when it was true, ms after the judgement (so mostly negative)
    tx_bps           INTEGER,               -- what leaves the node, bit/s
    capacity_bps     INTEGER,               -- what it says it can send, bit/s
    active           INTEGER,               -- open client connections
    shed_step        INTEGER,               -- brownout step
    load1_milli      INTEGER,               -- load average of one minute, thousandths
    ncpu             INTEGER,               -- processors
    psi_cpu10_milli  INTEGER,               -- share of time in which something waited for a processor, thousandths of a percent
    psi_io10_milli   INTEGER,               -- the same, everything waiting for input and output
    listen_overflows INTEGER,               -- connections dropped at a full accept queue since boot
    PRIMARY KEY (judgement, node, source, at)
) STRICT, WITHOUT ROWID;

-- One row per try of another vantage point that a judgement was shown.
CREATE TABLE ask (
    judgement INTEGER NOT NULL,             -- the judgement it was shown to
    node      INTEGER NOT NULL,             -- about whom
    via       TEXT NOT NULL,                -- who tried: a node, or another witness
    at        INTEGER NOT NULL,             -- when it was done, ms after the judgement (so mostly negative)
    how       INTEGER NOT NULL,             -- 0 tcp, 1 ping
    outcome   INTEGER NOT NULL,             -- 0 reached, 1 nothing came back, 2 could not tell
    tries     INTEGER NOT NULL,
    PRIMARY KEY (judgement, node, via, at, how)
) STRICT, WITHOUT ROWID;

-- Why the fleet was called what it was; NULL where nothing was wrong with it.
ALTER TABLE judgement ADD COLUMN fleet_rule TEXT;
ALTER TABLE judgement ADD COLUMN fleet_why TEXT;
-- The class of evidence: 'silent', 'down', ... NULL: written by an earlier version.
ALTER TABLE node_state ADD COLUMN class TEXT;

CREATE VIEW v_load AS
SELECT l.judgement, strftime('%Y-%m-%dT%H:%M:%fZ', (j.at + l.at) / 1000.0, 'unixepoch') AS at, n.name AS node,
       CASE l.source WHEN 0 THEN 'health' WHEN 1 THEN 'metrics' WHEN 2 THEN 'ssh' END AS source,
       l.tx_bps, l.capacity_bps, l.active, l.shed_step, l.load1_milli / 1000.0 AS load1, l.ncpu,
       l.psi_cpu10_milli / 1000.0 AS psi_cpu10, l.psi_io10_milli / 1000.0 AS psi_io10, l.listen_overflows
  FROM load l
  JOIN judgement j ON j.id = l.judgement
  JOIN node n ON n.id = l.node;

CREATE VIEW v_ask AS
SELECT a.judgement, strftime('%Y-%m-%dT%H:%M:%fZ', (j.at + a.at) / 1000.0, 'unixepoch') AS at, n.name AS node, a.via,
       CASE a.how WHEN 0 THEN 'tcp' WHEN 1 THEN 'ping' END AS how,
       CASE a.outcome WHEN 0 THEN 'reached' WHEN 1 THEN 'nothing' WHEN 2 THEN 'unknown' END AS outcome, a.tries
  FROM ask a
  JOIN judgement j ON j.id = a.judgement
  JOIN node n ON n.id = a.node;
