-- at402_ingest: what follows from reports: positions, events, the state of a device.
-- Each part is rolled back, so that none depends on another.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/ingest.sql'
\set ECHO none
\i :file
\set ECHO all

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

-- ---- the state of a device ----

BEGIN;
-- its row is gone, of one of two
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(1, '2026-01-01 10:00+00', 0, 0)),
	x(:b, x_report(1, '2026-01-01 10:00+00', 0, 0))]);
DELETE FROM at402.device_state WHERE device_id = (SELECT id FROM at402.device WHERE imei = :a);
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(2, '2026-01-01 10:01+00', 0, 1)),
	x(:b, x_report(2, '2026-01-01 10:01+00', 0, 1))]);
SELECT imei, time, seq, ignition FROM at402.device_state JOIN at402.device ON id = device_id ORDER BY imei;
SELECT imei, seq, kind FROM events ORDER BY imei, time, n;
-- columns of other types
DROP VIEW state, at402.last_position CASCADE;
ALTER TABLE at402.device_state ALTER seq TYPE bigint, ALTER battery_percent TYPE numeric;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(3, '2026-01-01 10:02+00', 0, 1, '3',
	'\x8a58'::bytea || gnss(52.5, -1.25)))]);
SELECT time, seq, battery_percent, external_voltage_v, ST_AsText(geom) AS at
FROM at402.device_state JOIN at402.device ON id = device_id WHERE imei = :a;
-- without a position since: the last one stays, and its speed
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(4, '2026-01-01 10:03+00', 0, 1))]);
SELECT time, seq, position_time, position_seq, speed_kmh, ST_AsText(geom) AS at, battery_percent
FROM at402.device_state JOIN at402.device ON id = device_id WHERE imei = :a;
-- a trigger that lets no change pass: reports are stored all the same
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep BEFORE UPDATE ON at402.device_state FOR EACH ROW EXECUTE FUNCTION keep();
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(5, '2026-01-01 10:04+00', 0, 0))]);
SELECT time, seq FROM at402.device_state JOIN at402.device ON id = device_id WHERE imei = :a;
-- what is part of at402_ingest does no harm where others call it
CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	FOR batch IN 1 .. 1000 LOOP
		BEGIN
			PERFORM at402_internal.at402_state_value(batch, 1, 'text'::text);
		EXCEPTION WHEN invalid_parameter_value THEN
			IF SQLERRM ~ 'type' THEN RAISE WARNING '%', SQLERRM; END IF;
		END;
	END LOOP;
	RETURN NULL;
END $$;
SELECT * FROM at402_ingest(ARRAY[x(:a, x_report(6, '2026-01-01 10:05+00', 0, 0))]);
SELECT at402_internal.at402_state_change(0, 1, NULL, NULL, NULL, NULL, NULL, NULL);
ROLLBACK;

DROP SCHEMA at402, regress_at402 CASCADE;
