-- Tenants and keys that are made while gateways run. The columns are explained in docs/reference/keys.md.

CREATE TABLE managed_schema_version (version INTEGER NOT NULL);

-- `version` counts changes; what is older than `pruned` may miss what was removed. Changes take turns at this row.
CREATE TABLE managed_state (version BIGINT NOT NULL, pruned BIGINT NOT NULL);
INSERT INTO managed_state VALUES (0, 0);

CREATE TABLE managed_tenants (
    id TEXT COLLATE "C" PRIMARY KEY,
    definition TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    deleted_ms BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX managed_tenants_by_version ON managed_tenants (version);

CREATE TABLE managed_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    hint TEXT NOT NULL,
    previous_hash TEXT,
    previous_hint TEXT,
    previous_until_ms BIGINT,
    definition TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    revoked_ms BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX managed_keys_by_version ON managed_keys (version);
CREATE UNIQUE INDEX managed_keys_by_hash ON managed_keys (hash) WHERE revoked_ms IS NULL;
CREATE UNIQUE INDEX managed_keys_by_name ON managed_keys (tenant, name) WHERE revoked_ms IS NULL;

CREATE TABLE managed_audit (
    id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at_ms BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    credential TEXT NOT NULL,
    source TEXT NOT NULL,
    tenant TEXT NOT NULL,
    key TEXT,
    before TEXT,
    after TEXT
);
