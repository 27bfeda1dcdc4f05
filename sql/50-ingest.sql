-- Storing.  at402_ingest is the one way into the tables; at402_batch_rows is its
-- source: it reads the batch that the calling backend is storing, and is of no
-- use outside.

CREATE FUNCTION at402_internal.at402_batch_rows(batch bigint, table_name text) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_internal.at402_batch_rows(bigint, text) IS
    'part of at402_ingest: what the batch being stored brings for a table, as rows with the columns asked for';

CREATE FUNCTION at402_internal.at402_state_change(batch bigint, device_id int, "time" timestamptz,
    seq smallint, content_hash int, ignition bool, position_time timestamptz, position_seq smallint,
    longitude float8 DEFAULT NULL, latitude float8 DEFAULT NULL)
RETURNS bool
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION at402_internal.at402_state_change(bigint, int, timestamptz, smallint, int, bool, timestamptz, smallint, float8, float8) IS
    'part of at402_ingest: does the batch being stored change this state of a device? Tells the batch of it';

CREATE FUNCTION at402_internal.at402_state_value(batch bigint, "column" int, former anyelement)
RETURNS anyelement
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION at402_internal.at402_state_value(bigint, int, anyelement) IS
    'part of at402_ingest: what becomes of a column in the state that at402_state_change was asked for last';

CREATE FUNCTION at402_ingest(frames at402_frame[], imei text DEFAULT NULL,
    received_at timestamptz DEFAULT now(), peer inet DEFAULT NULL, transport text DEFAULT 'sql',
    OUT reports int, OUT inserted int, OUT duplicates int, OUT quarantined int)
RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION at402_ingest(at402_frame[], text, timestamptz, inet, text) IS
    'stores frames as the listener does: reports once, what cannot be stored in quarantine; a login line in the array, or the argument imei, names the sender of what follows';

CREATE FUNCTION at402_release(since timestamptz DEFAULT '-infinity',
    until timestamptz DEFAULT 'infinity', imei text DEFAULT NULL, reason text DEFAULT NULL,
    OUT frames int, OUT released int, OUT kept int)
RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1;
COMMENT ON FUNCTION at402_release(timestamptz, timestamptz, text, text) IS
    'tries quarantined frames again, received in this span, from this IMEI, for this reason; those stored now leave the quarantine';
