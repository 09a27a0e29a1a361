-- Names of what somebody waits for, by oid, for the connected database only: an oid of another one may be somebody
-- else's here. Quoted as SQL needs them, so that "Orders" and orders stay two. An asked-for table is found by name, too.
SELECT class.oid::bigint AS oid, quote_ident(space.nspname) || '.' || quote_ident(class.relname) AS name,
       coalesce(%(table)s::text IN (class.relname, space.nspname || '.' || class.relname,
                                    quote_ident(space.nspname) || '.' || quote_ident(class.relname)), false) AS asked_for
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
WHERE class.oid IN (SELECT relation FROM pg_catalog.pg_locks WHERE NOT granted) OR class.relname = ANY(%(names)s::text[])
