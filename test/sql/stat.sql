-- Version, settings and statistics, whether the library is preloaded or not.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;

-- the library is that of the extension
SELECT at402_version() = extversion AS same FROM pg_extension WHERE extname = 'at402';

-- a row a listener, none where the library is not preloaded
SELECT count(*) = CASE WHEN current_setting('shared_preload_libraries') ~ '\mat402\M'
	AND current_setting('at402.database') <> ''
	THEN current_setting('at402.workers')::int ELSE 0 END AS as_preloaded
FROM at402_stat_listener;
SELECT count(*) FROM at402_stat_connection;
SELECT at402_stat_reset();

-- anybody may look, not everybody may reset
BEGIN;
CREATE ROLE regress_plain;
SET LOCAL ROLE regress_plain;
SELECT count(*) >= 0 AS seen FROM at402_stat_listener;
SELECT count(*) FROM at402_stat_connection;
SELECT at402_stat_reset();
ROLLBACK;

-- columns of the contract
SELECT wanted FROM unnest('{pid,state,address,port,connections,frames,reports,inserted,
	duplicates,bad_crc,unknown_protocol,unknown_sender,quarantined,bytes,batches,last_error}'::text[]) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'at402_stat_listener'::regclass
	AND attname = wanted);
SELECT wanted FROM unnest('{imei,peer}'::text[]) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'at402_stat_connection'::regclass
	AND attname = wanted);

-- settings: default, unit, range, and who may change them
SELECT substr(name, 7) AS at402, boot_val AS "default", unit, min_val AS min, max_val AS max,
	enumvals, replace(context, 'postmaster', 'sighup') AS context	-- of some: preloaded
FROM pg_settings WHERE name LIKE 'at402.%' ORDER BY name COLLATE "C";
-- each is explained, with unit, range and default; those of the tables, which are made from a list, each with
-- its own table
SELECT name, short_desc FROM pg_settings
WHERE name LIKE 'at402.%' AND (short_desc !~ '^[A-Z].*\.$'
	OR short_desc NOT LIKE CASE vartype WHEN 'integer' THEN format('%%. %s %s to %s; default %s.',
		coalesce('In ' || unit || ', from', 'From'), min_val, max_val, boot_val)
		ELSE format('%%. Default %s.', coalesce(nullif(boot_val, ''), 'empty')) END
	OR name LIKE 'at402.retention\_%'
		AND short_desc NOT LIKE '%at402.' || substr(name, 17) || ' for this interval%');
-- a misspelled one is no setting
SET at402.store_frame = on;
SET at402.future_limit = -1;
SET at402.port = 8889;
-- a network process is no superuser
ALTER SYSTEM SET at402.role = '';
