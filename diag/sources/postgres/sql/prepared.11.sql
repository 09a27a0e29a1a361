-- Prepared transactions hold locks and belong to no backend. The function: the view joins pg_authid and pg_database.
SELECT prepared.transaction::text::bigint AS transaction, prepared.gid, date_part('epoch', prepared.prepared) AS prepared_at,
       age(prepared.transaction) AS age_transactions, prepared.ownerid::bigint AS owner, prepared.dbid::bigint AS database
FROM pg_catalog.pg_prepared_xact() AS prepared
