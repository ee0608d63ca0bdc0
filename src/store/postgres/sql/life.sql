WITH clock AS (SELECT coalesce(nullif(current_setting('vaultlock.now', true), ''),
    (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text)::bigint AS now),
life AS (SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE
    (SELECT system_identifier::text FROM pg_control_system()) || ':' || left(pg_walfile_name(pg_current_wal_lsn()), 8) ||
    CASE current_setting('fsync') WHEN 'off' THEN ':' || extract(epoch FROM pg_postmaster_start_time())::text ELSE '' END
    END AS epoch)
