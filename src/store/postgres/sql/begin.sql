SET TRANSACTION ISOLATION LEVEL $isolation;
SELECT set_config('statement_timeout', $within, true), set_config('lock_timeout', $within, true),
    set_config('search_path', 'pg_catalog', true),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true);
