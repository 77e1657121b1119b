-- A month of the ledger: its rows, their sums, and up to where the journal is in it.
-- The columns are explained in docs/reference/ledger.md.

CREATE TABLE schema_version (version INTEGER NOT NULL);

-- Tells this file from another one of the same month.
CREATE TABLE file (id BLOB NOT NULL);
INSERT INTO file VALUES (randomblob(16));

CREATE TABLE names (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- Ordered by time, so that a new row goes to the end. There is no other index: it would cost more than
-- all the rest.
CREATE TABLE requests (
    at_ms INTEGER NOT NULL,
    id BLOB NOT NULL,
    tenant INTEGER NOT NULL,
    key INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    rule INTEGER NOT NULL,
    model INTEGER NOT NULL,
    served_model INTEGER NOT NULL,
    upstream INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    status INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    streamed INTEGER NOT NULL,
    multimodal INTEGER NOT NULL,
    tools INTEGER NOT NULL,
    client_gone INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    source INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    audio INTEGER NOT NULL,
    image INTEGER NOT NULL,
    audio_ms INTEGER NOT NULL,
    searches INTEGER NOT NULL,
    cached_answer INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    charge_nanos INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    total_ms INTEGER NOT NULL,
    period INTEGER,
    key_period INTEGER,
    PRIMARY KEY (at_ms, id)
) WITHOUT ROWID;

CREATE TABLE daily (
    day INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    key INTEGER NOT NULL,
    model INTEGER NOT NULL,
    upstream INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    audio INTEGER NOT NULL,
    image INTEGER NOT NULL,
    audio_ms INTEGER NOT NULL,
    searches INTEGER NOT NULL,
    cached_answer INTEGER NOT NULL,
    cost_nanos INTEGER NOT NULL,
    charge_nanos INTEGER NOT NULL,
    PRIMARY KEY (day, tenant, key, model, upstream)
) WITHOUT ROWID;

CREATE TABLE periods (
    period_start INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    -- 0 for what the quota of the tenant itself counts.
    key INTEGER NOT NULL,
    -- By node, so that what each has used is a number that only grows.
    node TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    charge_nanos INTEGER NOT NULL,
    PRIMARY KEY (period_start, tenant, key, node)
) WITHOUT ROWID;

CREATE TABLE positions (
    node TEXT PRIMARY KEY,
    segment INTEGER NOT NULL,
    byte_offset INTEGER NOT NULL
) WITHOUT ROWID;
