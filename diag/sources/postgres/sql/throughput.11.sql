-- Transactions of all databases since their statistics were reset. Needs no grant.
SELECT date_part('epoch', clock_timestamp()) AS observed_at, sum(xact_commit + xact_rollback)::bigint AS transactions,
       date_part('epoch', max(stats_reset)) AS reset_at, NULL::float8 AS active_s
FROM pg_catalog.pg_stat_database
