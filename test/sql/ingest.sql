-- at402_ingest: from frames to rows, once; what goes to quarantine; what follows from reports.
-- Each part is rolled back, so that none depends on another.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/frames.sql'
\set ECHO none
\i :file
\set file :abs_srcdir '/include/golden.sql'
\i :file
\set ECHO all
\set SHOW_CONTEXT never
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables();

-- three trackers
\set a '''490154203237518'''
\set b '''352099001761481'''
\set c '''356938035643809'''

-- rows without the numbers that the database gives
CREATE VIEW reports AS
	SELECT d.imei, p.seq, p.time, ST_AsText(p.geom) AS at, p.gnss_valid, p.speed_kmh, p.ignition,
		p.time_suspect, p.received_at
	FROM at402.position AS p JOIN at402.device AS d ON d.id = p.device_id;
CREATE VIEW events AS
	SELECT d.imei, e.seq, e.time, e.n, e.kind, e.late, e.detail, ST_AsText(e.geom) AS at
	FROM at402.event AS e JOIN at402.device AS d ON d.id = e.device_id;
CREATE VIEW quarantined AS
	SELECT received_at, transport, peer, imei, logged_in, protocol, report_no, report_nos, reason, sqlstate,
		message, bytes
	FROM at402.quarantine ORDER BY id;

-- how many rows each table has
CREATE FUNCTION row_counts() RETURNS TABLE (table_name text, live_rows bigint)
	LANGUAGE plpgsql AS $$
BEGIN
	FOR table_name IN SELECT t.table_name FROM at402_data_tables() AS t LOOP
		EXECUTE format('SELECT count(*) FROM at402.%I', table_name) INTO live_rows;
		IF live_rows > 0 THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;

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

-- ---- what goes to quarantine, and how it looks there ----

BEGIN;
INSERT INTO at402.device (imei, enabled) VALUES (:c, false);
CREATE TEMP TABLE bad ON COMMIT DROP AS SELECT * FROM (VALUES
	(1, 'disabled', x(:c, x_report(1))),
	(2, 'impossible IMEI', x('490154203237519', x_report(2))),
	(3, 'no sender', x(NULL, x_report(3))),
	(4, 'count 0', packet('X', '\x00')::at402_frame),
	(5, 'count 0, with IMEI', packet('Y', '\x00' || imei(:a))::at402_frame),
	(6, 'letter C', packet('C', '\x010203')::at402_frame),
	(7, 'undecodable', x(:a, x_report(7) || '\xabcdef')),
	(8, 'undecodable Y', y(:a, y_report(8, mask => '1', modules => '\x63'))),
	(9, 'undecodable K', packet('K', imei(:a) || '\x0102')::at402_frame),
	(10, 'login, impossible IMEI', text_line('$ASTRA;AT402;490154203237519;;7;X;1')),
	(11, 'packet after it', x(NULL, x_report(11))),
	(12, 'login without IMEI', text_line('$ASTRA;AT402')),
	(13, 'login', text_line('$ASTRA;AT402;' || :b || ';;7;X;1')),
	(14, 'other IMEI', x(:a, x_report(14))),
	(15, 'undecodable after login', x(NULL, x_report(15) || '\xabcdef')),
	(16, 'good', x(NULL, x_report(16))),
	(17, 'login, disabled', text_line('$ASTRA;AT402;' || :c || ';;8;X;1'))
) AS v (n, what, frame);
SELECT * FROM at402_ingest((SELECT array_agg(frame ORDER BY n) FROM bad),
	received_at => '2026-01-02 03:04:05+00', peer => '192.0.2.7', transport => 'udp');
\pset expanded on
SELECT b.n, b.what, q.reason, q.imei, q.logged_in, q.protocol, q.report_no, q.sqlstate, q.message
FROM bad AS b LEFT JOIN at402.quarantine AS q ON q.bytes = b.frame::bytea ORDER BY b.n, q.id;
\pset expanded off
SELECT DISTINCT received_at, transport, peer FROM at402.quarantine;
-- the good ones were stored; nothing else was
SELECT imei, seq FROM reports;
SELECT imei, firmware FROM at402.device ORDER BY imei;
-- again: quarantine keeps what comes
SELECT * FROM at402_ingest((SELECT array_agg(frame ORDER BY n) FROM bad WHERE n < 10),
	received_at => '2026-01-02 03:04:05+00');
ROLLBACK;

-- a limit to it: an error, since what is not stored must not seem to be
BEGIN;
SET LOCAL at402.quarantine_limit = '1MB';
SELECT quarantined FROM at402_ingest(ARRAY(
	SELECT packet('C', noise('limit' || i, 60000))::at402_frame
	FROM generate_series(1, 20) AS i));
SELECT * FROM error_of($$SELECT at402_ingest(ARRAY['58000600e410']::at402_frame[])$$);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
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

-- ---- positions ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[
	x(:a, x_report(1)),											-- no module
	x(:a, x_report(2, mask => '2', modules => gnss(52.138826, -0.326804, 50))),
	x(:a, x_report(3, status => 5, mask => '2',	-- old position
		modules => gnss(52.138826, -0.326804))),
	x(:a, x_report(4, status => 5, mask => '2', modules => gnss(0, 0))),	-- never had a fix
	x(:a, x_report(5, mask => '2', modules => gnss(0, 0))),	-- it is there
	x(:a, x_report(6, mask => '2', modules => gnss(90.000001, 10))),
	x(:a, x_report(7, mask => '2', modules => gnss(10, -180.000001))),
	x(:a, x_report(8, mask => '2', modules => gnss(-90, 180))),
	x(:a, x_report(9, mask => '80000000000', modules => gnss(10.5, 20.25, 60)
		|| '\x01020304050600000000')),
	x(:a, x_report(10, mask => '80000000002', modules => gnss(52.5, -1.25, 40)
		|| gnss(10.5, 20.25, 60) || '\x01020304050600000000')),
	x(:a, x_report(11, status => 5, mask => '2', modules => gnss(0, 0.000001)))]);
SELECT seq, at, gnss_valid, speed_kmh FROM reports ORDER BY seq;
-- fix_time, satellites ... come with gnss_extended
SELECT seq, fix_time, satellites_in_view, fix_availability_percent, position_error_m, hdop
	FROM at402.position WHERE seq IN (2, 9, 10) ORDER BY seq;
ROLLBACK;

-- ---- inputs, outputs, and other things that happen there ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[
	x(:a, x_report(1, mask => '4', modules => '\x81058301')),	-- digitals: states, changes
	x(:a, x_report(2, mask => '4', modules => '\xffff0000')),
	x(:a, x_report(3, mask => '40300', modules => '\x01000012345678abcd'::bytea
		|| '\x0100500000000000' || '\x0226022700000fff')),
	x(:a, x_report(4, mask => '200', modules => '\x00012c0000000000'))]);
SELECT seq, inputs, outputs FROM at402.position ORDER BY seq;
SELECT seq, n, kind, line, state, value, text_value, data FROM at402.io ORDER BY seq, n;
ROLLBACK;

-- ---- geofence: the fence of the event ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[
	x(:a, x_report(1, reasons => 8, mask => '82', modules => gnss(52.5, -1.25) || '\x85')),
	x(:a, x_report(2, reasons => 8, mask => '80', modules => '\x05')),
	x(:a, x_report(3, reasons => 8)),
	x(:a, x_report(4, reasons => 4, mask => '80', modules => '\x00')),
	x(:a, x_report(5, reasons => 4, mask => '80', modules => '\x83'))]);
SELECT seq, n, kind, detail, at FROM events ORDER BY seq, n;
SELECT seq, name, data FROM at402.module ORDER BY seq;
ROLLBACK;

-- ---- clocks ----

BEGIN;
-- a day ahead is allowed; more is suspect, stored, and does not count for the state of the device
SELECT * FROM at402_ingest(ARRAY[
	x(:a, x_report(1, '2026-01-03 00:00:00+00', mask => '2', modules => gnss(1, 1))),
	x(:a, x_report(2, '2026-01-03 00:00:01+00', status => 0, mask => '2', modules => gnss(2, 2))),
	x(:a, x_report(3, '2116-02-12 06:28:15+00', status => 0)),
	x(:a, x_report(4, '1980-01-06 00:00:00+00'))], received_at => '2026-01-02 00:00+00');
SELECT seq, time, time_suspect FROM reports ORDER BY seq;
SELECT time, seq, ignition, ST_AsText(geom) AS at, position_time FROM at402.device_state;
SELECT seq, kind, late FROM events ORDER BY seq, n;
SET LOCAL at402.future_limit = '1h';
SELECT * FROM at402_ingest(ARRAY[x(:b, x_report(1, '2026-01-02 01:00:00+00')),
	x(:b, x_report(2, '2026-01-02 01:00:01+00'))],
	received_at => '2026-01-02 00:00+00');
SELECT seq, time_suspect FROM reports WHERE imei = :b ORDER BY seq;
ROLLBACK;

-- ---- the state of a device ----

CREATE VIEW state AS
	SELECT d.imei, s.time, s.seq, s.reasons, s.status, s.ignition, s.received_at, s.last_seen,
		s.position_time, ST_AsText(s.geom) AS at, s.speed_kmh,
		s.external_voltage_v AS volt, s.battery_percent AS battery,
			s.lifetime_odometer_km AS odometer, s.journey_distance_km AS journey, s.connected
	FROM at402.device_state AS s JOIN at402.device AS d ON d.id = s.device_id;

BEGIN;
-- gnss, device_power, gnss_journey_stop (bits 0, 1, 11)
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1, '2026-01-01 10:00+00', 4, 1, '803',
	'\x3d64'::bytea || gnss(52.5, -1.25, 50) || '\x0001000064'))],
		received_at => '2026-01-01 10:00:01+00');
SELECT * FROM state;
-- the newest report of a batch counts, whatever the order; what it does not say stays
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(4, '2026-01-01 13:00+00', status => 0)),
	x(:a, x_report(2, '2026-01-01 11:00+00', mask => '2', modules => gnss(52.6, -1.35, 60))),
	x(:a, x_report(3, '2026-01-01 12:00+00', status => 5, mask => '2',
		modules => gnss(52.7, -1.45)))],	-- no good fix
	received_at => '2026-01-01 13:00:01+00');
SELECT * FROM state;
-- late reports set nothing back: not the odometer, not last_seen
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(9, '2026-01-01 09:00+00', 4, 1, '803',
	'\x0a0a'::bytea || gnss(50, 0, 10) || '\x0000500000'))],
		received_at => '2026-01-01 09:00:01+00');
SELECT * FROM state;
SELECT seq, kind, late FROM events ORDER BY time, n;
-- a late report may have the newest good position all the same
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(5, '2026-01-01 12:30+00', mask => '2',
	modules => gnss(53, -1, 70)))],
	received_at => '2026-01-01 14:00+00');
SELECT time, seq, ignition, position_time, at, speed_kmh, last_seen, received_at FROM state;
-- a repeat changes nothing
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(4, '2026-01-01 13:00+00', status => 0))],
	received_at => '2026-01-01 15:00+00');
SELECT time, seq, ignition, position_time, received_at FROM state;
-- what modules tell of the SIM card goes to the device
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(6, '2026-01-01 16:00+00', 4, 0, 'c000000',
	'\x00d4d5a7a04d0a'::bytea || '89441000301234567890'))]);
SELECT imsi, iccid FROM at402.device;
SELECT longitude, latitude, speed_kmh, time, connected FROM at402.last_position;
ROLLBACK;

-- ---- ignition ----

BEGIN;
-- within a batch: the first report says nothing of a change
SELECT * FROM at402_ingest(ARRAY[x(:a,
	x_report(1, '2026-01-01 10:00+00', 0, 0), x_report(2, '2026-01-01 10:01+00', 0, 1),
	x_report(3, '2026-01-01 10:02+00', 0, 1), x_report(4, '2026-01-01 10:03+00', 0, 0))]);
SELECT seq, n, kind, late FROM events ORDER BY time, n;
-- over batches, and beside a reason flag
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(5, '2026-01-01 10:04+00', 64, 1, '2',
	gnss(52.5, -1.25)))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(6, '2026-01-01 10:05+00', 0, 1))]);
SELECT seq, n, kind, late, at FROM events WHERE seq > 4 ORDER BY time, n;
-- of another device: nothing to compare with
SELECT * FROM at402_ingest(ARRAY[x(:b, x_report(7, '2026-01-01 10:06+00', 0, 0))]);
-- late: compared with the report before it
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(8, '2026-01-01 10:02:30+00', 0, 1)),
	x(:a, x_report(9, '2026-01-01 10:02:40+00', 0, 1))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(10, '2026-01-01 10:04:30+00', 0, 0),
	x_report(11, '2026-01-01 10:07:00+00', 0, 0))]);
SELECT imei, seq, n, kind, late FROM events WHERE seq > 6 ORDER BY time, n;
ROLLBACK;

BEGIN;
-- late reports in one batch are compared with each other
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1, '2026-01-01 10:00+00', 0, 0),
	x_report(2, '2026-01-01 12:00+00', 0, 0))]);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(3, '2026-01-01 11:00+00', 0, 1),
	x_report(4, '2026-01-01 11:01+00', 0, 1),
	x_report(5, '2026-01-01 11:02+00', 0, 0))]);
SELECT seq, n, kind, late FROM events ORDER BY time, n;
ROLLBACK;

-- ---- poison: a user's trigger stops one report, not the others ----

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.seq IN (3, 6) THEN
		RAISE EXCEPTION 'number % is not welcome', NEW.seq USING ERRCODE = TG_ARGV[0];
	END IF;
	RETURN NEW;
END
$$;

BEGIN;
CREATE TRIGGER refuse BEFORE INSERT ON at402.position FOR EACH ROW EXECUTE FUNCTION refuse('P0001');
SELECT x(:a, VARIADIC array_agg(x_report(i, '2026-01-01 10:00+00'::timestamptz + i * interval '1 s',
	4, 1, '2', gnss(50 + i, i)) ORDER BY i)) AS eight
FROM generate_series(1, 8) AS i \gset
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[], received_at => '2026-01-02 03:04:05+00');
SELECT array_agg(seq ORDER BY seq) FROM at402.position;
SELECT array_agg(seq ORDER BY seq) FROM at402.event;
SELECT imei, report_no, report_nos, reason, sqlstate, message, bytes = :'eight' AS whole_frame FROM quarantined;
SELECT seq, at FROM state;
SELECT count(*) FROM at402.frame;
-- again, with the trigger mended: only what was missing
DROP TRIGGER refuse ON at402.position;
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[]);
ROLLBACK;

BEGIN;
-- on a table that is written later: nothing of the report stays
CREATE TRIGGER refuse BEFORE INSERT ON at402.event FOR EACH ROW EXECUTE FUNCTION refuse('22012');
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[]);
SELECT array_agg(seq ORDER BY seq) FROM at402.position;
SELECT report_no, report_nos, reason, sqlstate, message FROM quarantined;
ROLLBACK;

BEGIN;
-- constraints of the user
ALTER TABLE at402.position ADD CONSTRAINT slow CHECK (speed_kmh < 100);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1, mask => '2', modules => gnss(1, 1, 98)),
	x_report(2, mask => '2', modules => gnss(1, 1, 100)))]);
SELECT report_no, report_nos, sqlstate, reason FROM quarantined;
ROLLBACK;

BEGIN;
-- a user's trigger that misses something of the user's
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN INSERT INTO no_such_table VALUES (1); RETURN NEW; END';
CREATE TRIGGER broken BEFORE INSERT ON at402.position FOR EACH ROW WHEN (NEW.seq = 2)
	EXECUTE FUNCTION broken();
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2))]);
SELECT report_no, report_nos, sqlstate, message FROM quarantined;
ROLLBACK;

BEGIN;
-- on device: all of that device, and nobody else's
CREATE FUNCTION stranger() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN RAISE EXCEPTION ''no strangers''; END';
CREATE TRIGGER stranger BEFORE INSERT ON at402.device FOR EACH ROW
	WHEN (NEW.imei = '352099001761481') EXECUTE FUNCTION stranger();
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1)), x(:b, x_report(2), x_report(3)),
	x(:c, x_report(4))]);
SELECT imei, report_no, reason, sqlstate, message FROM quarantined;
SELECT imei, seq FROM reports ORDER BY 2;
ROLLBACK;

BEGIN;
-- a trigger that puts a row aside: not stored, no error, no rows that follow from it
CREATE FUNCTION aside() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER aside BEFORE INSERT ON at402.position FOR EACH ROW WHEN (NEW.seq = 2)
	EXECUTE FUNCTION aside();
SELECT reports, inserted, quarantined FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2),
	x_report(3))]);
SELECT array_agg(seq ORDER BY seq) FROM at402.position;
SELECT array_agg(seq ORDER BY seq) FROM at402.event;
ROLLBACK;

-- the surroundings: an error, and nothing of the batch is stored
BEGIN;
CREATE TRIGGER refuse BEFORE INSERT ON at402.position FOR EACH ROW EXECUTE FUNCTION refuse('53100');
SELECT e.* FROM error_of(format('SELECT at402_ingest(ARRAY[%L]::at402_frame[])', :'eight')) AS e;
SELECT * FROM row_counts();
ROLLBACK;
BEGIN;
DROP TABLE at402.position_default;
SELECT e.state FROM error_of(format('SELECT at402_ingest(ARRAY[%L]::at402_frame[])',
	:'eight')) AS e;
SELECT * FROM row_counts();
ROLLBACK;
-- a column of ours that is missing, whoever calls
BEGIN;
ALTER TABLE at402.event RENAME COLUMN late TO mine;
SELECT e.state, e.message
FROM error_of(format('SELECT at402_ingest(ARRAY[%L]::at402_frame[])', :'eight')) AS e;
SELECT * FROM row_counts();
\set VERBOSITY sqlstate
SELECT * FROM at402_ingest(ARRAY[:'eight']::at402_frame[]);
\set VERBOSITY default
ROLLBACK;
BEGIN;
DROP SCHEMA at402 CASCADE;
SELECT e.* FROM error_of($$SELECT at402_ingest(ARRAY[x('490154203237518', x_report(1))])$$) AS e;
ROLLBACK;

-- ---- in transactions, triggers, and by others ----

BEGIN;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1))]);
SAVEPOINT s;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(2)), x(:b, x_report(3))]);
ROLLBACK TO s;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(2))]);
SELECT imei, seq FROM reports ORDER BY seq;
ROLLBACK;
SELECT * FROM row_counts();

BEGIN;
-- a trigger that ingests while a batch is being stored
CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM at402_ingest(ARRAY[x('352099001761481', x_report(100 + NEW.seq))]);
	RETURN NEW;
END
$$;
CREATE TRIGGER forward AFTER INSERT ON at402.position FOR EACH ROW WHEN (NEW.seq < 100)
	EXECUTE FUNCTION forward();
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1), x_report(2))]);
SELECT imei, seq FROM reports ORDER BY seq;
SELECT imei, seq, kind FROM events ORDER BY seq;
SELECT count(*) FROM at402.frame;
ROLLBACK;

BEGIN;
-- by a role without rights, and with those of writing only
CREATE ROLE regress_plain;
SET LOCAL ROLE regress_plain;
SELECT e.state, e.message, e.hint LIKE 'Execute: GRANT % TO regress_plain;' AS hint
FROM error_of($$SELECT at402_ingest(ARRAY['24410d'::at402_frame])$$) AS e;
RESET ROLE;
GRANT USAGE ON SCHEMA at402 TO regress_plain;
SET LOCAL ROLE regress_plain;
SELECT e.state, e.message FROM error_of(
	$$SELECT at402_ingest(ARRAY['24410d'::at402_frame], '490154203237518')$$) AS e;
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA at402 TO regress_plain;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA at402 TO regress_plain;
SELECT x(:a, x_report(1, mask => '3', modules => '\x3d64'::bytea || gnss(52.5, -1.25))) AS one \gset
SET LOCAL ROLE regress_plain;
SELECT * FROM at402_ingest(ARRAY[:'one', '240d', '58000600e410']::at402_frame[]);
RESET ROLE;
SELECT * FROM row_counts();
ROLLBACK;

-- the sources of at402_ingest are of no use outside it
SELECT e.* FROM error_of('SELECT * FROM at402_batch_rows(1, ''io'') AS r(n smallint)') AS e;
SELECT e.* FROM error_of('SELECT * FROM at402_batch_rows(1, ''pg_class'') AS r(n int)') AS e;

DROP SCHEMA at402, regress_at402 CASCADE;
