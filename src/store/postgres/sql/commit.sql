, guard (kind, id, beats) AS ($guards),
ok AS (SELECT FROM $schema.store s, life, $schema.locks l
    WHERE l.name = $lock AND s.epoch = life.epoch AND life.epoch = $epoch AND s.max_ttl_ms = $max_ttl
        AND ($may_overwrite OR l.version = $version) AND ($mark = '' OR s.mark = $mark)
        AND NOT EXISTS (SELECT FROM guard g LEFT JOIN $schema.tickets t ON t.lock = $lock AND t.id = g.id
            WHERE CASE g.kind WHEN 'absent' THEN t.id IS NOT NULL ELSE t.id IS NULL OR t.beats <> g.beats END)),
dropped AS (DELETE FROM $schema.tickets USING ok WHERE lock = $lock AND id = ANY ($drops)),
buried AS (INSERT INTO $schema.gone (lock, id, gone) SELECT $lock, one, clock.now FROM ok, clock, unnest($drops) AS one
    ON CONFLICT DO NOTHING),
forgotten AS (DELETE FROM $schema.gone USING ok, clock WHERE lock = $lock AND gone < clock.now - 1200000),
seated AS (UPDATE $schema.tickets SET holds = id = ANY ($holders) FROM ok
    WHERE $writes AND lock = $lock AND id <> ALL ($drops) AND (holds OR id = ANY ($holders)) AND holds <> (id = ANY ($holders))),
settled AS (UPDATE $schema.store SET settled = mark FROM ok WHERE $mark <> '' AND mark = $mark),
written AS (UPDATE $schema.locks l SET version = $next, ledger = $ledger,
        seal = left(encode(sha256(convert_to($ledger, 'UTF8')), 'hex'), 32)
    FROM ok WHERE $writes AND l.name = $lock),
woken AS (SELECT pg_notify('vl_' || one, '') FROM ok, unnest($wake) AS one)
SELECT (SELECT count(*) FROM ok)::text, (SELECT count(*) FROM woken)::text;
