-- The ledger: rows by month, their sums, and up to where the journals of all nodes are in it.
-- The columns are explained in docs/reference/ledger.md.

CREATE TABLE schema_version (version INTEGER NOT NULL);

CREATE TABLE names (
    id INTEGER PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    -- Sorted by bytes, as SQLite does.
    name TEXT COLLATE "C" NOT NULL UNIQUE
);

-- A partition for each month is made when its first row comes. There is no index beside the primary key: it
-- would cost more than all the rest.
CREATE TABLE requests (
    at_ms BIGINT NOT NULL,
    id UUID NOT NULL,
    tenant INTEGER NOT NULL,
    key INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    rule INTEGER NOT NULL,
    model INTEGER NOT NULL,
    served_model INTEGER NOT NULL,
    upstream INTEGER NOT NULL,
    outcome INTEGER NOT NULL,
    status SMALLINT NOT NULL,
    attempts INTEGER NOT NULL,
    streamed SMALLINT NOT NULL,
    multimodal SMALLINT NOT NULL,
    tools SMALLINT NOT NULL,
    client_gone SMALLINT NOT NULL,
    unpriced SMALLINT NOT NULL,
    source SMALLINT NOT NULL,
    input BIGINT NOT NULL,
    cache_read BIGINT NOT NULL,
    cache_write BIGINT NOT NULL,
    output BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    audio BIGINT NOT NULL,
    image BIGINT NOT NULL,
    audio_ms BIGINT NOT NULL,
    searches BIGINT NOT NULL,
    cached_answer BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    charge_nanos BIGINT NOT NULL,
    first_byte_ms BIGINT NOT NULL,
    total_ms BIGINT NOT NULL,
    period BIGINT,
    key_period BIGINT,
    PRIMARY KEY (at_ms, id)
) PARTITION BY RANGE (at_ms);

CREATE TABLE daily (
    day INTEGER NOT NULL,
    tenant INTEGER NOT NULL,
    key INTEGER NOT NULL,
    model INTEGER NOT NULL,
    upstream INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    input BIGINT NOT NULL,
    cache_read BIGINT NOT NULL,
    cache_write BIGINT NOT NULL,
    output BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    audio BIGINT NOT NULL,
    image BIGINT NOT NULL,
    audio_ms BIGINT NOT NULL,
    searches BIGINT NOT NULL,
    cached_answer BIGINT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    charge_nanos BIGINT NOT NULL,
    PRIMARY KEY (day, tenant, key, model, upstream)
);

CREATE TABLE periods (
    period_start BIGINT NOT NULL,
    tenant INTEGER NOT NULL,
    -- 0 for what the quota of the tenant itself counts.
    key INTEGER NOT NULL,
    -- By node, so that what each has used is a number that only grows.
    node TEXT NOT NULL,
    tokens BIGINT NOT NULL,
    charge_nanos BIGINT NOT NULL,
    PRIMARY KEY (period_start, tenant, key, node)
);

CREATE TABLE positions (
    node TEXT PRIMARY KEY,
    segment BIGINT NOT NULL,
    byte_offset BIGINT NOT NULL
);
