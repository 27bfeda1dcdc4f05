-- at402_ingest: from frames to rows, once.
-- Each part is rolled back, so that none depends on another.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/ingest.sql'
\set ECHO none
\i :file
\set file :abs_srcdir '/include/golden.sql'
\i :file
\set ECHO all

-- ---- what real devices sent ----

BEGIN;
-- but for the last, whose login is not published
DELETE FROM golden WHERE file = 'captured' AND no = 9;
SELECT array_agg(frame ORDER BY no) AS captured FROM golden WHERE file = 'captured' \gset
SELECT * FROM at402_ingest(:'captured', received_at => '2026-01-02 03:04:05+00',
	peer => '192.0.2.7', transport => 'udp');
SELECT * FROM row_counts();

-- the last login counts, not the last in the order of anything else
SELECT imei, model, firmware, hardware, vin, protocol, enabled, first_seen, name, attributes
	FROM at402.device ORDER BY imei;

SELECT imei, seq, time, at, gnss_valid, speed_kmh, ignition FROM reports ORDER BY imei, time;
SELECT DISTINCT received_at, time_suspect FROM reports;

-- what the header of a report says; its modules are compared in home.sql
SELECT g.no, d.imei, p.seq, p.reasons, p.status, p.ignition, p.gnss_valid, ST_SRID(p.geom) AS srid
FROM golden AS g
	CROSS JOIN jsonb_array_elements(g.decoded->'reports') AS r
	LEFT JOIN at402.device AS d ON d.imei = g.decoded->>'imei'
	LEFT JOIN at402.position AS p ON p.device_id = d.id AND p.seq = (r->>'seq')::int
		AND p.time = (r->>'time')::timestamptz
WHERE g.file = 'captured'
	AND (p.reasons, p.status, p.ignition, p.gnss_valid, ST_SRID(p.geom)) IS DISTINCT FROM
		((r->>'reasons_mask')::bigint, (r->>'status_mask')::bigint, r->'status' ? 'ignition',
		 NOT r->'status' ? 'gnss_invalid', 4326);

SELECT imei, seq, n, kind, late, detail, at FROM events ORDER BY imei, time, n;
SELECT d.imei, i.seq, i.n, i.kind, i.line, i.state, i.value, i.text_value, i.data
FROM at402.io AS i JOIN at402.device AS d ON d.id = i.device_id ORDER BY d.imei, i.time, i.n;
SELECT d.imei, m.seq, m.n, m.accel_x_max_mss, m.accel_x_min_mss, m.accel_y_max_mss,
	m.accel_y_min_mss, m.accel_z_max_mss, m.accel_z_min_mss, m.idle_time_s
FROM at402.motion AS m JOIN at402.device AS d ON d.id = m.device_id ORDER BY d.imei, m.time;
-- packets as they came; a login line is none
SELECT f.received_at, f.transport, f.peer, d.imei, f.protocol, g.no AS golden
FROM at402.frame AS f JOIN at402.device AS d ON d.id = f.device_id
	LEFT JOIN golden AS g ON g.frame = f.frame AND g.file = 'captured'
ORDER BY g.no;

-- sent again, in another order, by another way: nothing more is stored
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT * FROM row_counts();
SELECT * FROM at402_ingest(ARRAY(SELECT frame FROM golden WHERE file = 'captured' AND no <= 5
								 ORDER BY no DESC),
						   received_at => '2026-01-03 00:00+00', transport => 'tcp');
TABLE before EXCEPT SELECT * FROM row_counts();
-- what is kept as it came can be played back
SELECT r.* FROM (SELECT array_agg(frame) AS frames, device_id FROM at402.frame
	GROUP BY device_id) AS f
	JOIN at402.device AS d ON d.id = f.device_id, at402_ingest(f.frames, d.imei) AS r
ORDER BY r.reports;
TABLE before EXCEPT SELECT * FROM row_counts();
-- also when positions were kept for a shorter time than the rest: they come back, the rest is there
DELETE FROM at402.position;
SET LOCAL at402.store_frames = off;
SELECT sum(r.inserted) AS inserted, sum(r.quarantined) AS quarantined
FROM (SELECT array_agg(frame) AS frames, device_id FROM at402.frame GROUP BY device_id) AS f
	JOIN at402.device AS d ON d.id = f.device_id, at402_ingest(f.frames, d.imei) AS r;
SELECT * FROM row_counts() EXCEPT TABLE before;
ROLLBACK;

-- ---- a report is stored once ----

-- CRC-32C, bit by bit
CREATE FUNCTION crc32c(bytes bytea) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	crc		bigint := 4294967295;
BEGIN
	FOR i IN 0 .. length(bytes) - 1 LOOP
		crc := crc # get_byte(bytes, i);
		FOR bit IN 1 .. 8 LOOP
			crc := CASE WHEN crc & 1 = 1 THEN (crc >> 1) # 2197175160 ELSE crc >> 1 END;
		END LOOP;
	END LOOP;
	crc := crc # 4294967295;
	RETURN CASE WHEN crc >= 2147483648 THEN crc - 4294967296 ELSE crc END;
END
$$;
SELECT to_hex(crc32c('123456789')) = 'e3069283' AS check_value;

-- the key of a report is frozen for ever: over its bytes, stored and more_queued cleared
BEGIN;
SELECT * FROM at402_ingest(ARRAY[
	x(:a, x_report(1, mask => '1', modules => '\x3d64'),
		x_report(2, status => 49, mask => '1', modules => '\x3d64')),
	y(:a, y_report(3, status => 49))]);
SELECT * FROM at402_ingest(ARRAY(SELECT frame FROM golden WHERE file = 'captured' AND no IN (3, 4)
	ORDER BY no));
SELECT d.imei, p.seq, p.content_hash, p.content_hash = crc32c(k.bytes) AS as_computed
FROM (VALUES
	(:a, 1, x_report(1, mask => '1', modules => '\x3d64')),
	(:a, 2, x_report(2, status => 1, mask => '1', modules => '\x3d64')),
	(:a, 3, y_report(3, status => 1)),
	('866224026657899', 130, (SELECT overlay(substr(frame::bytea, 11, 50) PLACING '\x0704' FROM 19)
		FROM golden WHERE file = 'captured' AND no = 3)),
	('862950025797534', 109, (SELECT substr(frame::bytea, 11, 38) FROM golden
		WHERE file = 'captured' AND no = 4))
) AS k (imei, seq, bytes) LEFT JOIN at402.device AS d USING (imei)
	LEFT JOIN at402.position AS p ON p.device_id = d.id AND p.seq = k.seq
ORDER BY 1, 2;
ROLLBACK;

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
-- the same within one call, and beside a new one
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2)), x(:a, x_report(2))]);
-- with other flags stored and more_queued; of a logged-in connection, so without IMEI
SELECT * FROM at402_ingest(ARRAY[x(NULL, x_report(1, status => 49)),
	x(NULL, x_report(2, status => 17))], imei => :a);
-- other reports all the same: another flag, device, reason, time, sequence number, module
SELECT * FROM at402_ingest(ARRAY[
	x(:a, x_report(1, status => 0)), x(:b, x_report(1)),
	x(:a, x_report(1, reasons => 5)), x(:a, x_report(1, '2024-07-30 16:17:35+00')),
	x(:a, x_report(3)), x(:a, x_report(1, mask => '80', modules => '\x00'))]);
-- a packet is kept when it brings anything new
SELECT count(*) FROM at402.frame;
ROLLBACK;

-- ---- who sent it ----

BEGIN;
-- a login line names the sender of what follows, another one another; letter Z reads packets so
SELECT * FROM at402_ingest(ARRAY[
	text_line('$ASTRA;AT402;' || :a || ';;7.0.70.3;X;1'), x(NULL, x_report(1)),
		x(NULL, x_report(2)),
	text_line('$ASTRA;AT240;' || :b || ';VIN;6.1;Z;2', '\x0d'),
		x(NULL, x_report(3, mask => '40000000', modules => '\x0b')),
	NULL, text_line('$ASTRA;AT402;' || :a), x(NULL, x_report(4)),
	x(:a, x_report(5))]);		-- its own IMEI in a packet does no harm
SELECT imei, seq FROM reports ORDER BY 1, 2;
SELECT imei, model, firmware, hardware, vin, protocol FROM at402.device ORDER BY 1;
SELECT d.imei, f.protocol, count(*) FROM at402.frame AS f
	JOIN at402.device AS d ON d.id = f.device_id GROUP BY 1, 2 ORDER BY 1, 2;
SELECT d.imei, m.seq, m.name, m.data FROM at402.module AS m
	JOIN at402.device AS d ON d.id = m.device_id;
-- an empty field of a later login takes nothing away; a new one counts
SELECT * FROM at402_ingest(ARRAY[text_line('$ASTRA;;' || :b || ';;6.2;X;')]);
SELECT imei, model, firmware, hardware, vin, protocol FROM at402.device WHERE imei = :b;
ROLLBACK;

BEGIN;
-- the argument imei; a login line later in the array; a device that is there already
INSERT INTO at402.device (imei, name, attributes) VALUES (:a, 'mine', '{"colour": "red"}');
SELECT * FROM at402_ingest(ARRAY[y(NULL, y_report(1)), text_line('$ASTRA;AT402;' || :b),
	y(NULL, y_report(2))], :a);
SELECT imei, seq FROM reports ORDER BY 1, 2;
SELECT imei, name, attributes FROM at402.device ORDER BY 1;
SELECT e.* FROM unnest('{490154203237519,49015420323751,"","abc"," 490154203237518"}'::text[]) AS i,
	error_of(format('SELECT at402_ingest(ARRAY[x(NULL, x_report(1))], %L)', i)) AS e;
-- nothing to do
SELECT * FROM at402_ingest('{}');
SELECT * FROM at402_ingest('{NULL,NULL}');
ROLLBACK;

BEGIN;
-- text lines are kept, whoever sent them, each time
SELECT * FROM at402_ingest(ARRAY[text_line('$DIST,OK'), text_line('$DIST,OK')]);
SELECT * FROM at402_ingest(ARRAY[text_line('$DIST,OK')], :a, '2026-01-02 03:04:05+00',
	'2001:db8::1', 'tcp');
SELECT d.imei, f.protocol, f.transport, f.peer, f.frame = text_line('$DIST,OK') AS same, count(*)
FROM at402.frame AS f LEFT JOIN at402.device AS d ON d.id = f.device_id
GROUP BY 1, 2, 3, 4, 5 ORDER BY 1;
ROLLBACK;

-- ---- unknown devices ----

BEGIN;
INSERT INTO at402.device (imei) VALUES (:a);
SET LOCAL at402.unknown_devices = quarantine;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1)), x(:b, x_report(2), x_report(3)),
	text_line('$ASTRA;AT402;' || :c || ';;7;Y;1'), y(NULL, y_report(4))],
		received_at => '2026-01-02 03:04:05+00');
SELECT imei, logged_in, protocol, report_no, reason, sqlstate, message,
	chr(get_byte(bytes, 0)) AS letter FROM quarantined;
SELECT imei FROM at402.device;
SET LOCAL at402.unknown_devices = ignore;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(5)), x(:b, x_report(6))]);
SELECT count(*) FROM at402.quarantine;
SELECT imei FROM at402.device;
SET LOCAL at402.unknown_devices = register;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(5)), x(:b, x_report(6))],
	received_at => '2026-01-02 03:04:05+00');
SELECT imei, first_seen = '2026-01-02 03:04:05+00' AS just_seen, protocol FROM at402.device
	ORDER BY 1;
ROLLBACK;
SET at402.unknown_devices = other;
BEGIN;
-- strangers over the limit: in SQL there is nobody who would send them again
SET LOCAL at402.register_limit = 0;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
SELECT imei, reason FROM quarantined;
ROLLBACK;

-- ---- settings ----

BEGIN;
SET LOCAL at402.store_frames = off;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1)), text_line('$DIST,OK')]);
SELECT count(*) FROM at402.frame;
ROLLBACK;
BEGIN;
-- time_interval, distance and heading_change are in position.reasons alone; all flags else are events
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1, reasons => 4294967295)),
	x(:a, x_report(2, '2024-07-30 17:00+00', reasons => 259)),
	y(:a, y_report(3, '2024-07-30 18:00+00', reasons => 4294967296 + 4611686018427387904))]);
SELECT seq, reasons FROM at402.position ORDER BY seq;
SELECT seq, array_agg(kind ORDER BY n) AS kinds,
	min(n) = 0 AND max(n) = count(*) - 1 AND count(DISTINCT n) = count(*) AS numbered
FROM at402.event GROUP BY seq ORDER BY seq;
SET LOCAL at402.routine_events = on;
SELECT * FROM at402_ingest(ARRAY[x(:b, x_report(2, reasons => 259))]);
SELECT n, kind, at FROM events WHERE imei = :b ORDER BY n;
ROLLBACK;

DROP SCHEMA at402, regress_at402 CASCADE;
