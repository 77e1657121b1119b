-- What must be known of months whose files have been moved or removed.
-- `file` is the id of such a file: while it is in the folder, its own tables count and not these.

CREATE TABLE schema_version (version INTEGER NOT NULL);

CREATE TABLE periods (
    file BLOB NOT NULL,
    period_start INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    -- Empty for what the quota of the tenant itself counts.
    key TEXT NOT NULL,
    node TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    charge_nanos INTEGER NOT NULL,
    PRIMARY KEY (file, period_start, tenant, key, node)
) WITHOUT ROWID;

CREATE TABLE positions (
    node TEXT PRIMARY KEY,
    segment INTEGER NOT NULL,
    byte_offset INTEGER NOT NULL
) WITHOUT ROWID;
