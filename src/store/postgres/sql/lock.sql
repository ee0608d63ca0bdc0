INSERT INTO $schema.locks (name) VALUES ($lock) ON CONFLICT DO NOTHING;
SELECT FROM $schema.locks WHERE name = $lock FOR UPDATE;
SELECT set_config('vaultlock.now', (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text, true);
