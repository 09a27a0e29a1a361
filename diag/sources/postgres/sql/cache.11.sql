-- Counters of the connected database, by functions that read shared statistics only. Times in seconds.
-- shared_buffers counts blocks of the server's own size.
SELECT current_database() AS database_name, datid::bigint AS database,
       pg_stat_get_db_blocks_hit(datid) AS hits,
       pg_stat_get_db_blocks_fetched(datid) - pg_stat_get_db_blocks_hit(datid) AS reads,
       pg_stat_get_db_blk_read_time(datid) / 1000.0 AS read_time_s,
       extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8 AS uptime_s,
       (SELECT setting::integer FROM pg_show_all_settings() AS known (name, setting) WHERE name = 'shared_buffers') AS shared_buffers,
       current_setting('track_io_timing')::boolean AS track_io_timing
FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())
