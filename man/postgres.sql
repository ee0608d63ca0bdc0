-- What a vaultlock store needs in a PostgreSQL database (version 11 or later).
--
-- vaultlock makes this by itself where its role may. Where it may not, let the database's owner run this file once:
--
--     psql -d DATABASE -f postgres.sql
--     GRANT USAGE ON SCHEMA vaultlock TO ROLE;
--     GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA vaultlock TO ROLE;
--
-- For a store URL with prefix=NAME write NAME in place of each "vaultlock." and of the schema's name.

CREATE SCHEMA IF NOT EXISTS vaultlock;

-- The life of the store, and whether its memory is to be trusted. One row, there from the start: a store that lost it may
-- have lost its locks too.
CREATE TABLE IF NOT EXISTS vaultlock.store (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch text NOT NULL,
    mark text NOT NULL,
    settled text NOT NULL,
    max_ttl_ms bigint NOT NULL,
    carried boolean NOT NULL
);
INSERT INTO vaultlock.store (epoch, mark, settled, max_ttl_ms, carried) VALUES ('', '', '', 0, false) ON CONFLICT DO NOTHING;

-- A row a lock. `seal` is the head of the ledger's SHA-256; `seq` and `last` are of the last ticket.
CREATE TABLE IF NOT EXISTS vaultlock.locks (
    name text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    ledger text,
    seal text,
    seq bigint NOT NULL DEFAULT 0,
    last bigint NOT NULL DEFAULT 0
);

-- A row a claim. `holds`: it is among the ledger's holders, and no longer in the queue.
CREATE TABLE IF NOT EXISTS vaultlock.tickets (
    lock text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    ticket text NOT NULL,
    seq bigint NOT NULL,
    place bigint NOT NULL,
    taken bigint NOT NULL,
    holds boolean NOT NULL,
    beats bigint NOT NULL,
    beaten bigint NOT NULL,
    seal text NOT NULL,
    PRIMARY KEY (lock, id)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.2);
CREATE INDEX IF NOT EXISTS tickets_queue ON vaultlock.tickets (lock, place, seq) WHERE NOT holds;

-- Ids that never return, each for twenty minutes.
CREATE TABLE IF NOT EXISTS vaultlock.gone (
    lock text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    gone bigint NOT NULL,
    PRIMARY KEY (lock, id)
);
CREATE INDEX IF NOT EXISTS gone_since ON vaultlock.gone (lock, gone);
