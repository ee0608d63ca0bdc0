UPDATE $schema.tickets t SET beats = t.beats + 1, beaten = c.now,
    seal = left(encode(sha256(convert_to((t.beats + 1) || ' ' || c.now, 'UTF8')), 'hex'), 32)
FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) c
WHERE t.lock = $lock AND t.id = $id
    AND t.seal = left(encode(sha256(convert_to(t.beats || ' ' || t.beaten, 'UTF8')), 'hex'), 32);
