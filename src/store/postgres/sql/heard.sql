SELECT '', clock.now::text, life.epoch, (SELECT version::text FROM $schema.locks WHERE name = $lock) FROM clock, life
UNION ALL
SELECT id, beats::text, beaten::text, seal FROM $schema.tickets WHERE lock = $lock AND id = ANY ($ids);
