-- Rows hold a measurement or NULL; blanks are no news; and what the older protocols mean.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/stored.sql'
\set ECHO none
\i :file
\set ECHO all

CREATE FUNCTION store(VARIADIC frames at402_frame[]) RETURNS text LANGUAGE sql AS $$
	SELECT format('inserted %s, quarantined %s', inserted, quarantined)
	FROM at402_ingest(frames, received_at => '2024-08-01 00:00+00')
$$;
\set sender '490154203237518'

-- ---- a bus: all ones, zeros, and what is between ----

-- fms_in_journey (bit 12), obd_in_journey (bit 13), each as one report
SELECT store(VARIADIC array_agg(x(:'sender', x_report(n, mask => mask, modules => bytes)) ORDER BY n))
FROM (VALUES
	(1, '1000', decode(repeat('ff', 20), 'hex')),							-- nothing
	(2, '1000', decode(repeat('00', 20), 'hex')),
	(3, '1000', decode(repeat('ff', 11) || '00000000' || repeat('ff', 5), 'hex')),	-- flags: none
	(4, '1000', decode(repeat('ff', 11) || '00010000' || repeat('ff', 5), 'hex')),	-- a flag
	(5, '1000', decode('00' || repeat('ff', 19), 'hex')),					-- it stands
	(6, '1000', decode('fafafafafafafafafaff' || 'fa' || 'ffff0001' || 'fa' || 'faffffff', 'hex')),
	(7, '1000', decode('0101010164640000' || '0001' || '00' || '00000000' || '00' || '00000001', 'hex')),
	(8, '2000', decode(repeat('ff', 18), 'hex')),							-- OBD: nothing
	(9, '2000', decode('fffffefb65ff64ff' || 'ffff' || 'ff' || '00000000' || 'ff' || 'ffff', 'hex'))
) AS v (n, mask, bytes);
SELECT seq, max_wheel_speed_kmh AS speed, max_engine_rpm AS rpm, average_engine_rpm AS average,
	max_accelerator_percent AS accelerator, max_engine_load_percent AS load,
	journey_distance_km AS km, engine_temperature_c AS coolant, fms_status_mask AS status,
	fms_events_mask AS events, fuel_level_raw AS fuel, total_fuel_l, journey_fuel_l, data
FROM at402.can ORDER BY seq;

-- tyres: all ones say nothing; -1 degree is one where there is a pressure
SELECT store(y(:'sender',
	y_report(10, mask => '20', modules => '\x060101' || '\xffffff'::bytea),
	y_report(11, mask => '20', modules => '\x06010102' || '\xffff'::bytea),
	y_report(12, mask => '20', modules => '\x0a020102' || '\x19ff0103fe15'::bytea),
	y_report(13, mask => '20', modules => '\x0601' || '\xffffffff'::bytea)));
SELECT seq, data FROM at402.can WHERE seq BETWEEN 10 AND 13 ORDER BY seq;

-- 1-Wire: -55 and 125 degrees, out of range, no probe
SELECT store(x(:'sender', x_report(14, mask => '40000', modules => '\x000007080709ffff'),
	x_report(15, mask => '40000', modules => '\xffffffffffffffff')));
SELECT seq, line, value FROM at402.io WHERE kind = 'temperature' ORDER BY seq, line;

-- ---- identities ----

CREATE VIEW identity AS SELECT model, firmware, hardware, vin, imsi, iccid FROM at402.device;
SELECT store(text_line('$ASTRA;AT402;' || :'sender' || ';WVWZZZ1JZXW000001;7.0.70.3;X;1'),
	x(NULL, x_report(20, mask => 'c000000',
		modules => number(234150000000001, 7) || '89441000301234567890')));
SELECT * FROM identity;
-- none of these changes anything; a SIM without a number makes no row either
SELECT store(text_line('$ASTRA;;' || :'sender' || ';;;X;'),
	text_line('$ASTRA;  ;' || :'sender' || ';00000000000000000;0;X;0'),
	('$ASTRA;' || '\xff'::bytea || ';' || :'sender' || ';'
		|| decode(repeat('ff', 17), 'hex') || ';;X;1' || '\x0d0a')::at402_frame,
	x(NULL, x_report(21, mask => 'c000000', modules => number(0, 7) || decode(repeat('00', 20), 'hex')),
		x_report(22, mask => 'c000000', modules => decode(repeat('ff', 27), 'hex')),
		x_report(23, mask => 'c000000', modules => number(0, 7) || repeat('0', 20)::bytea),
		x_report(24, mask => 'c000000', modules => number(0, 7) || repeat(' ', 20)::bytea)));
SELECT * FROM identity;
SELECT seq, name, data FROM at402.module ORDER BY seq, name;
-- news are news
SELECT store(text_line('$ASTRA;AT402;' || :'sender' || ';;8.0;X;1'),
	x(NULL, x_report(25, mask => '4000000', modules => number(72057594037927934, 7))));
SELECT * FROM identity;

-- ---- drivers: no driver makes no row ----

SELECT store(x(:'sender', x_report(30, mask => '100', modules => '\x000000000000000000'),
	x_report(31, mask => '100', modules => '\x000102030405060708'),
	x_report(32, mask => '100', modules => '\x010000000000000000'),
	x_report(33, mask => '100', modules => '\xffffffffffffffffff'),
	x_report(34, mask => '100', modules => '\x010000000000000a0b')));
SELECT seq, text_value, data FROM at402.io WHERE kind = 'driver_id' ORDER BY seq;

-- ---- position and time ----

SELECT store(VARIADIC array_agg(x(:'sender', x_report(n, t, mask => '2', status => status,
	modules => gnss(lat, lon, 0, fix))) ORDER BY n))
FROM (VALUES
	(40, timestamptz '2024-07-31 10:00+00', 1, 0.0, 0.0, timestamptz '1980-01-06 00:00+00'),
	(41, '2024-07-31 10:00+00', 1, 0.0, 0.0, '2024-07-31 10:00+00'),	-- off the coast of Ghana
	(42, '2024-07-31 10:00+00', 5, 0.0, 0.0, '2024-07-31 10:00+00'),
	(43, '2024-07-31 10:00+00', 1, 90.000001, 1.0, '2024-07-31 10:00+00'),
	(44, '2024-07-31 10:00+00', 1, 90.0, -180.000001, '2024-07-31 10:00+00'),
	(45, '2024-07-31 10:00+00', 1, -90.0, 180.0, '2009-12-31 23:59:59+00'),
	(46, '2024-07-31 10:00+00', 1, 52.5, 1.5, '2010-01-01 00:00+00'),
	(47, '2009-12-31 23:59:59+00', 1, 52.5, 1.5, '1980-01-06 00:00:01+00'),
	(48, '2010-01-01 00:00+00', 1, 52.5, 1.5, '2010-01-01 00:00+00'),
	(49, '1980-01-06 00:00+00', 1, 52.5, 1.5, '1980-01-06 00:00+00')
) AS v (n, t, status, lat, lon, fix);
SELECT seq, time, time_suspect AS suspect, gnss_valid, ST_AsText(geom) AS geom, fix_time
FROM at402.position WHERE seq BETWEEN 40 AND 49 ORDER BY seq;
SELECT time, position_time, ST_AsText(geom) AS geom FROM at402.device_state;

-- a device whose clock was never set has no state
SELECT store(x('860873041769307', x_report(50, '1980-01-07 00:00+00', mask => '2',
	modules => gnss(52.5, 1.5))));
SELECT time, geom FROM at402.device_state AS s JOIN at402.device AS d ON d.id = device_id
WHERE d.imei = '860873041769307';

-- a heading of 360 degrees is 0; 510 is none.  Neither are 255 %, HDOP 25.5, 255 satellites
SELECT store(x(:'sender',
	x_report(51, mask => '3', modules => '\x79ff' || overlay(gnss(52, 1) PLACING '\xb4' FROM 15)),
	x_report(52, mask => '3', modules => '\x7965' || overlay(gnss(52, 1) PLACING '\xb5' FROM 15)),
	x_report(53, mask => '80000000000', modules => gnss(52, 1) || '\xffffffffffff00000000'),
	x_report(54, mask => '80000000000', modules => gnss(52, 1) || '\x64fefefeffff00000000'),
	x_report(55, mask => '800', modules => '\xffffffffff'),
	x_report(56, mask => '800', modules => '\xfffffefffe')));
SELECT seq, heading_deg, battery_percent, fix_availability_percent AS availability,
	satellites_in_view AS in_view, position_error_m AS error, hdop, lifetime_odometer_km AS odometer,
	engine_hours AS hours
FROM at402.position WHERE seq BETWEEN 51 AND 56 ORDER BY seq;

-- ---- K, M and V ----

-- Reason bit 23 is roll over.  Lines of M and V: states below, changes above them.
CREATE FUNCTION kmv(letter text, seq int, digitals bytea, reasons int) RETURNS at402_frame
	LANGUAGE sql AS $$
	SELECT packet(letter, imei('490154203237518') || number(seq, 1)
		|| CASE letter WHEN 'V' THEN made || place || made ELSE place || made END
		|| '\x0000'::bytea || number(reasons, 3) || '\x0001'::bytea || digitals
		|| CASE letter WHEN 'K' THEN '\xff' WHEN 'M' THEN '\xffff' ELSE '\xffff7f' END::bytea
		|| decode(repeat('00', CASE letter WHEN 'V' THEN 42 ELSE 16 END), 'hex'))::at402_frame
	FROM seconds('2024-07-31 11:00+00') AS made, CAST('\x0320000000160000' AS bytea) AS place
$$;
SELECT store(kmv('K', 60, '\xff', 8388608), kmv('M', 61, '\x050480', 8388608),
	kmv('V', 62, '\xff0100', 64));
SELECT seq, inputs, outputs, adc1_raw, adc1_mv, adc2_raw, adc2_mv, at402_reason_names(reasons) AS reasons
FROM at402.position WHERE seq BETWEEN 60 AND 62 ORDER BY seq;
SELECT seq, kind, line, state FROM at402.io WHERE seq BETWEEN 60 AND 62 ORDER BY seq, line;
SELECT seq, kind FROM at402.event WHERE seq BETWEEN 60 AND 62 ORDER BY seq;
SELECT r.seq, r.reasons, d->'reports'->0->'reasons' AS decoded, d->'reports'->0->'reasons_mask' AS mask,
	at402_decode(at402_encode(d #- '{reports,0,reasons_mask}')) = d AS is_inverse
FROM unnest(ARRAY[kmv('K', 60, '\xff', 8388608), kmv('V', 62, '\xff0100', 64)]) AS f,
	at402_decode(f) AS d, at402_reports(f) AS r;
SELECT e.state, e.message FROM error_of($$SELECT at402_encode('{"protocol": "K", "imei": "490154203237518",
	"reports": [{"time": "2024-07-31T11:00:00Z", "reasons": ["can"]}]}')$$) AS e;

-- ---- Y of older firmware ----

-- Rayvolt and J1939 codes are told apart by their length; so is a trailer without deceleration,
-- here with one wheel, which is encoded as newer firmware sends it
CREATE TEMP TABLE older AS SELECT n, at402_decode(f) AS d, f FROM (VALUES
	(1, y(:'sender', y_report(70, mask => '100000', modules => '\x13' || '\x0000000100020003'::bytea
		|| '\x0004326428640005' || '\x0000'))),
	(2, y(:'sender', y_report(71, mask => '100000', modules => '\x11' || '\x64000301'::bytea
		|| '\x65000301' || '\x66000301' || '\x67000301'))),
	(3, y(:'sender', y_report(72, mask => '80000000000', modules => '\x1d' || seconds('2024-07-31 12:00+00')
		|| '\x0000640100320005' || '\x020864646401' || '\x120a0a64' || '\x010203040506'))),
	(4, y(:'sender', y_report(73, mask => '80000000000', modules => '\x1e' || seconds('2024-07-31 12:00+00')
		|| '\x0000640100320005' || '\x14020864646401' || '\x120a0a64' || '\x010203040506')))
) AS v (n, f);
SELECT n, d->'reports'->0->'modules'->'rayvolt' AS rayvolt,
	d->'reports'->0->'modules'->'j1939_dtc' AS j1939_dtc FROM older WHERE n < 3 ORDER BY n;
SELECT m.key, array_agg(m.value ORDER BY n) AS "without, with" FROM older,
	jsonb_each(d->'reports'->0->'modules'->'hgv_trailer') AS m
WHERE n > 2 GROUP BY m.key ORDER BY m.key;
SELECT n, at402_decode(at402_encode(d)) = d AS is_inverse, at402_encode(d) = f AS is_same FROM older
ORDER BY n;
SELECT store(VARIADIC array_agg(f ORDER BY n)) FROM older;
SELECT seq, source FROM at402.can WHERE seq BETWEEN 70 AND 73 ORDER BY seq;

-- signal of Y's module network: -1 to -254 dBm
SELECT store(y(:'sender', y_report(80, mask => '40', modules => '\x0700ea000a5302'),
	y_report(81, mask => '40', modules => '\x0700ea000a0002'),
	y_report(82, mask => '40', modules => '\x0700ea000aff02')));
SELECT p.seq, p.gsm_signal_dbm, m.data
FROM at402.position AS p JOIN at402.module AS m USING (device_id, time, seq)
WHERE p.seq BETWEEN 80 AND 82 ORDER BY p.seq;

-- tables of an older version of at402 do not have the columns that came later
DROP VIEW at402.fuel;
ALTER TABLE at402.can DROP COLUMN fuel_level_percent, DROP COLUMN mil_on_distance_km;
ALTER TABLE at402.ble DROP COLUMN sensor_type;
SELECT store(at402_encode('{"protocol": "Y", "imei": "490154203237518", "reports": [{"seq": 90,
	"time": "2024-07-31T12:00:00Z", "modules": {"nmea_2000": {"fuel_level_percent": 50},
	"sensors": {"sensors": [{"index": 1, "type": "humidity", "humidity_percent": 40}]}}}]}'));
SELECT data->'fuel_level_percent' AS fuel_level_percent FROM at402.can WHERE seq = 90;
SELECT sensor_index, humidity_percent, data FROM at402.ble WHERE seq = 90;

DROP SCHEMA at402, regress_at402 CASCADE;
