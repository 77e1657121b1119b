-- Messages for webhooks, and their events. Times are milliseconds since the Unix epoch.
CREATE TABLE schema_version (version INTEGER NOT NULL);

-- A webhook that messages wait for: the id of its tenant, or nothing for the one of all tenants.
CREATE TABLE receivers (
    -- Never given twice, so that no event of one tenant is taken for another's.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE messages (
    -- Never given twice, so that a later message is not taken for one that was dropped while it was sent.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver INTEGER NOT NULL,
    -- `webhook-id`.
    name TEXT NOT NULL,
    -- `type`.
    kind TEXT NOT NULL,
    made_ms INTEGER NOT NULL,
    -- How often it was sent.
    attempts INTEGER NOT NULL,
    -- When it is sent next.
    due_ms INTEGER NOT NULL,
    -- How many events it has, and the room that they take.
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE INDEX messages_due ON messages (receiver, due_ms);
-- With the id behind the receiver: which of its messages is the oldest.
CREATE INDEX messages_receiver ON messages (receiver);
CREATE INDEX messages_made ON messages (made_ms);

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    message INTEGER NOT NULL,
    receiver INTEGER NOT NULL,
    -- The id of a usage record; nothing for an event of another kind.
    record BLOB,
    json TEXT NOT NULL
);
CREATE INDEX events_message ON events (message);
CREATE UNIQUE INDEX events_record ON events (receiver, record);
