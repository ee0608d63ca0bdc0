SELECT current_setting('server_version'), current_user::text, current_setting('fsync'),
    current_setting('synchronous_standby_names'), (SELECT count(*) FROM pg_stat_replication)::text,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::text,
    (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int)::text,
    (SELECT coalesce(string_agg(wanted.privilege || ' on ' || wanted.name, ', '), '') FROM (VALUES
        ('store', 'SELECT'), ('store', 'INSERT'), ('store', 'UPDATE'),
        ('locks', 'SELECT'), ('locks', 'INSERT'), ('locks', 'UPDATE'),
        ('tickets', 'SELECT'), ('tickets', 'INSERT'), ('tickets', 'UPDATE'), ('tickets', 'DELETE'),
        ('gone', 'SELECT'), ('gone', 'INSERT'), ('gone', 'DELETE')) wanted (name, privilege)
        WHERE NOT has_table_privilege($quoted || '.' || wanted.name, wanted.privilege)),
    pg_backend_pid()::text;
