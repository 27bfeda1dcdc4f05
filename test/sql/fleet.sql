-- What you tell of your fleet: drivers and their keys, vehicles and their devices, groups.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS at402 CASCADE;
DROP SCHEMA IF EXISTS at402 CASCADE;
SELECT at402_create_tables();
SET timezone = 'UTC';
SET datestyle = 'ISO';

-- ---- the tables ----

INSERT INTO at402.device (id, imei, first_seen) VALUES
	(1, '490154203237518', '2026-01-01 00:00+00'), (2, '352099001761481', '2026-01-01 00:00+00');
SELECT id, time_zone, trip_by FROM at402.device ORDER BY id;
UPDATE at402.device SET time_zone = 'Europe/London', trip_by = 'movement' WHERE id = 2;
UPDATE at402.device SET time_zone = 'Europe/Lundon' WHERE id = 2;
UPDATE at402.device SET trip_by = 'guess' WHERE id = 2;

-- names are enough; the rest has defaults
INSERT INTO at402.driver (name) VALUES ('Ada'), ('Bob') RETURNING id, name, attributes;
INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, '00EB8902C44269DA1C')
	RETURNING id, driver_id, family, serial, valid;
INSERT INTO at402.driver_key (driver_id, serial) VALUES (1, '0000');
INSERT INTO at402.driver_key (driver_id, serial) VALUES (3, 'A1');
INSERT INTO at402.driver_key (driver_id, serial, valid) VALUES (2, 'A1', 'empty');
INSERT INTO at402.driver_device VALUES (1, 2);
INSERT INTO at402.vehicle (name, plate) VALUES ('van', 'AB12 CDE'), ('car', NULL)
	RETURNING id, name, plate, attributes;
INSERT INTO at402.device_group (name) VALUES ('north') RETURNING id, name, attributes;
INSERT INTO at402.device_group (name) VALUES ('north');
INSERT INTO at402.device_group_member VALUES (1, 1), (1, 2);

-- a device is in one vehicle at a time, a vehicle may have several
INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid, odometer_offset_km) VALUES
	(1, 1, '(,2026-03-01 12:00+00)', 1000), (2, 1, '[2026-03-01 12:00+00,)', 0), (1, 2, '(,)', 2.5);
INSERT INTO at402.vehicle_device (vehicle_id, device_id, valid)
	VALUES (2, 1, '[2026-02-28 12:00+00,2026-03-01 12:00+00)');
SELECT vehicle_id, device_id, valid, odometer_offset_km FROM at402.vehicle_device ORDER BY 2, 3;

-- what hangs on a row goes with it
DELETE FROM at402.driver WHERE id = 1;
DELETE FROM at402.vehicle WHERE id = 1;
DELETE FROM at402.device_group;
SELECT (SELECT count(*) FROM at402.driver_key) AS keys,
	(SELECT count(*) FROM at402.driver_device) AS allowed,
	(SELECT count(*) FROM at402.vehicle_device) AS built_in,
	(SELECT count(*) FROM at402.device_group_member) AS members;

DROP SCHEMA at402 CASCADE;
