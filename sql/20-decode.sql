-- From frames to values, and what the decoder knows.

CREATE FUNCTION at402_version() RETURNS text
    AS 'MODULE_PATHNAME', 'at402_version' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_version() IS
    'version of the library that is loaded; newer than that of the SQL objects until ALTER EXTENSION at402 UPDATE';

CREATE FUNCTION at402_crc16(bytea) RETURNS int
    AS 'MODULE_PATHNAME', 'at402_crc16_sql' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_crc16(bytea) IS
    'CRC-16/MODBUS of the bytes, 0 to 65535: the checksum of a packet over all bytes before it';

CREATE FUNCTION at402_decode(frame at402_frame, protocol text DEFAULT NULL) RETURNS jsonb
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION at402_decode(at402_frame, text) IS
    'everything in a frame; protocol ''Z'' reads X packets as that variant; a packet that cannot be read shows error, offset, the reports before it and the bytes after';

CREATE FUNCTION at402_reports(frame at402_frame, protocol text DEFAULT NULL,
    OUT report_no int, OUT imei text, OUT protocol text, OUT seq int, OUT "time" timestamptz,
    OUT reasons text[], OUT status text[], OUT longitude float8, OUT latitude float8,
    OUT fix_time timestamptz, OUT gnss_valid bool, OUT speed_kmh int, OUT heading_deg int,
    OUT altitude_m int, OUT modules jsonb) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 2;
COMMENT ON FUNCTION at402_reports(at402_frame, text) IS
    'one row a report of a packet, report_no from 0; the GNSS columns are those of gnss, else of gnss_extended, as sent; no row for text lines and packets that cannot be read';

CREATE FUNCTION at402_frames(stream bytea,
    OUT byte_offset int, OUT frame at402_frame, OUT skipped bytea) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION at402_frames(bytea) IS
    'cuts a capture of a stream into frames; bytes that are no frame come back in skipped, so that nothing is lost';

CREATE FUNCTION at402_fields(
    OUT protocol text, OUT "bit" int, OUT module text, OUT field text, OUT type text,
    OUT scale text, OUT unit text, OUT home text, OUT "column" text, OUT raw_min bigint,
    OUT raw_max bigint, OUT note text) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 700;
COMMENT ON FUNCTION at402_fields() IS
    'the field catalogue, from the table that decodes: type on the wire, scale from raw to value, unit; tables that have the field, with its columns as SQL expressions in the same order (after each semicolon those of the next table); raw numbers from raw_min to raw_max are measurements, what is outside is stored as NULL (no bounds: all, or see note)';

CREATE FUNCTION at402_reason_names(bigint) RETURNS text[]
    AS 'MODULE_PATHNAME', 'at402_reason_names_sql' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_reason_names(bigint) IS
    'names of the reason flags in a mask, lowest bit first; bits without a published name are left out';

CREATE FUNCTION at402_status_names(bigint) RETURNS text[]
    AS 'MODULE_PATHNAME', 'at402_status_names_sql' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_status_names(bigint) IS
    'names of the status flags in a mask, lowest bit first; bits without a published name are left out';

CREATE FUNCTION at402_has_reason(reasons bigint, name text) RETURNS bool
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_has_reason(bigint, text) IS
    'is the reason flag of this name set in the mask?  22023 for a name that at402_reason_names(-1) does not list';

CREATE FUNCTION at402_has_status(status bigint, name text) RETURNS bool
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_has_status(bigint, text) IS
    'is the status flag of this name set in the mask?  22023 for a name that at402_status_names(-1) does not list';

CREATE FUNCTION at402_encode(jsonb) RETURNS at402_frame
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_encode(jsonb) IS
    'the frame that at402_decode shows so, for X, Y, K, M, V, login and other text lines; reasons_mask and status_mask win over the names; 22003 for values out of range, before rounding; 22001 for texts that are too long';
