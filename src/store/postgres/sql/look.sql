, record AS (SELECT * FROM $schema.store),
lock AS (SELECT version, ledger, seal FROM $schema.locks WHERE name = $lock),
queue AS (SELECT id, place, seq FROM $schema.tickets WHERE lock = $lock AND NOT holds),
mine AS (SELECT place, seq FROM queue WHERE id = $id)
SELECT clock.now::text, life.epoch, record.epoch, record.mark, record.settled, record.max_ttl_ms::text, record.carried::text,
    pg_backend_pid()::text,
    lock.version::text, lock.ledger, lock.seal, (SELECT count(*) FROM queue)::text,
    (SELECT count(*) FROM queue, mine WHERE (queue.place, queue.seq) < (mine.place, mine.seq))::text
FROM clock, life LEFT JOIN record ON true LEFT JOIN lock ON true;
