-- Tenants and keys that are made while gateways run. The columns are explained in docs/reference/keys.md.

CREATE TABLE schema_version (version INTEGER NOT NULL);

-- `version` counts changes; what is older than `pruned` may miss what was removed.
CREATE TABLE state (version INTEGER NOT NULL, pruned INTEGER NOT NULL);
INSERT INTO state VALUES (0, 0);

CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    definition TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    deleted_ms INTEGER,
    version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tenants_by_version ON tenants (version);

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    hint TEXT NOT NULL,
    previous_hash TEXT,
    previous_hint TEXT,
    previous_until_ms INTEGER,
    definition TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    revoked_ms INTEGER,
    version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_by_version ON keys (version);
CREATE UNIQUE INDEX keys_by_hash ON keys (hash) WHERE revoked_ms IS NULL;
CREATE UNIQUE INDEX keys_by_name ON keys (tenant, name) WHERE revoked_ms IS NULL;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    credential TEXT NOT NULL,
    source TEXT NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT,
    before TEXT,
    after TEXT
);
