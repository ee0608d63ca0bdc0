, renewed AS (UPDATE $schema.store s SET epoch = life.epoch, mark = $mark, settled = '', carried = s.epoch <> '',
        max_ttl_ms = CASE s.epoch WHEN '' THEN $max_ttl ELSE s.max_ttl_ms END
    FROM life WHERE s.epoch <> life.epoch AND life.epoch <> '' AND (s.epoch = '' OR s.max_ttl_ms = $max_ttl))
INSERT INTO $schema.store (epoch, mark, settled, max_ttl_ms, carried)
SELECT life.epoch, $mark, '', $max_ttl, true FROM life
WHERE life.epoch <> '' AND NOT EXISTS (SELECT FROM $schema.store) ON CONFLICT DO NOTHING;
