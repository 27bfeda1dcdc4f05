-- at402_encode, module for module: what is refused, and all forms by hand; K, M and V, lines.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/include/frames.sql'
\set ECHO none
\i :file
\set file :abs_srcdir '/include/documents.sql'
\i :file
\set ECHO all

-- ---- modules: what is refused ----

SELECT n, e.state, e.message, coalesce(nullif(e.detail, ''), e.hint) AS detail_or_hint
FROM (VALUES
	(1, 'X', '{"gps": {}}'::jsonb),
	(2, 'X', '{"gps": null}'),
	(3, 'X', '{"tpms": {}}'),						-- Y only
	(4, 'Y', '{"signal_quality": {}}'),				-- X only
	(5, 'K', '{"network": {}}'),
	(6, 'X', '{"module_50": {"raw": "00"}}'),		-- only Y can skip it
	(7, 'Y', '{"module_80": {"raw": "00"}}'),
	(8, 'Y', '{"module_07": {"raw": "00"}}'),
	(9, 'Y', '{"module_x": {"raw": "00"}}'),
	(10, 'X', '{"gnss": 5}'),
	(11, 'X', '{"gnss": []}'),
	(12, 'X', '{"gnss": {"speed": 5}}'),
	(13, 'X', '{"gnss": {"speed": null}}'),
	(14, 'X', '{"gnss": {"hdop": 1}}'),				-- of gnss_extended
	(15, 'X', '{"gnss": {"satellites_in_view": 1}}'),	-- Y only
	(16, 'X', '{"gnss": {"speed_kmh": "5"}}'),
	(17, 'X', '{"gnss": {"speed_kmh": [5]}}'),
	(18, 'X', '{"gnss": {"speed_kmh": {"raw": 5}}}'),
	(19, 'X', '{"gnss": {"speed_kmh": true}}'),
	(20, 'X', '{"gnss": {"fix_time": 5}}'),
	(21, 'X', '{"gnss": {"fix_time": "2116-02-12T06:28:16Z"}}'),
	(22, 'X', '{"gnss": {"raw": "00"}}'),			-- X has fixed sizes
	(23, 'X', '{"gnss": {"raw": null, "altitude_m": 5101}}'),
	(24, 'X', '{"sim_serial_number": {"iccid": "894410003012345678901"}}'),
	(25, 'X', '{"sim_serial_number": {"iccid": "€"}}'),
	(26, 'X', '{"sim_serial_number": {"iccid": 8944}}'),
	(27, 'X', '{"sim_subscriber_id": {"imsi": 234150999999999}}'),
	(28, 'X', '{"sim_subscriber_id": {"imsi": "72057594037927936"}}'),
	(29, 'X', '{"sim_subscriber_id": {"imsi": "-1"}}'),
	(30, 'X', '{"sim_subscriber_id": {"imsi": ""}}'),
	(31, 'X', '{"driver_id": {"serial_number": "0123456789ABCD"}}'),
	(32, 'X', '{"driver_id": {"serial_number": "0123456789ABCDEG"}}'),
	(33, 'X', '{"driver_id": {"serial_number": "0123456789ABCDE"}}'),
	(34, 'X', '{"econ_gritter": {"raw": "012345"}}'),
	(35, 'X', '{"z_module_17": {"raw": "00"}}'),
	-- a bit stands for one module
	(36, 'X', '{"z_module_30": {"raw": "00"}, "fms_driver_working_states": {}}'),
	(37, 'Y', '{"module_0": {"raw": "007A64"}, "device_power": {}}'),
	(38, 'X', '{"trailer_id": {}, "driver_alcohol_test": {}}')) AS v (n, protocol, modules),
	refused(document(protocol, modules)) AS e
ORDER BY n;

-- nothing is lost silently: what has no place is refused
SELECT n, e.state, e.message, coalesce(nullif(e.detail, ''), e.hint) AS detail_or_hint
FROM (VALUES
	(1, 'Y', '{"tpms": {"axle": 1}}'::jsonb),
	(2, 'Y', '{"tpms": {"sensors": 1}}'),
	(3, 'Y', '{"tpms": {"sensors": {}}}'),
	(4, 'Y', '{"tpms": {"sensors": [1]}}'),
	(5, 'Y', '{"tpms": {"sensors": [[]]}}'),
	(6, 'Y', '{"tpms": {"sensors": [null]}}'),
	(7, 'Y', '{"tpms": {"sensors": [{"sensors": []}]}}'),
	(8, 'Y', '{"tpms": {"sensors": [{"tread_mm": 5}]}}'),
	(9, 'Y', '{"tpms": {"raw": "01", "sensors": []}}'),
	(10, 'Y', '{"device_power": {"raw": "01", "battery_level_percent": 5}}'),
	(11, 'X', '{"beacons": {"mac": "00:11:22:33:44:55"}}'),
	(12, 'X', '{"beacons": {"beacons": ["00:11:22:33:44:55"]}}'),
	(13, 'X', '{"beacons": {"beacons": [{"mac": "00:11:22:33:44"}]}}'),
	(14, 'X', '{"beacons": {"beacons": [{"companion": 1}]}}'),
	(15, 'X', '{"beacons": {"beacons": [{"type": 1, "height_cm": 5, "meta": "00"}]}}'),
	(16, 'X', '{"beacons": {"beacons": [{"type": 2, "height_cm": 5}]}}'),
	(17, 'X', '{"beacons": {"beacons": [{"type": 2, "meta": "123"}]}}'),
	(18, 'X', '{"beacons": {"raw": "0100050000000000"}}'),	-- as long as it says
	(19, 'X', '{"generic_can": {"frames": [{"data": "00"}]}}'),
	(20, 'X', '{"generic_can": {"frames": [5]}}'),
	(21, 'X', '{"sensors": {"sensors": [{"index": 6, "type": "light"}]}}'),
	(22, 'X', '{"sensors": {"sensors": [{"index": 1}]}}'),
	(23, 'X', '{"sensors": {"sensors": [{"type": "pressure"}]}}'),
	(24, 'X', '{"sensors": {"sensors": [{"type": 1}]}}'),
	(25, 'X', '{"sensors": {"sensors": [{"type": "light", "temperature_c": 20}]}}'),
	(26, 'X', '{"sensors": {"sensors": [{"type_raw": 4}]}}'),
	(27, 'X', '{"sensors": {"sensors": [{"type_raw": 3, "raw": "0000"}]}}'),
	(28, 'X', '{"sensors": {"sensors": [{"type_raw": 16, "raw": "0000"}]}}'),
	(29, 'X', '{"sensors": {"sensors": [{"type_raw": 4, "raw": "000000"}]}}'),
	(30, 'X', '{"sensors": {"sensors": [{"type": "light"}, {"type": "light", "index": 0}]}}'),
	(31, 'X', '{"sensors": {"sensors": [{"type": "light"}, {}, {}, {}, {}, {}, {}]}}'),
	(32, 'X', '{"debug": {"pc": 5}}'),
	(33, 'X', '{"debug": {"type": 2, "pc": 5}}'),
	(34, 'X', '{"debug": {"type": 1, "raw": "00", "pc": 5}}'),
	(35, 'X', '{"debug": {"type": 1, "watchdog_level": 5}}'),
	(36, 'X', '{"debug": {"type": 1, "watchdog_levels": [65536]}}'),
	(37, 'X', '{"debug": {"type": 1, "watchdog_service": "ninechars"}}'),
	(38, 'X', jsonb_build_object('debug', jsonb_build_object('type', 1, 'watchdog_levels',
		array_fill(1, '{16}')))),
	(39, 'Y', '{"j1939_dtc": {"dtcs": [{"spn": 524288}]}}'),
	(40, 'Y', '{"j1939_dtc": {"dtcs": [{"spn": 1}, {}, {"spn": 2}]}}'),	-- end of the list
	(41, 'Y', '{"hgv_trailer": {"flags": ["no such name"]}}'),
	(42, 'Y', '{"hgv_trailer": {"flags": [5]}}'),
	(43, 'Y', '{"hgv_trailer": {"wheels": [{"wheel": 16}]}}'),
	(44, 'Y', '{"hgv_trailer": {"brake_pressures_kpa": [1, 2, 3, 4, 5, 6, 7]}}'),
	(45, 'Y', '{"hgv_trailer": {"brake_pressures_kpa": ["1"]}}')) AS v (n, protocol, modules),
	refused(document(protocol, modules)) AS e
ORDER BY n;

-- more than a length byte can say
SELECT n, e.state, e.message
FROM (VALUES
	(1, 'Y', jsonb_build_object('device_power', jsonb_build_object('raw', repeat('00', 255)))),
	(2, 'Y', jsonb_build_object('tpms', jsonb_build_object('sensors',
		array_fill('{"axle": 1}'::jsonb, '{64}')))),
	(3, 'Y', jsonb_build_object('tpms', jsonb_build_object('sensors',
		array_fill('{"axle": 1}'::jsonb, '{256}')))),
	(4, 'X', jsonb_build_object('beacons', jsonb_build_object('beacons', ARRAY[jsonb_build_object(
		'type', 7, 'meta', repeat('00', 256))]))),
	(5, 'X', jsonb_build_object('generic_can', jsonb_build_object('raw', repeat('00', 65534))))
) AS v (n, protocol, modules),
	refused(document(protocol, modules)) AS e
ORDER BY n;
SELECT jsonb_array_length(there_and_back(document('Y', jsonb_build_object('tpms',
		jsonb_build_object('sensors', array_fill('{"axle": 1}'::jsonb, '{63}')))))
		->'tpms'->'sensors') AS tyres,
	length(there_and_back(document('X', jsonb_build_object('beacons', jsonb_build_object('beacons',
		ARRAY[jsonb_build_object('type', 7, 'meta', repeat('00', 255))]))))
		->'beacons'->'beacons'->0->>'meta') / 2 AS bytes_of_meta;

-- ---- modules by hand ----

-- all special forms come back as they were written
SELECT n, protocol, there_and_back(document(protocol, modules)) = modules AS same
FROM (VALUES
	(1, 'X', '{"beacons": {"beacons": [
		{"mac": "00:11:22:aa:bb:cc", "rssi_dbm": -70, "companion": true, "last_seen_s": 5,
			"type": 0},
		{"mac": "ff:ff:ff:ff:ff:ff", "rssi_dbm": -128, "companion": false, "last_seen_s": 65535,
		 "type": 1, "height_cm": 180},
		{"mac": "00:00:00:00:00:00", "rssi_dbm": 127, "companion": false, "last_seen_s": 0,
		 "type": 255, "meta": "00FF10"}]}}'::jsonb),
	(2, 'X', '{"beacons": {"beacons": []}}'),
	(3, 'X', '{"beacons": {"raw": "0100010000000042", "error": "records do not fill the module"}}'),
	(4, 'X', '{"generic_can": {"frames": [
		{"id": 4294967295, "data": "0011223344556677", "age_s": 0},
		{"id": 0, "data": "FFFFFFFFFFFFFFFF", "age_s": 255}]}}'),
	(5, 'X', '{"generic_can": {"frames": [{"id": 1, "data": "0011223344556677"},
		{"id": 2, "data": "8899AABBCCDDEEFF"}]}}'),			-- older firmware: no age
	(6, 'X', '{"generic_can": {"frames": []}}'),
	(7, 'X', '{"generic_can": {"raw": "0102030405"}}'),
	(8, 'X', '{"sensors": {"sensors": [
		{"index": 0, "type": "temperature", "valid": true, "temperature_c": -20.25},
		{"index": 2, "type": "humidity", "valid": false, "humidity_percent": 55.5},
		{"index": 4, "type": "light", "valid": true, "light_raw": 65535},
		{"index": 5, "type_raw": 15, "valid": true, "raw": "ABCD"}]}}'),
	(9, 'X', '{"sensors": {"sensors": []}}'),
	(10, 'X', '{"debug": {"type": 1, "flags_mask": 4660, "pc": 4294967295, "lr": 1,
		"watchdog_levels": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 65535],
		"watchdog_service": "task 1"}}'),
	(11, 'X', '{"debug": {"type": 2, "raw": "00112233"}}'),
	(12, 'X', '{"debug": {"type": 1, "raw": "00112233"}}'),
	(13, 'X', '{"debug": {"raw": ""}}'),
	(14, 'Y', '{"beacons": {"beacons": [{"mac": "00:11:22:aa:bb:cc", "rssi_dbm": -70,
		"companion": true, "last_seen_s": 5, "type": 1, "height_cm": 65535}]}}'),
	(15, 'Y', '{"beacons": {"raw": "01", "error": "records do not fill the module"}}'),
	(16, 'Y', '{"generic_can": {"frames": [{"id": 7, "data": "0011223344556677", "age_s": 9}]}}'),
	(17, 'Y', '{"generic_can": {"raw": "010203"}}'),
	(18, 'Y', '{"sensors": {"raw": "0102"}, "debug": {"type": 1, "raw": ""}}'),
	(19, 'Y', '{"tpms": {"sensors": [
		{"axle": 1, "wheel": 2, "pressure_bar": 8.5, "temperature_c": -40},
		{"axle": 255, "wheel": 0, "pressure_bar": 25.5, "temperature_c": 127}]}}'),
	(20, 'Y', '{"tpms": {"sensors": []}}'),
	(21, 'Y', '{"j1939_dtc": {"dtcs": [{"spn": 524287, "fmi": 31, "cm": 1, "oc": 127},
		{"spn": 65536, "fmi": 0, "cm": 0, "oc": 0}, {"spn": 0, "fmi": 0, "cm": 1, "oc": 0}]}}'),
	(22, 'Y', '{"j1939_dtc": {"dtcs": []}}'),
	(23, 'Y', '{"hgv_trailer": {"can_time": "2024-07-30T16:17:34Z", "flags_mask": 34817,
		"flags": ["abs_activated"], "ebs_supply_pressure_kpa": 850, "axle_load_kg": 18000,
		"speed_kmh": 80.5, "road_angle_deg": -12.7, "deceleration_mss": 12.7,
		"brake_demand_pressure_kpa": 125, "parking_brake_demand_percent": 101.6,
		"braking_efficiency_raw_percent": 0, "braking_efficiency_compensated_percent": 254,
		"wheels": [{"wheel": 1, "axle": 15, "tyre_pressure_bar": 8.5, "brake_temperature_c": 2540,
			"brake_lining_wear_percent": 40}, {"wheel": 0, "axle": 0, "tyre_pressure_bar": null,
			"brake_temperature_c": null, "brake_lining_wear_percent": null}],
		"brake_pressures_kpa": [5, null, 0, 1270, null, 10]}}'),
	(24, 'Y', '{"device_power": {"raw": "01"}, "module_50": {"raw": ""}}'),
	(25, 'Y', '{"module_48": {"raw": "00FF"}, "module_79": {"raw": ""}, "device_power":
		{"external_voltage_v": 6553.5, "battery_level_percent": 255}}')) AS v (n, protocol, modules)
ORDER BY n;

-- what a raw module of Y holds may be what its fields say
SELECT there_and_back(document('Y', '{"module_0": {"raw": "007A64FFFF"}}'));
-- what is missing is none where the wire can say so, and else zero; a null is the same as missing
SELECT protocol, there_and_back(document(protocol, missing)) AS modules,
	at402_encode(document(protocol, missing)) = at402_encode(document(protocol, nulls)) AS same
FROM (VALUES
	('X', '{"digitals": {}}'::jsonb, '{"digitals": {"states_mask": null}, "gnss": null}'::jsonb),
	('X', '{"sim_serial_number": {}, "driver_id": {}, "sim_subscriber_id": {}}',
	 '{"sim_serial_number": {"iccid": null}, "driver_id": {"serial_number": null, "source": null},
		"sim_subscriber_id": {"imsi": null}}'),
	('X', '{"beacons": {"beacons": [{}]}}', '{"beacons": {"raw": null, "beacons": [{"mac": null,
		"companion": null, "meta": null}]}}'),
	('X', '{"debug": {"type": 1}}', '{"debug": {"type": 1, "watchdog_levels": [null, null]}}'),
	('Y', '{"hgv_trailer": {"wheels": [{}]}}', '{"hgv_trailer": {"flags": null, "flags_mask": null,
		"wheels": [{"tyre_pressure_bar": null}], "brake_pressures_kpa": null}}')
) AS v (protocol, missing, nulls);
SELECT at402_encode('{"protocol": "X", "reports": [{"time": "2024-07-30T16:17:34Z", "seq": null,
		"reasons": null, "status_mask": null, "modules": null}], "kind": null, "imei": null}')
	= at402_encode('{"protocol": "X", "reports": [{"time": "2024-07-30T16:17:34Z"}]}') AS same;

-- flags of a trailer: the mask wins, names alone do
SELECT there_and_back(document('Y', jsonb_build_object('hgv_trailer', trailer)))
	->'hgv_trailer'->'flags_mask' AS mask
FROM (VALUES (1, '{"flags": ["abs_activated", "rollover_prevention"]}'::jsonb),
			 (2, '{"flags": ["abs_activated"], "flags_mask": 65535}'),
			 (3, '{"flags_mask": 0, "flags": ["abs_activated"]}')) AS v (n, trailer)
ORDER BY n;

-- text is cut nowhere, bytes above 7F are Latin-1
SELECT there_and_back(document('X', '{"sim_serial_number": {"iccid": "é µ"}, "obd_dtc":
	{"dtc_1": "P0420", "dtc_5": "U1"}, "sim_subscriber_id": {"imsi": "234150999999999"}}'));
-- hexadecimal and MAC in other spellings
SELECT there_and_back(document('X', '{"driver_id": {"serial_number": "00aabbccddeeff11"},
	"beacons": {"beacons": [{"mac": "0011.22AA.BBCC"}]}}'));

-- ---- older firmware ----

SELECT n, there_and_back(document('X', modules)) = modules AS same
FROM (VALUES
	(1, '{"trailer_id": {"source": 2, "text": "TRAILER 42", "status": 1}}'::jsonb),
	(2, '{"cm2010": {"battery_soc_percent": 80, "speed_kmh": 25, "voltage_1_v": 36.5,
		"voltage_2_v": 4.2, "trip_m": 1200, "status": 1}}'),
	(3, '{"trailer_id": {"source": 2, "text": "TRAILER", "status": 1},
		"cm2010": {"battery_soc_percent": 80, "speed_kmh": 25, "voltage_1_v": 36.5,
		"voltage_2_v": 4.2, "trip_m": 1200, "status": 1}}'),
	(4, '{"trailer_id": {"source": 2, "text": "TRAILER", "status": 1}, "beacons": {"beacons": []}}')
) AS v (n, modules)
ORDER BY n;
-- one choice holds for all reports of a packet
SELECT n, e.state, e.message, coalesce(nullif(e.detail, ''), e.hint) AS detail_or_hint
FROM (VALUES
	(1, '{"trailer_id": {}}'::jsonb, '{"driver_alcohol_test": {}}'::jsonb),
	(2, '{"beacons": {}}', '{"cm2010": {}}'),
	(3, '{"trailer_id": {}, "cm2010": {}}', '{"trailer_id": {}, "beacons": {}}'))
	AS v (n, one, two),
	refused(jsonb_set(document('X', one), '{reports,1}', document('X', two)->'reports'->0)) AS e
ORDER BY n;
SELECT e.state, e.message FROM refused(document('Y', '{"trailer_id": {}}')) AS e;

-- modules of Z are read with the letter of the login only
SELECT there_and_back(document('X', '{"z_module_30": {"raw": "2A"}, "gnss": {}}'), 'Z')
	->'z_module_30' AS z;

-- ---- K, M and V ----

-- the block that a module stands in follows from the module, where the flags leave that open
SELECT n, protocol, length(frame::bytea) AS bytes, d->'reports'->0->'status_mask' AS status_mask,
	d->'reports'->0->'modules'->'driver_id' AS driver_id
FROM (VALUES
	(1, 'K', '{}'::jsonb, '{}'::jsonb),
	(2, 'K', '{"driver_id": {"family": 1, "serial_number": "0123456789AB"}}', '{}'),
	(3, 'K', '{"driver_id": {"family": 1}}', '{"status": ["ignition"]}'),
	(4, 'K', '{"driver_id": {"family": 1}}', '{"status_mask": 257}'),
	(5, 'K', '{}', '{"status_mask": 256}'),
	(6, 'K', '{"gnss_journey_stop": {"engine_hours": 5}}', '{}'),
	(7, 'K', '{"driver_id": null}', '{}'),
	(8, 'M', '{"driver_id": {"family": 2}}', '{}'),
	(9, 'V', '{"fms_journey_start": {}}', '{}'),
	(10, 'V', '{"can_journey_stop": {}}', '{"reasons": ["journey_stop"]}'),
	(11, 'V', '{}', '{"reasons": ["journey_stop"]}')) AS v (n, protocol, modules, report),
	at402_encode(document(protocol, modules, report)) AS frame, at402_decode(frame) AS d
ORDER BY n;
SELECT n, e.state, e.message, e.detail
FROM (VALUES
	(1, 'K', '{"driver_id": {}}'::jsonb, '{"status_mask": 1}'::jsonb),
	(2, 'V', '{"can_journey_stop": {}}', '{"status_mask": 256}'),
	(3, 'V', '{"can_journey_stop": {}}', '{}'),
	(4, 'V', '{"can_journey_stop": {}}', '{"reasons": ["journey_stop"], "status_mask": 0}'))
	AS v (n, protocol, modules, report),
	refused(document(protocol, modules, report)) AS e
ORDER BY n;
-- a byte in two scales
SELECT n, there_and_back(document(protocol, jsonb_build_object('analogues', analogues)))
	->'analogues' AS analogues
FROM (VALUES (1, 'K', '{"adc1_raw": 5}'::jsonb), (2, 'K', '{"adc1_mv": 100}'),
			 (3, 'M', '{"adc1_mv": 5100, "adc2_mv": 59}'), (4, 'V', '{"adc1_raw": 4095}'),
			 (5, 'V', '{"adc2_raw": 4095}')) AS v (n, protocol, analogues)
ORDER BY n;

-- ---- lines ----

-- a login line has as many parts as are given
SELECT n, convert_from(at402_encode(login)::bytea, 'LATIN1') AS line,
	jsonb_strip_nulls(at402_decode(at402_encode(login))) = jsonb_strip_nulls(login) AS same
FROM (VALUES
	(1, '{"kind": "login", "model": "AT402", "imei": "860873045366969", "vin": "",
		"firmware": "7.0.70.3", "protocol": "X", "hardware": "1",
		"settings_checksum": "8A1B"}'::jsonb),
	(2, '{"kind": "login", "model": "AT402", "imei": "860873045366969", "vin": "",
		"firmware": "7.0.70.3", "protocol": "X", "hardware": "1"}'),
	(3, '{"kind": "login", "model": "Modèle", "imei": "5"}'),
	(4, '{"kind": "login", "model": "", "vin": null}')) AS v (n, login)
ORDER BY n;
-- what a decoded line says comes back
SELECT count(*) AS lines, count(*) FILTER (WHERE at402_decode(at402_encode(d)) = d) AS same
FROM unnest(ARRAY['$ASTRA;', '$ASTRA;AT402', '$ASTRA;AT402;860873045366969', '$ASTRA;;;;;Y',
	'$ASTRA;a;b;c;d;e;f;g', '$ASTRA', '$', '$DIST,OK', '$DRID,café µg']) AS content,
	at402_decode(text_line(content)) AS d;

SELECT n, e.state, e.message, coalesce(nullif(e.detail, ''), e.hint) AS detail_or_hint
FROM (VALUES
	(1, '{"kind": "login", "model": "a;b"}'::jsonb),
	(2, '{"kind": "login", "vin": "a\rb"}'),
	(3, '{"kind": "login", "settings_checksum": "a\n"}'),
	(4, '{"kind": "login", "model": "€"}'),
	(5, '{"kind": "login", "imei": 860873045366969}'),
	(6, '{"kind": "login", "reports": []}'),
	(7, jsonb_build_object('kind', 'login', 'model', repeat('m', 1024))),
	(8, '{"kind": "text"}'),
	(9, '{"kind": "text", "text": null}'),
	(10, '{"kind": "text", "text": 5}'),
	(11, '{"kind": "text", "text": "DIST,OK"}'),
	(12, '{"kind": "text", "text": ""}'),
	(13, '{"kind": "text", "text": "$DIST,OK\r$JSEC,OK"}'),
	(14, '{"kind": "text", "text": "$DIST,€"}'),
	(15, '{"kind": "text", "text": "$DIST,OK", "imei": "860873045366969"}'),
	(16, jsonb_build_object('kind', 'text', 'text', '$' || repeat('x', 1023)))) AS v (n, document),
	refused(document) AS e
ORDER BY n;
SELECT length(at402_encode(jsonb_build_object('kind', 'text', 'text', '$' || repeat('x', 1022)))
	::bytea) AS longest_line;

-- ---- NULL ----

SELECT at402_encode(NULL) IS NULL AS strict;

DROP SCHEMA regress_at402 CASCADE;
