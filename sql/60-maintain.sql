-- Partitions made ahead, and retention.
--
-- The upkeep is done in steps, each short enough to be a transaction of its
-- own, because of the locks that PostgreSQL asks for:
--
-- create   CREATE TABLE (LIKE ...) and ATTACH lock the parent in SHARE UPDATE
--          EXCLUSIVE mode only, so that reports go on flowing (CREATE TABLE
--          ... PARTITION OF would lock them out).  But ATTACH locks the default
--          partition in ACCESS EXCLUSIVE mode: who has a row for it, or reads
--          it, waits.  An insert that waited may find that its row belongs
--          elsewhere now, and fails with 23514: it has to be tried again.
-- drop     DROP TABLE locks the parent in ACCESS EXCLUSIVE mode, so everybody
--          waits, but for milliseconds.
-- delete   takes no lock that anybody waits for.
--
-- While a step waits for a lock, others queue up behind it.  So it gives up
-- soon (55P03), to be tried again later.  50 ms is below deadlock_timeout: in
-- a deadlock it is the upkeep that gives way.
--
-- Before that come the chores: what is derived from the rows that are there.
-- They take no lock on a partition but that of reading, and are done in steps
-- as well.
--
-- at402_maintain and at402_maintain_table do what the functions of at402_internal of
-- the same names with _as_caller say, as the owner of the tables (src/pg/maintain.c).

CREATE FUNCTION at402_internal.at402_interval_setting(name text) RETURNS interval
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT nullif(current_setting('at402.' || name, true), '')::interval
$$;
COMMENT ON FUNCTION at402_internal.at402_interval_setting(text) IS
'the setting at402.<name> as an interval; NULL where it is empty';

CREATE FUNCTION at402_internal.at402_retention(table_name text) RETURNS interval
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name	text := 'retention_' || table_name;
BEGIN
	IF coalesce(current_setting('at402.' || name, true), '') = '' THEN
		name := 'retention';
	END IF;
	IF current_setting('at402.' || name, true) = 'forever' THEN
		RETURN NULL;
	END IF;
	RETURN at402_internal.at402_interval_setting(name);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_retention(text) IS
'how long rows of this table are kept: its own setting, else at402.retention; NULL: for ever';

CREATE FUNCTION at402_internal.at402_partition_start("time" timestamptz, length interval) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE extract(month FROM length)
		WHEN 1 THEN date_trunc('month', "time", 'UTC')
		ELSE date_bin(length, "time", '2001-01-01 00:00 UTC') END	-- a Monday
$$;
COMMENT ON FUNCTION at402_internal.at402_partition_start(timestamptz, interval) IS
'start of the partition of the given length, 1 hour to 1 month, that time belongs to, in UTC';

CREATE FUNCTION at402_partitions(parent regclass)
RETURNS TABLE (partition regclass, span tstzrange)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO'
AS $$
	SELECT c.oid, tstzrange(bounds[1]::timestamptz, bounds[2]::timestamptz)
	FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid,
		regexp_match(pg_get_expr(c.relpartbound, c.oid),
			$re$FROM \((?:MINVALUE|'(.+)')\) TO \((?:MAXVALUE|'(.+)')\)$re$) AS bounds
	WHERE i.inhparent = parent AND bounds IS NOT NULL
$$;
COMMENT ON FUNCTION at402_partitions(regclass) IS
'the partitions of a table and the time that each covers, without the default partition';

-- ATTACH looks at each row of the default partition while it locks everybody out,
-- unless a constraint says that none belongs to the new one.  Where it is large,
-- that constraint is made in a step of its own, which locks for a moment only, and
-- looked after later without a lock that anybody waits for.  Meanwhile rows of that
-- time are refused, so this is done ahead of time alone.
CREATE FUNCTION at402_internal.at402_close_default(default_name regclass, range_column text,
									partition_name text, low timestamptz, high timestamptz)
RETURNS bool
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted		text := 'at402_makes_' || partition_name;
	former		text;
BEGIN
	-- of a partition that is not to be made any more
	FOR former IN
		SELECT conname FROM pg_constraint
		WHERE conrelid = default_name AND starts_with(conname, 'at402_makes_') AND conname <> wanted
	LOOP
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', default_name, former);
	END LOOP;
	IF low <= now() OR pg_relation_size(default_name) < 8 * 1024 * 1024
		OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = default_name AND conname = wanted) THEN
		RETURN false;
	END IF;
	EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (NOT (%3$I >= %4$L AND %3$I < %5$L)) NOT VALID',
				   default_name, wanted, range_column, low, high);
	RETURN true;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_close_default(regclass, text, text, timestamptz, timestamptz) IS
'part of at402_maintain_table: where the default partition is large, keeps rows from low up to high out of it until at402_add_partition has made their partition; true: that was due';

CREATE FUNCTION at402_internal.at402_add_partition(parent regclass, partition_name text,
									low timestamptz, high timestamptz)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t			record;
	columns		text;
	due			text;
	closed		text := 'at402_makes_' || partition_name;
	is_closed	bool;
	moved		bigint := 0;
BEGIN
	SELECT c.relowner::regrole AS owner, c.relreplident, s.spcname,
		nullif(k.partdefid, 0)::regclass AS default_name, a.attname AS range_column
	INTO STRICT t
	FROM pg_class AS c JOIN pg_partitioned_table AS k ON k.partrelid = c.oid
		JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.partattrs[0]
		LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
	WHERE c.oid = parent;

	-- indexes are left to ATTACH: moving rows to a table without any takes half the time
	EXECUTE format('CREATE TABLE at402.%I
					(LIKE %s INCLUDING ALL EXCLUDING INDEXES EXCLUDING COMMENTS)%s',
				   partition_name, parent, ' TABLESPACE ' || quote_ident(t.spcname));
	EXECUTE format('ALTER TABLE at402.%I OWNER TO %s', partition_name, t.owner);
	IF t.relreplident = 'f' THEN
		EXECUTE format('ALTER TABLE at402.%I REPLICA IDENTITY FULL', partition_name);
	END IF;

	is_closed := EXISTS (SELECT FROM pg_constraint
						 WHERE conrelid = t.default_name AND conname = closed);
	IF t.default_name IS NOT NULL THEN
		-- before any weaker lock: raising one to this, as ATTACH would, can deadlock with an
		-- insert; and rows that come between the two statements below would be lost.  None can
		-- come where a constraint keeps them out.
		IF NOT is_closed THEN
			EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t.default_name);
		END IF;
		SELECT string_agg(quote_ident(attname), ', ') INTO columns
		FROM pg_attribute
		WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
		due := format('%1$I >= %2$L AND %1$I < %3$L', t.range_column, low, high);
		EXECUTE format('INSERT INTO at402.%I (%s) SELECT %2$s FROM %s WHERE %s',
					   partition_name, columns, t.default_name, due);
		EXECUTE format('DELETE FROM %s WHERE %s', t.default_name, due);
		GET DIAGNOSTICS moved = ROW_COUNT;
	END IF;
	IF is_closed THEN
		EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', t.default_name, closed);
	END IF;

	EXECUTE format('ALTER TABLE %s ATTACH PARTITION at402.%I FOR VALUES FROM (%L) TO (%L)',
				   parent, partition_name, low, high);
	IF is_closed THEN
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', t.default_name, closed);
	END IF;
	RETURN moved;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_add_partition(regclass, text, timestamptz, timestamptz) IS
'makes the partition of parent from low up to high in schema at402, moves the rows there that lie in the default partition, and returns their number';

-- Does one step of the upkeep of one table, the first of these that is due, and
-- returns what it did; no row: nothing was due.
--
-- create   a partition: that of now, at402.partitions_ahead more, and those
--          that rows in the default partition belong to, which it then moves;
--          row_count: how many.  Only partitions that reach past
--          now - retention (or since, if that is later; without retention
--          since or now - at402.partition_interval): forged clocks must not
--          make a partition for every day up to 2116.
-- prepare  a partition that is made next, where the default partition is large:
--          see at402_close_default.
-- drop     a partition that lies before now - retention.
-- delete   rows received before now - retention, of the default partition,
--          where their time may be anything, or of a plain table; row_count:
--          how many.
--
-- Errors: 42P01 for a table that is none of ours, 55P03 when a lock is not to
-- be had in 50 ms.
CREATE FUNCTION at402_internal.at402_maintain_table_as_caller(table_name text, since timestamptz DEFAULT NULL)
RETURNS TABLE (action text, partition_name text, row_count bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO'
SET lock_timeout = '50ms'
AS $$
DECLARE
	length		interval;
	expired		timestamptz;
	oldest		timestamptz;
	current_start timestamptz;
	late_starts	timestamptz[];
	starts		timestamptz[];
	received	text;
	t			record;
	p			record;
BEGIN
	PERFORM @extschema@.at402_version();	-- loads the library, which declares the settings

	SELECT c.oid::regclass AS name, d.range_column, k.partrelid IS NOT NULL AS partitioned,
		nullif(k.partdefid, 0)::regclass AS default_name
	INTO t
	FROM at402_internal.at402_data_tables() AS d
		JOIN pg_class AS c ON c.oid = to_regclass(format('at402.%I', d.table_name))
		LEFT JOIN pg_partitioned_table AS k ON k.partrelid = c.oid
	WHERE d.table_name = at402_maintain_table_as_caller.table_name AND d.range_column IS NOT NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no table "%" to maintain', table_name
			USING ERRCODE = 'undefined_table',
				DETAIL = 'Maintained are the tables of schema at402 that grow with time.',
				HINT = 'SELECT at402_create_tables(); makes those that are missing.';
	END IF;

	expired := now() - at402_internal.at402_retention(table_name);
	length := at402_internal.at402_interval_setting('partition_interval');

	IF t.partitioned AND length IS NOT NULL THEN
		oldest := coalesce(greatest(since, expired), now() - length);
		current_start := at402_internal.at402_partition_start(now(), length);

		-- one at a time: of two who saw the same gap, one would fail
		EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', t.name);
		IF t.default_name IS NOT NULL THEN
			EXECUTE format('SELECT array_agg(DISTINCT at402_internal.at402_partition_start(%1$I, $1))
							FROM %2$s WHERE %1$I >= $2 AND %1$I < $3', t.range_column, t.default_name)
			INTO late_starts
			USING length, at402_internal.at402_partition_start(oldest, length), current_start;
		END IF;
		starts := late_starts || ARRAY(
			SELECT current_start + n * length
			FROM generate_series(0, current_setting('at402.partitions_ahead')::int) AS n);

		-- the first gap that partitions, perhaps of another length, leave; those ahead go first
		SELECT lower(gap) AS low, upper(gap) AS high, new_name, taken INTO p
		FROM unnest(starts) AS start,
			unnest(tstzmultirange(tstzrange(start, start + length))
				   - coalesce((SELECT range_agg(span) FROM @extschema@.at402_partitions(t.name)),
							  '{}')) AS gap,
			concat(table_name, to_char(lower(gap), '_YYYYMMDD'),
				   CASE WHEN length < '1 day' OR lower(gap) <> date_trunc('day', lower(gap))
				   THEN to_char(lower(gap), '_HH24MI') END) AS new_name,
			to_regclass(format('at402.%I', new_name)) AS taken
		WHERE upper(gap) > oldest
		ORDER BY taken IS NOT NULL, upper(gap) <= now(), gap
		LIMIT 1;
		IF p.taken IS NOT NULL THEN
			RAISE WARNING 'cannot make partition %: there is a relation of that name', p.taken
				USING DETAIL = format('Rows from %s to %s stay in the default partition.',
									  p.low, p.high),
					HINT = 'Attach that relation as the partition, or move it to another schema.';
		ELSIF FOUND THEN
			partition_name := p.new_name;
			IF t.default_name IS NOT NULL AND at402_internal.at402_close_default(
				t.default_name, t.range_column, p.new_name, p.low, p.high) THEN
				action := 'prepare';
				RETURN NEXT;
				RETURN;
			END IF;
			action := 'create';
			row_count := at402_internal.at402_add_partition(t.name, p.new_name, p.low, p.high);
			RETURN NEXT;
			RETURN;
		END IF;
	END IF;

	SELECT c.oid::regclass AS name, c.relname INTO p
	FROM @extschema@.at402_partitions(t.name) AS k JOIN pg_class AS c ON c.oid = k.partition
	WHERE upper(k.span) <= expired
	ORDER BY k.span
	LIMIT 1;
	IF FOUND THEN
		EXECUTE format('DROP TABLE %s', p.name);
		action := 'drop';
		partition_name := p.relname;
		RETURN NEXT;
		RETURN;
	END IF;

	IF expired IS NOT NULL AND (t.default_name IS NOT NULL OR NOT t.partitioned) THEN
		received := CASE
			WHEN EXISTS (SELECT FROM pg_attribute
						 WHERE attrelid = t.name AND attname = 'received_at')
			THEN 'd.received_at'
			-- that of its report; where the report has gone, a time that may be true will do
			ELSE 'coalesce((SELECT r.received_at FROM at402.position AS r
							WHERE r.device_id = d.device_id AND r.time = d.time
								AND r.seq = d.seq AND r.content_hash = d.content_hash),
						   CASE WHEN d.time <= now() THEN d.time ELSE ''-infinity'' END)' END;
		EXECUTE format('DELETE FROM %s AS d WHERE %s %s < $1', coalesce(t.default_name, t.name),
					   -- saves looking at every row of what may be a huge table
					   CASE WHEN NOT t.partitioned
					   THEN format('d.%I < $1 AND', t.range_column) END,
					   received)
		USING expired;
		GET DIAGNOSTICS row_count = ROW_COUNT;
		IF row_count > 0 THEN
			action := 'delete';
			RETURN NEXT;
		END IF;
	END IF;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_table_as_caller(text, timestamptz) IS
'part of at402_maintain_table: does what that one says, with the rights of the caller';

CREATE FUNCTION at402_internal.at402_maintain_table(table_name text, since timestamptz DEFAULT NULL)
RETURNS TABLE (action text, partition_name text, row_count bigint)
	AS 'MODULE_PATHNAME', 'at402_as_owner' LANGUAGE C VOLATILE ROWS 1;
COMMENT ON FUNCTION at402_internal.at402_maintain_table(text, timestamptz) IS
'does one step of the upkeep of a table of schema at402, in one short transaction: prepare, create, drop (a partition) or delete (expired rows); no row: nothing was due; since: how far back to make partitions for rows in the default partition';

-- A chore is a function from int to int.  It is called with 0 and then with what
-- it returned, each time in a transaction of its own, until that is NULL.  Where
-- tables of it are missing it has nothing to do.
CREATE FUNCTION at402_internal.at402_chores() RETURNS TABLE (function_name text, about text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	VALUES
	('at402_maintain_trips', 'derives at402.trip anew where reports have come'),
	('at402_maintain_trips_due', 'vehicles, drivers and geofences of trips, where they were told later'),
	('at402_maintain_alerts', 'ends alerts of rules that were switched off or deleted'),
	('at402_maintain_rules', 'rules that look at trips and, by the clock, at states'),
	('at402_maintain_commands', 'commands that expire, or that nobody minds any more'),
	('at402_maintain_visits', 'visits of geofences that ended before at402.retention_geofence_visit')
$$;
COMMENT ON FUNCTION at402_internal.at402_chores() IS
'what at402_maintain does before the upkeep of the tables, in this order';

-- Does all the upkeep there is, of all tables.  The locks that it takes are
-- held until its transaction ends; a server that is busy is better served by
-- one transaction a step, as the maintenance worker does.
CREATE FUNCTION at402_internal.at402_maintain_as_caller(since timestamptz)
RETURNS TABLE (table_name text, action text, partition_name text, row_count bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	chore		text;
	step		int;
BEGIN
	FOR chore IN SELECT c.function_name FROM at402_internal.at402_chores() AS c LOOP
		BEGIN
			step := 0;
			WHILE step IS NOT NULL LOOP
				EXECUTE format('SELECT at402_internal.%I($1)', chore) INTO step USING step;
			END LOOP;
		EXCEPTION WHEN OTHERS THEN
			RAISE WARNING '% failed: %', chore, SQLERRM USING ERRCODE = SQLSTATE;
		END;
	END LOOP;

	FOR table_name IN
		SELECT d.table_name FROM at402_internal.at402_data_tables() AS d
		WHERE d.range_column IS NOT NULL
	LOOP
		LOOP
			BEGIN
				SELECT s.action, s.partition_name, s.row_count INTO action, partition_name, row_count
				FROM at402_internal.at402_maintain_table_as_caller(table_name, since) AS s;
			EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
				RAISE WARNING 'at402.% is in use: its upkeep has to wait', table_name
					USING HINT = 'SELECT at402_maintain(); later.';
				EXIT;
			END;
			EXIT WHEN action IS NULL;
			RETURN NEXT;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_as_caller(timestamptz) IS
'part of at402_maintain: does what that one says, with the rights of the caller';

CREATE FUNCTION at402_maintain(since timestamptz DEFAULT NULL)
RETURNS TABLE (table_name text, action text, partition_name text, row_count bigint)
	AS 'MODULE_PATHNAME', 'at402_as_owner' LANGUAGE C VOLATILE ROWS 10;
COMMENT ON FUNCTION at402_maintain(timestamptz) IS
'derives what is due (trips), makes partitions ahead and retires old rows, as the settings at402.partition_interval, partitions_ahead and retention ask, and returns what it did to tables; since: how far back to make partitions for rows in default partitions, as after loading old captures';
