-- Messages for webhooks. Times are milliseconds since the Unix epoch.
CREATE TABLE outbox_schema_version (version INTEGER NOT NULL);

-- How much waits for each webhook: the id of its tenant, or nothing for the one of all tenants. A transaction that adds
-- or removes messages changes these numbers, so that no bound needs a look at all messages.
CREATE TABLE outbox_receivers (
    name TEXT COLLATE "C" PRIMARY KEY,
    events BIGINT NOT NULL,
    bytes BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE outbox_messages (
    -- Never given twice, so that a later message is not taken for one that was dropped while it was sent.
    id BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    receiver TEXT COLLATE "C" NOT NULL,
    -- `webhook-id`.
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    -- `type`.
    kind TEXT COLLATE "C" NOT NULL,
    made_ms BIGINT NOT NULL,
    -- How often it was sent.
    attempts BIGINT NOT NULL,
    -- When it is sent next; 0 for one that was not sent yet, so that no clock puts it off.
    due_ms BIGINT NOT NULL,
    -- How many events it has, and the room that they take.
    events BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    -- The events, with commas between them.
    data TEXT NOT NULL
);
CREATE INDEX outbox_messages_by_due ON outbox_messages (receiver, due_ms, id);
CREATE INDEX outbox_messages_by_age ON outbox_messages (receiver, id);
CREATE INDEX outbox_messages_by_made ON outbox_messages (made_ms);
