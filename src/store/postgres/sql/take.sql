, old AS (SELECT * FROM $schema.locks WHERE name = $lock),
ok AS (SELECT s.mark = s.settled AS sure FROM $schema.store s, life WHERE s.epoch = life.epoch AND s.max_ttl_ms = $max_ttl),
known AS (SELECT 1 FROM $schema.tickets WHERE lock = $lock AND id = $id
    UNION ALL SELECT 1 FROM $schema.gone WHERE lock = $lock AND id = $id),
grant_basis AS (SELECT old.version, life.epoch, clock.now,
    CASE WHEN old.version = 0 THEN '0' ELSE substring(old.ledger FROM '"fence":([0-9]{1,16})[,}]') END AS fence,
    CASE WHEN old.version = 0 THEN $leap ELSE 0 END AS leap,
    CASE WHEN $wall - clock.now > $far_behind THEN $wall ELSE clock.now END AS floor
    FROM old, clock, life, ok
    WHERE $straight AND ok.sure AND NOT EXISTS (SELECT FROM $schema.tickets WHERE lock = $lock)),
at_rest AS (SELECT *, greatest(fence::bigint + 1, floor + leap, $remembered + 1) AS next FROM grant_basis
    WHERE fence IS NOT NULL AND fence::bigint <= $most),
straight AS (SELECT b.version + 1 AS version,
    replace(replace(replace(replace($entered, chr(1), (b.version + 1)::text), chr(2), b.epoch), chr(3), b.next::text),
        chr(4), b.now::text) AS ledger
    FROM at_rest b, old
    WHERE CASE WHEN old.version = 0 THEN old.ledger IS NULL AND old.seal IS NULL ELSE
        old.seal = left(encode(sha256(convert_to(old.ledger, 'UTF8')), 'hex'), 32) AND
        old.ledger = replace(replace(replace($at_rest, chr(1), b.version::text), chr(2), b.epoch), chr(3), b.fence) END),
taken AS (INSERT INTO $schema.tickets (lock, id, ticket, seq, place, taken, holds, beats, beaten, seal)
    SELECT $lock, $id, $ticket, old.seq + 1, greatest(clock.now, old.last) - $lead, greatest(clock.now, old.last),
        EXISTS (SELECT FROM straight), 0, clock.now, left(encode(sha256(convert_to('0 ' || clock.now, 'UTF8')), 'hex'), 32)
    FROM old, clock, ok
    WHERE NOT EXISTS (SELECT FROM known)
        AND (SELECT count(*) FROM $schema.tickets WHERE lock = $lock AND NOT holds) < $most_waiters
    RETURNING seq, taken)
UPDATE $schema.locks l SET seq = t.seq, last = t.taken,
    version = coalesce((SELECT version FROM straight), l.version),
    ledger = coalesce((SELECT ledger FROM straight), l.ledger),
    seal = coalesce((SELECT left(encode(sha256(convert_to(ledger, 'UTF8')), 'hex'), 32) FROM straight), l.seal)
FROM taken t WHERE l.name = $lock;
