-- The tables that reports are stored in.
--
-- They belong to the user, not to the extension, so that pg_dump, restore and
-- DROP EXTENSION treat them as any other table.  CREATE EXTENSION therefore
-- does not make them; a function does, and since they outlive every version of
-- the extension, the same function brings older ones up to date.
--
-- Their definition is data, in two lists that creating and migrating both
-- read: a column is spelled once.  A later version of at402 that needs another
-- column or table adds a line.

CREATE FUNCTION at402_internal.at402_data_tables()
RETURNS TABLE (table_name text, range_column text, keys text, options text, about text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	('device', NULL, 'PRIMARY KEY (id), UNIQUE (imei)', '',
	 'trackers: one row each, made by their first login or report'),
	-- every report may update its row: the free space keeps these updates HOT
	('device_state', NULL, 'PRIMARY KEY (device_id)', 'WITH (fillfactor = 70)',
	 'last report and last good position of each device; late reports never set it back'),
	('position', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash)', '',
	 'every report: one row each; its key makes a report that is sent again stored once'),
	('event', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, n)', '',
	 'what happened: reason flags of reports, and events derived from them'),
	('io', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, n)', '',
	 'what happened at inputs and outputs: lines that changed, driver IDs, probes, alcohol tests'),
	('motion', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, n)', '',
	 'driver behaviour: accelerations since the report before, idling since the start of the journey'),
	('can', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, n)', '',
	 'what the vehicle''s bus told (FMS, OBD, J1939, NMEA 2000, tyres, trailer, scooters)'),
	('can_frame', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, n)', '',
	 'single CAN frames as seen on the vehicle''s bus'),
	('ble', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, n)', '',
	 'Bluetooth beacons and sensors that were heard'),
	('module', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, n)', '',
	 'modules of reports that have no table of their own'),
	('frame', 'received_at', NULL, '',
	 'frames as received, for replay; setting at402.store_frames'),
	('quarantine', 'received_at', 'PRIMARY KEY (id, received_at)', '',
	 'what could not be stored, with the reason; at402_release() tries it again'),
	('geofence', NULL, 'PRIMARY KEY (id)', '',
	 'places that visits are kept of: polygons, and points and lines with radius_m'),
	('geofence_version', NULL, 'PRIMARY KEY (geofence_id, valid)', '',
	 'every shape that a geofence had, and when; kept by the triggers of geofence'),
	('geofence_visit', NULL, 'PRIMARY KEY (device_id, geofence_id, entered_at, seq, content_hash)', '',
	 'when each device was inside of which geofence; corrected when reports come late'),
	('geofence_pending', NULL, 'PRIMARY KEY (device_id, geofence_id, entered_at, seq, content_hash)', '',
	 'devices that are inside of a geofence, not for its min_dwell yet'),

	-- a trip that is under way is updated each minute
	('trip', NULL, 'PRIMARY KEY (device_id, started_at)', 'WITH (fillfactor = 80)',
	 'journeys of each device, derived from its reports by at402_maintain()'),
	('trip_due', NULL, 'PRIMARY KEY (id)', '',
	 'kept by triggers: which trips may have another vehicle, driver or geofence by now'),

	-- what you tell of your fleet
	('driver', NULL, 'PRIMARY KEY (id)', '', 'who drives'),
	('driver_key', NULL, 'PRIMARY KEY (id),
		FOREIGN KEY (driver_id) REFERENCES at402.driver ON DELETE CASCADE', '',
	 'keys and cards by which devices know drivers, and whose they were when'),
	('driver_device', NULL, 'PRIMARY KEY (driver_id, device_id),
		FOREIGN KEY (driver_id) REFERENCES at402.driver ON DELETE CASCADE', '',
	 'which devices a driver may use; a driver without any row: all'),
	('vehicle', NULL, 'PRIMARY KEY (id)', '', 'what the devices are built into'),
	-- (a range of one integer can be compared by && without another extension)
	('vehicle_device', NULL, 'PRIMARY KEY (vehicle_id, device_id, valid),
		FOREIGN KEY (vehicle_id) REFERENCES at402.vehicle ON DELETE CASCADE,
		CONSTRAINT vehicle_device_one_at_a_time EXCLUDE USING gist
			(int4range(device_id, device_id, ''[]'') WITH &&, valid WITH &&)', '',
	 'which device was in which vehicle, and when; a device is in one at a time'),
	('service', NULL, 'PRIMARY KEY (id),
		FOREIGN KEY (vehicle_id) REFERENCES at402.vehicle ON DELETE CASCADE', '',
	 'what is due for a vehicle every so many kilometres, hours or days; see service_due'),
	('device_group', NULL, 'PRIMARY KEY (id), UNIQUE (name)', '',
	 'groups of devices: depots, customers, tenants'),
	('device_group_member', NULL, 'PRIMARY KEY (group_id, device_id),
		FOREIGN KEY (group_id) REFERENCES at402.device_group ON DELETE CASCADE', '',
	 'which devices a group has; a device may be in several'),
	-- the constraint: one command a device is on its way
	('command', NULL,
	 'PRIMARY KEY (id), EXCLUDE USING btree (device_id WITH =) WHERE (state = ''sent'')', '',
	 'commands to devices, and what became of them'),
	('device_secret', NULL, 'PRIMARY KEY (device_id)', '',
	 'PINs of devices; row security shows them to the owner of the table only'),
	('rule', NULL, 'PRIMARY KEY (id), UNIQUE (name)', '',
	 'conditions in SQL that are looked at with each row stored, and raise alerts'),
	('rule_run', NULL, 'PRIMARY KEY (device_id, rule_id, part)', 'WITH (fillfactor = 70)',
	 'kept by at402: the devices that satisfy the condition of a rule now'),
	('alert', 'time', 'PRIMARY KEY (device_id, time, seq, content_hash, rule_id, n)', '',
	 'what the rules have raised, committed with the rows that raised it'),
	('outbox', NULL, 'PRIMARY KEY (id)', '',
	 'alerts to be delivered: a row for each channel of the rule; at402_outbox_take()')
$$;
COMMENT ON FUNCTION at402_internal.at402_data_tables() IS
'definition of the tables that at402_create_tables makes, in the order in which at402 locks them; range_column is NULL for those that are never partitioned';

CREATE FUNCTION at402_internal.at402_data_columns()
RETURNS TABLE (table_name text, column_name text, definition text, about text)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT unnest(string_to_array(v.tables, ' ')), v.column_name, v.definition, v.about
	FROM pg_extension AS e,
		format('%s.geometry(Point,4326)', e.extnamespace::regnamespace) AS point,
		format('%s.geometry(Geometry,4326) NOT NULL', e.extnamespace::regnamespace) AS shape,
		format('%s.geometry(LineStringM,4326)', e.extnamespace::regnamespace) AS path,
		LATERAL (VALUES
	-- device
	('device', 'id', 'int GENERATED BY DEFAULT AS IDENTITY',
	 'number of the device in all tables'),
	('device', 'imei', 'text NOT NULL', '15 digits'),
	('device', 'name', 'text', 'what you call it; not touched by at402'),
	('device', 'model', 'text', 'from the login line, as are firmware to protocol'),
	('device', 'firmware', 'text', 'version, as sent'),
	('device', 'hardware', 'text', 'revision, as sent'),
	('device', 'vin', 'text', 'vehicle identification number'),
	('device', 'protocol', 'text', 'letter of the packets it sends: X, Y, Z, K, M or V'),
	('device', 'imsi', 'text', 'of its SIM, from module sim_subscriber_id'),
	('device', 'iccid', 'text', 'of its SIM, from module sim_serial_number'),
	('device', 'enabled', 'bool NOT NULL DEFAULT true', 'false: its reports go to quarantine'),
	('device', 'first_seen', 'timestamptz NOT NULL DEFAULT now()', 'when its row was made'),
	('device', 'attributes', 'jsonb NOT NULL DEFAULT ''{}''', 'yours; not touched by at402'),
	('device', 'time_zone', 'text NOT NULL DEFAULT ''UTC''
		CHECK (timestamptz ''2000-01-01 00:00+00'' AT TIME ZONE time_zone IS NOT NULL)',
	 'zone that its days and hours are meant in, as Europe/London; not touched by at402'),
	('device', 'trip_by', 'text NOT NULL DEFAULT ''ignition''
		CHECK (trip_by IN (''ignition'', ''movement''))',
	 'what makes a trip: ignition or movement; not touched by at402'),
	('device', 'immobiliser_output', 'smallint',
	 'number of the output that is wired to an immobiliser; NULL: none is'),

	-- the report that a row is from
	('position event io motion can can_frame ble module', 'device_id', 'int NOT NULL',
	 'device.id'),
	('position event io motion can can_frame ble module', 'time', 'timestamptz NOT NULL',
	 'when the report was made, by the clock of the device'),
	('position event io motion can can_frame ble module', 'seq', 'smallint NOT NULL',
	 'sequence number of the report, 0 to 255; -1: there was no report'),
	('position event io motion can can_frame ble module', 'content_hash', 'int NOT NULL',
	 'CRC-32C of the report as sent, without the status bits stored and more_queued'),
	('event io motion can can_frame ble module', 'n', 'smallint NOT NULL',
	 'number of the row in this table among those of its report: 0, 1, ...'),

	-- position: columns of fixed width first, the wide ones leading, so that
	-- no byte goes to alignment; NULL takes no room
	('position', 'received_at', 'timestamptz NOT NULL', 'when the server received it'),
	('position', 'fix_time', 'timestamptz',
	 'time of the last good fix; old when gnss_valid is false; NULL: there was none yet'),
	('position', 'reasons', 'bigint NOT NULL', 'reason flags; names: at402_reason_names()'),
	('position', 'status', 'bigint NOT NULL', 'status flags; names: at402_status_names()'),
	('position', 'lifetime_odometer_km', 'int', 'km, counted by the device from GNSS'),
	('position', 'engine_hours', 'int', 'h, hours with ignition on'),
	('position', 'inputs', 'int', 'digital inputs; bit 0 is input 1'),
	('position', 'outputs', 'int', 'digital outputs; bit 0 is output 1'),
	('position', 'adc1_raw', 'int', 'analogue input 1 as sent; unit not published for X and Y'),
	('position', 'adc2_raw', 'int', 'analogue input 2 as sent; unit not published for X and Y'),
	('position', 'adc1_mv', 'int', 'mV; of K, M and V only'),
	('position', 'adc2_mv', 'int', 'mV; of M and V only'),
	('position', 'speed_kmh', 'smallint', 'km/h over ground'),
	('position', 'max_speed_kmh', 'smallint',
	 'km/h, highest since the report before; on journey_stop, of the journey'),
	('position', 'heading_deg', 'smallint', 'degrees clockwise from north'),
	('position', 'altitude_m', 'smallint', 'm; steps of 20, never negative'),
	('position', 'satellites', 'smallint', 'satellites used'),
	('position', 'satellites_in_view', 'smallint', 'satellites heard, used or not'),
	('position', 'position_error_m', 'smallint', 'm, estimated by the receiver'),
	('position', 'fix_availability_percent', 'smallint', '%'),
	('position', 'battery_percent', 'smallint', '%, battery of the device'),
	('position', 'gsm_signal_dbm', 'smallint', 'dBm'),
	('position', 'gnss_valid', 'bool',
	 'status flag gnss_invalid turned round; false without a place on earth'),
	('position', 'ignition', 'bool NOT NULL', 'status flag ignition'),
	('position', 'time_suspect', 'bool NOT NULL DEFAULT false',
	 'time is further in the future than the setting at402.future_limit, or before 2010'),
	('position', 'external_voltage_v', 'numeric', 'V, supply by the vehicle'),
	('position', 'journey_distance_km', 'numeric', 'km since the start of the journey'),
	('position', 'hdop', 'numeric', 'horizontal dilution of precision'),
	('position', 'geom', point,
	 'WGS 84; NULL: no GNSS module, out of range, or 0,0 without a fix'),

	('event', 'late', 'bool NOT NULL DEFAULT false',
	 'the report came after a younger one of its device'),
	('event', 'kind', 'text NOT NULL',
	 'name of the reason flag (at402_reason_names(-1)); or derived: ignition_on, ignition_off, online, offline, geofence_enter, geofence_exit, geofence_crossed'),
	('event', 'detail', 'jsonb', 'more about it, by kind; NULL for most'),
	('event', 'geom', point, 'position of the report'),

	('io', 'line', 'smallint', 'number of the input, output or probe, from 1'),
	('io', 'state', 'bool', 'new state of an input or output; result of a test'),
	('io', 'kind', 'text NOT NULL',
	 'input, output, driver_id, temperature, alcohol_test or trailer_id'),
	('io', 'value', 'numeric',
	 'of temperature in degrees Celsius, of alcohol_test in micrograms per litre of breath'),
	('io', 'text_value', 'text', 'driver_id: serial number in hex; trailer_id: its text'),
	('io', 'data', 'jsonb', 'values that have no column'),

	('motion', 'idle_time_s', 'int', 's at standstill with ignition on since the start of the journey: it grows, do not add it up'),
	('motion', 'accel_x_max_mss', 'numeric', 'm/s^2 since the report before, without sign, as all six; on journey_stop, of the journey'),
	('motion', 'accel_x_min_mss', 'numeric', 'm/s^2'),
	('motion', 'accel_y_max_mss', 'numeric', 'm/s^2'),
	('motion', 'accel_y_min_mss', 'numeric', 'm/s^2'),
	('motion', 'accel_z_max_mss', 'numeric', 'm/s^2'),
	('motion', 'accel_z_min_mss', 'numeric', 'm/s^2'),

	('can', 'working_states_mask', 'bigint', 'bits as sent; names unpublished'),
	('can', 'axle_weight_kg', 'int', 'kg on the axles'),
	('can', 'fms_status_mask', 'int', 'bits as sent; names unpublished'),
	('can', 'fms_events_mask', 'int', 'bits as sent; names unpublished'),
	('can', 'obd_status_mask', 'int', 'bits as sent; names unpublished'),
	('can', 'obd_events_mask', 'int', 'bits as sent; names unpublished'),
	('can', 'lifetime_odometer_km', 'int', 'km, by the vehicle'),
	('can', 'lifetime_hours', 'int', 'h, by the vehicle'),
	('can', 'cruise_control_time_s', 'int', 's'),
	('can', 'service_distance_km', 'int', 'km to the next service'),
	('can', 'mil_on_time_raw', 'int', 'with the malfunction lamp on; unit not published'),
	('can', 'mil_on_distance_raw', 'int', 'with the malfunction lamp on; unit not published'),
	('can', 'mil_on_distance_km', 'int', 'km with the malfunction lamp on; of V only'),
	('can', 'max_wheel_speed_kmh', 'smallint', 'km/h'),
	('can', 'average_wheel_speed_kmh', 'smallint', 'km/h'),
	('can', 'max_engine_rpm', 'smallint', '1/min'),
	('can', 'average_engine_rpm', 'smallint', '1/min'),
	('can', 'max_accelerator_percent', 'smallint', '%'),
	('can', 'average_accelerator_percent', 'smallint', '%'),
	('can', 'max_engine_load_percent', 'smallint', '%'),
	('can', 'average_engine_load_percent', 'smallint', '%'),
	('can', 'engine_temperature_c', 'smallint', 'degrees Celsius, coolant'),
	('can', 'fuel_level_raw', 'smallint', 'unit not published: % or 0.4 % a step'),
	('can', 'door_control_mask', 'smallint', 'bits as sent; names unpublished'),
	('can', 'fuel_level_percent', 'numeric', '%; of NMEA 2000'),
	('can', 'source', 'text NOT NULL', 'module that the row is from'),
	('can', 'journey_distance_km', 'numeric', 'km'),
	('can', 'journey_fuel_l', 'numeric', 'l'),
	('can', 'total_fuel_l', 'numeric', 'l, over the life of the vehicle'),
	('can', 'driver_1', 'text', 'driver card'),
	('can', 'driver_2', 'text', 'driver card'),
	('can', 'dtcs', 'text[]', 'diagnostic trouble codes'),
	('can', 'data', 'jsonb', 'values that have no column'),

	('can_frame', 'can_id', 'bigint NOT NULL', 'identifier on the bus, 11 or 29 bits'),
	('can_frame', 'age_s', 'smallint', 's since it was seen'),
	('can_frame', 'data', 'bytea NOT NULL', 'its bytes, in the order of the bus'),

	('ble', 'last_seen_s', 'int', 's since it was last heard'),
	('ble', 'height_cm', 'int', 'cm, of a height beacon'),
	('ble', 'light_raw', 'int', 'unit not published'),
	('ble', 'rssi_dbm', 'smallint', 'dBm'),
	('ble', 'sensor_index', 'smallint', 'slot of the sensor, 0 to 5'),
	('ble', 'meta_type', 'smallint', 'of a beacon''s extra bytes: 0 none, 1 height, else see meta'),
	('ble', 'companion', 'bool', 'paired with the device'),
	('ble', 'valid', 'bool', 'the sensor calls its reading valid'),
	('ble', 'mac', 'macaddr', 'address of the beacon; NULL: of a sensor, see sensor_index'),
	('ble', 'kind', 'text NOT NULL', 'beacon or sensor'),
	('ble', 'sensor_type', 'text', 'temperature, humidity or light'),
	('ble', 'temperature_c', 'numeric', 'degrees Celsius'),
	('ble', 'humidity_percent', 'numeric', '%'),
	('ble', 'meta', 'text', 'a beacon''s extra bytes of unpublished types, in hex'),
	('ble', 'data', 'jsonb', 'values that have no column'),

	('module', 'name', 'text NOT NULL', 'as in at402_fields()'),
	('module', 'data', 'jsonb NOT NULL', 'its values, as in at402_decode()'),

	('frame', 'received_at', 'timestamptz NOT NULL', 'when the server received it'),
	('frame', 'device_id', 'int', 'device.id; NULL: a text line of nobody, which only at402_ingest takes'),
	('frame', 'protocol', 'text', 'its letter; Z, which only a login tells, for such X packets'),
	('frame', 'transport', 'text', 'tcp, udp or sql'),
	('frame', 'peer', 'inet', 'address that it came from'),
	('frame', 'frame', '@extschema@.at402_frame NOT NULL',
	 'the bytes; at402_decode(frame) shows all that is in them'),

	('quarantine', 'id', 'bigserial', 'number, in the order of arrival'),
	('quarantine', 'received_at', 'timestamptz NOT NULL DEFAULT now()', 'when the server received it'),
	('quarantine', 'report_no', 'int',
	 'of the first report that was rejected, in the packet, from 0; NULL: all'),
	('quarantine', 'report_nos', 'smallint[]',
	 'of the reports that were rejected, in the packet, from 0; NULL: all'),
	('quarantine', 'logged_in', 'bool NOT NULL DEFAULT false',
	 'a login line came before it on its connection: its packets carry no IMEI'),
	('quarantine', 'imei', 'text', 'as sent'),
	('quarantine', 'protocol', 'text', 'letter of the login before it: reads Z packets right'),
	('quarantine', 'transport', 'text', 'tcp, udp or sql'),
	('quarantine', 'peer', 'inet', 'address that it came from'),
	('quarantine', 'reason', 'text NOT NULL',
	 'rejected, timeout, unknown_device, device_disabled, impossible_imei, other_imei, no_reports, undecodable, register_limit or unknown_sender'),
	('quarantine', 'sqlstate', 'text', 'of the error that kept report_no out'),
	('quarantine', 'message', 'text', 'of the error that kept report_no out'),
	('quarantine', 'bytes', 'bytea NOT NULL', 'the whole frame'),

	('command', 'id', 'bigint GENERATED BY DEFAULT AS IDENTITY', 'number of the command'),
	('command', 'device_id', 'int NOT NULL', 'device.id'),
	('command', 'command', 'text NOT NULL', 'as sent, without PIN and end of line'),
	('command', 'state', 'text NOT NULL DEFAULT ''queued'' CHECK (state = ANY (''{queued, sent, '
	 'answered, refused, expired, cancelled, in_doubt}''))',
	 'queued, sent, answered, refused (UN, ER or PR came), expired, cancelled, in_doubt (sent, '
	 'and nobody knows what became of it)'),
	('command', 'created_by', 'text NOT NULL DEFAULT current_user', 'role that queued it'),
	('command', 'created_at', 'timestamptz NOT NULL DEFAULT now()', 'when it was queued'),
	('command', 'expires_at', 'timestamptz NOT NULL DEFAULT now() + ''1 day''',
	 'not sent later than this'),
	('command', 'sent_at', 'timestamptz', 'when it was sent last'),
	('command', 'answered_at', 'timestamptz', 'when the answer was complete'),
	('command', 'answer', 'text', 'as received: a line for each command of the message, or more'),
	('command', 'detail', 'jsonb', 'fields of the answers to POSN and STAT'),
	('command', 'attempts', 'smallint NOT NULL DEFAULT 0',
	 'times that it was sent: once, and once more for each at402_command_retry()'),
	('command', 'listener', 'smallint', 'number of the worker that sent it'),

	('device_secret', 'device_id', 'int NOT NULL', 'device.id'),
	('device_secret', 'pin', 'text NOT NULL', 'sent before each command; shown nowhere'),

	-- device_state: the report that was made last ...
	('device_state', 'device_id', 'int NOT NULL', 'device.id'),
	('device_state', 'time', 'timestamptz', 'of the last report, as are seq to journey_distance_km'),
	('device_state', 'seq', 'smallint', 'sequence number of that report'),
	('device_state', 'content_hash', 'int', 'the rest of its key in at402.position'),
	('device_state', 'received_at', 'timestamptz', 'when the server received it'),
	('device_state', 'reasons', 'bigint', 'names: at402_reason_names()'),
	('device_state', 'status', 'bigint', 'names: at402_status_names()'),
	('device_state', 'ignition', 'bool', 'status flag ignition'),
	('device_state', 'battery_percent', 'smallint', '%, battery of the device'),
	('device_state', 'lifetime_odometer_km', 'int', 'km, counted by the device from GNSS'),
	('device_state', 'engine_hours', 'int', 'h, hours with ignition on'),
	('device_state', 'external_voltage_v', 'numeric', 'V, supply by the vehicle'),
	('device_state', 'journey_distance_km', 'numeric', 'km since the start of the journey'),
	-- (where it is added to rows that are there, all of their trips are due)
	('device_state', 'dirty_since', 'timestamptz DEFAULT ''-infinity''',
	 'trips that end after this time are due to be derived, as reports came; NULL: none came'),
	('device_state', 'trip_by', 'text', 'device.trip_by by which its trips were derived'),
	-- ... the report that had the last good position ...
	('device_state', 'position_time', 'timestamptz',
	 'of the last report with a good position, as are geom to altitude_m'),
	('device_state', 'position_seq', 'smallint', 'sequence number of that report'),
	('device_state', 'geom', point, 'WGS 84'),
	('device_state', 'speed_kmh', 'smallint', 'km/h over ground'),
	('device_state', 'heading_deg', 'smallint', 'degrees clockwise from north'),
	('device_state', 'altitude_m', 'smallint', 'm'),
	-- ... and the connection
	('device_state', 'connected', 'bool NOT NULL DEFAULT false', 'has a connection open'),
	('device_state', 'listener', 'int', 'number of the worker that holds the connection'),
	('device_state', 'last_seen', 'timestamptz', 'when it last connected or brought a new report'),

	('geofence', 'id', 'int GENERATED BY DEFAULT AS IDENTITY', 'number of the fence'),
	('geofence', 'name', 'text', 'what you call it; in the detail of its events'),
	('geofence', 'geom', shape, 'WGS 84; the boundary is inside; not across the antimeridian'),
	('geofence', 'radius_m', 'float8', 'm around geom that are inside too; points and lines need it'),
	('geofence', 'tags', 'text[] NOT NULL DEFAULT ''{}''', 'free, as attributes are'),
	('geofence', 'speed_limit_kmh', 'int', 'km/h, for rules; at402 does not use it'),
	('geofence', 'min_dwell', 'interval', 'a visit that is shorter is none, at most 10 years; NULL: every one is'),
	('geofence', 'hysteresis_m', 'float8',
	 'm around the fence in which a device stays what it was, inside or outside; NULL: none'),
	('geofence', 'enabled', 'bool NOT NULL DEFAULT true', 'false: reports are not judged by it'),
	('geofence', 'attributes', 'jsonb NOT NULL DEFAULT ''{}''', 'whatever else you know of it'),

	('geofence_version', 'geofence_id', 'int NOT NULL', 'geofence.id, also of a fence that is gone'),
	('geofence_version', 'valid', 'tstzrange NOT NULL',
	 'which times of reports are judged by it; the first shape of a fence: from -infinity'),
	('geofence_version', 'name', 'text', 'of the fence, as are geom to min_dwell'),
	('geofence_version', 'geom', shape, 'WGS 84'),
	('geofence_version', 'radius_m', 'float8 NOT NULL', 'm around geom that are inside too; 0: none'),
	('geofence_version', 'hysteresis_m', 'float8 NOT NULL',
	 'm around the fence in which a device stays what it was; 0: none'),
	('geofence_version', 'min_dwell', 'interval NOT NULL', 'a visit that is shorter is none'),
	('geofence_version', 'box', shape, 'envelope of all that is within radius_m and hysteresis_m'),

	('geofence_visit geofence_pending', 'device_id', 'int NOT NULL', 'device.id'),
	('geofence_visit geofence_pending', 'geofence_id', 'int NOT NULL', 'geofence.id'),
	('geofence_visit geofence_pending', 'entered_at', 'timestamptz NOT NULL',
	 'time of the first report inside, as are seq and content_hash'),
	('geofence_visit', 'left_at', 'timestamptz',
	 'time of the first report outside after it, or when the shape ended; NULL: still inside'),
	('geofence_visit geofence_pending', 'seq', 'smallint NOT NULL', 'of the first report inside'),
	('geofence_visit', 'left_seq', 'smallint',
	 'of the report outside, as is left_hash; NULL: there was none'),
	('geofence_visit geofence_pending', 'content_hash', 'int NOT NULL',
	 'of the first report inside'),
	('geofence_visit', 'left_hash', 'int', 'content_hash of the report outside'),

	('trip', 'device_id', 'int NOT NULL', 'device.id'),
	('trip', 'started_at', 'timestamptz NOT NULL',
	 'time of its first report: the first with ignition on, or the first that moves (device.trip_by)'),
	('trip', 'ended_at', 'timestamptz',
	 'time of the first report with ignition off, or of the first that stands; NULL: under way'),
	('trip', 'last_at', 'timestamptz NOT NULL', 'time of its last report so far'),
	('trip', 'start_geom', point, 'first valid fix'),
	('trip', 'end_geom', point, 'last valid fix; NULL: under way'),
	('trip', 'line', path, 'valid fixes without jumps, M: seconds since 1970; NULL: fewer than two'),
	('trip', 'distance_km', 'numeric', 'km on the WGS 84 spheroid along the line, without jumps'),
	('trip', 'odometer_km', 'numeric',
	 'km that the device counted: by journey_distance_km, else lifetime_odometer_km'),
	('trip', 'duration', 'interval NOT NULL', 'from start to end, under way: to the last report'),
	('trip', 'idle', 'interval NOT NULL', 'of that, between fixes at less than 5 km/h'),
	('trip', 'max_speed_kmh', 'int', 'km/h'),
	('trip', 'mean_speed_kmh', 'numeric', 'km/h, distance_km by duration'),
	('trip', 'fuel_l', 'numeric', 'l, by the vehicle: of its journey, else the growth of its total'),
	('trip', 'driver_id', 'int',
	 'driver.id of the first key shown during it, else of the last in the 10 minutes before'),
	('trip', 'vehicle_id', 'int', 'vehicle.id that the device was in when it began'),
	('trip', 'start_geofence', 'int', 'geofence.id that start_geom was in, the smallest'),
	('trip', 'end_geofence', 'int', 'geofence.id that end_geom was in, the smallest'),
	('trip', 'private', 'bool NOT NULL', 'a report of it had status private_mode'),
	('trip', 'rules_seen', 'bool NOT NULL DEFAULT false', 'rules of source trip have looked at it, after it ended'),

	('trip_due', 'id', 'int GENERATED BY DEFAULT AS IDENTITY', 'number of the row'),
	('trip_due', 'device_id', 'int', 'device.id that is in another vehicle now'),
	('trip_due', 'serial', 'text', 'or driver_key.serial that is another driver''s now'),
	('trip_due', 'box', replace(shape, ' NOT NULL', ''),
	 'or geofence_version.box of what is fenced otherwise now'),
	('trip_due', 'valid', 'tstzrange NOT NULL', 'for trips of this time'),

	('driver vehicle device_group', 'id', 'int GENERATED BY DEFAULT AS IDENTITY',
	 'number in the other tables'),
	('driver vehicle device_group', 'name', 'text NOT NULL', 'what you call it'),
	('vehicle', 'plate', 'text', 'registration number'),
	('driver vehicle device_group', 'attributes', 'jsonb NOT NULL DEFAULT ''{}''', 'free for you'),

	('driver_key', 'id', 'int GENERATED BY DEFAULT AS IDENTITY', 'number of the row'),
	('driver_key driver_device', 'driver_id', 'int NOT NULL', 'driver.id'),
	('vehicle_device', 'vehicle_id', 'int NOT NULL', 'vehicle.id'),
	('device_group_member', 'group_id', 'int NOT NULL', 'device_group.id'),
	('driver_device vehicle_device device_group_member', 'device_id', 'int NOT NULL', 'device.id'),
	('driver_key', 'family', 'text', 'hex, kind of the key as the device shows it; NULL: any'),
	('driver_key', 'serial', 'text NOT NULL CHECK (ltrim(serial, ''0'') <> '''')',
	 'hex, as io.text_value; case and leading zeros do not matter'),
	('driver_key vehicle_device', 'valid', 'tstzrange NOT NULL DEFAULT ''(,)'' CHECK (NOT isempty(valid))',
	 'when it was so; from the start, up to and without the end'),
	('vehicle_device', 'odometer_offset_km', 'numeric NOT NULL DEFAULT 0',
	 'km to add to what the device counted to get the odometer of the vehicle'),
	('vehicle_device', 'engine_hours_offset', 'numeric NOT NULL DEFAULT 0',
	 'h to add to what the device counted to get the engine hours of the vehicle'),

	('service', 'id', 'int GENERATED BY DEFAULT AS IDENTITY', 'number of the row'),
	('service', 'vehicle_id', 'int NOT NULL', 'vehicle.id'),
	('service', 'name', 'text NOT NULL', 'what is to be done'),
	('service', 'every_km', 'numeric CHECK (every_km > 0)', 'km; NULL: not by distance'),
	('service', 'every_engine_hours', 'numeric CHECK (every_engine_hours > 0)', 'h; NULL: not by hours'),
	('service', 'every', 'interval CHECK (every > ''0'')', 'NULL: not by date'),
	('service', 'done_km', 'numeric NOT NULL DEFAULT 0', 'km, odometer of the vehicle when it was done last'),
	('service', 'done_engine_hours', 'numeric NOT NULL DEFAULT 0',
	 'h, engine hours of the vehicle when it was done last'),
	('service', 'done_on', 'date NOT NULL DEFAULT CURRENT_DATE', 'when it was done last'),
	('rule', 'id', 'int GENERATED BY DEFAULT AS IDENTITY', 'number of the rule'),
	('rule', 'name', 'text NOT NULL CHECK (name <> '''')', 'what you call it'),
	('rule', 'source', 'text NOT NULL',
	 'the table whose rows it looks at: position, event, io, can, ble, motion or trip; state: the clock looks at device_state'),
	('rule', 'condition', 'text NOT NULL',
	 'SQL expression over r (row of source), p (its position), d (device), b (the row before)'),
	('rule', 'min_duration', 'interval',
	 'so long, by the clocks of the reports, the condition has to hold, at most 10 years; position, can, ble and state'),
	('rule', 'cooldown', 'interval', 'so long after an alert a device raises no other, at most 10 years'),
	('rule', 'level', 'text NOT NULL CHECK (level IN (''info'', ''warning'', ''critical''))',
	 'info, warning or critical'),
	('rule', 'message', 'text',
	 'of the alerts; {column} and {d.column} stand for values of the row; NULL: the name'),
	('rule', 'channels', 'text[] NOT NULL DEFAULT ''{}''',
	 'each alert makes a row in at402.outbox for each of them'),
	('rule', 'enabled', 'bool NOT NULL DEFAULT true', 'false: it is not looked at'),
	('rule', 'owner', 'name NOT NULL',
	 'whoever wrote it last, and with whose rights it runs; set by at402'),
	('rule', 'failures', 'int NOT NULL DEFAULT 0',
	 'batches that it lost by an error, since it was enabled; at 10 it is switched off'),
	('rule', 'last_error', 'text', 'the error of the last failure'),
	('rule', 'attributes', 'jsonb NOT NULL DEFAULT ''{}''', 'free for the user'),
	('rule', 'checked_condition', 'text',
	 'condition as it is evaluated: all names qualified; set by at402, as are checked_message to version'),
	('rule', 'checked_message', 'text', 'message as an SQL expression; NULL: it is constant'),
	('rule', 'uses', 'text[]', 'what it uses of p, d and b'),
	('rule', 'version', 'int NOT NULL DEFAULT 0', 'counts the changes of what it looks at'),

	('rule_run', 'device_id', 'int NOT NULL', 'device.id'),
	('rule_run', 'rule_id', 'int NOT NULL', 'rule.id'),
	('rule_run', 'part', 'text NOT NULL', 'can: source; ble: beacon or sensor; else empty'),
	('rule_run', 'version', 'int NOT NULL', 'rule.version that it was judged by'),
	('rule_run', 'since', 'timestamptz NOT NULL', 'time of the first row that satisfied the condition'),
	('rule_run', 'decided', 'bool NOT NULL', 'min_duration was reached, and an alert was raised or not'),
	('rule_run', 'alert_time', 'timestamptz', 'key of the alert that it raised, with seq, content_hash and n'),
	('rule_run', 'alert_seq', 'smallint', 'of the alert'),
	('rule_run', 'alert_content_hash', 'int', 'of the alert'),
	('rule_run', 'alert_n', 'smallint', 'of the alert'),

	('alert', 'device_id', 'int NOT NULL', 'device.id'),
	('alert', 'time', 'timestamptz NOT NULL',
	 'of the row that raised it, by the clock of the device; source state: of the server'),
	('alert', 'seq', 'smallint NOT NULL', 'of the report that raised it; -1: there was no report'),
	('alert', 'content_hash', 'int NOT NULL', 'of the report that raised it; 0: there was no report'),
	('alert', 'rule_id', 'int NOT NULL', 'rule.id'),
	('alert', 'n', 'smallint NOT NULL DEFAULT 0',
	 'of the row that raised it, among the rows of its report; 0 where there is one'),
	('alert', 'rule_name', 'text NOT NULL', 'rule.name when it was raised'),
	('alert', 'part', 'text NOT NULL DEFAULT ''''',
	 'can: source; ble: beacon or sensor; trip: its start; else empty'),
	('alert', 'raised_at', 'timestamptz NOT NULL DEFAULT now()', 'when the server raised it'),
	('alert', 'ended_at', 'timestamptz',
	 'time of the first row after it that does not satisfy the condition, or when its rule was found switched off or deleted; NULL: none came'),
	('alert', 'level', 'text NOT NULL', 'info, warning or critical'),
	('alert', 'message', 'text NOT NULL', 'rule.message with the values of the row'),
	('alert', 'geom', point, 'position of the report; state: the last position of the device'),
	('alert', 'detail', 'jsonb', 'since: when the condition began to hold'),
	('alert', 'acknowledged_by', 'name', 'set by at402_acknowledge()'),
	('alert', 'acknowledged_at', 'timestamptz', 'set by at402_acknowledge()'),

	('outbox', 'id', 'bigint GENERATED BY DEFAULT AS IDENTITY', 'number of the delivery'),
	('outbox', 'channel', 'text NOT NULL', 'one of rule.channels'),
	('outbox', 'payload', 'jsonb NOT NULL', 'the alert, ready to be sent'),
	('outbox', 'state', 'text NOT NULL DEFAULT ''queued''', 'queued, leased, done or dead'),
	('outbox', 'attempts', 'int NOT NULL DEFAULT 0', 'how often it was taken'),
	('outbox', 'next_try', 'timestamptz NOT NULL DEFAULT now()',
	 'when it is to be had, or to be had again'),
	('outbox', 'created_at', 'timestamptz NOT NULL DEFAULT now()', 'when the alert was raised'),
	('outbox', 'done_at', 'timestamptz', 'when it was delivered'),
	('outbox', 'last_error', 'text', 'of the delivery')
		) AS v (tables, column_name, definition, about)
	WHERE e.extname = 'postgis'
$$;
COMMENT ON FUNCTION at402_internal.at402_data_columns() IS
'definition of the columns of the tables that at402_create_tables makes, in their order; about becomes the comment of the column';

CREATE FUNCTION at402_internal.at402_data_indexes()
RETURNS TABLE (table_name text, index_name text, definition text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	-- a map's window, and some minutes of all devices
	('position', 'position_geom_idx', 'USING gist (geom)'),
	('position', 'position_time_idx', 'USING brin (time) WITH (autosummarize = on)'),
	('event', 'event_kind_time_idx', '(kind, time)'),
	-- (for a frame of a device its hour is read: an entry for each would take half as much room again)
	('frame', 'frame_received_at_idx', 'USING brin (received_at) WITH (autosummarize = on)'),
	('geofence', 'geofence_geom_idx', 'USING gist (geom)'),
	('geofence_version', 'geofence_version_box_idx', 'USING gist (box)'),
	('geofence_version', 'geofence_version_upper_idx', '(upper(valid))'),
	('geofence_visit', 'geofence_visit_device_id_left_at_idx', '(device_id, left_at)'),
	('geofence_visit', 'geofence_visit_geofence_id_left_at_idx', '(geofence_id, left_at)'),
	('trip', 'trip_started_at_idx', '(started_at)'),
	-- trips that a geofence, or a key, concerns
	('trip', 'trip_start_geom_idx', 'USING gist (start_geom)'),
	('trip', 'trip_end_geom_idx', 'USING gist (end_geom)'),
	('io', 'io_driver_id_idx', '(ltrim(upper(text_value), ''0''), time) WHERE kind = ''driver_id'''),
	-- for input_period, online_period and at402_fleet_at
	('io', 'io_input_idx', '(device_id, line, time) WHERE kind = ''input'''),
	('event', 'event_online_idx', '(device_id, time) WHERE kind = ''online'' OR kind = ''offline'''),
	-- what few reports tell: these are answered without the rows
	('position', 'position_counter_idx', '(device_id, time) INCLUDE (lifetime_odometer_km, engine_hours)
		WHERE lifetime_odometer_km IS NOT NULL OR engine_hours IS NOT NULL'),
	('trip', 'trip_unseen_idx', '(device_id, ended_at) WHERE ended_at IS NOT NULL AND NOT rules_seen'),
	('driver_key', 'driver_key_serial_idx', '(ltrim(upper(serial), ''0''))'),
	('driver_device', 'driver_device_device_id_idx', '(device_id)'),
	('vehicle_device', 'vehicle_device_device_id_idx', '(device_id)'),
	('device_group_member', 'device_group_member_device_id_idx', '(device_id)'),
	('command', 'command_device_id_id_idx', '(device_id, id) WHERE state = ''queued'''),
	('alert', 'alert_time_idx', '(time)'),
	('alert', 'alert_rule_id_time_idx', '(rule_id, time)'),
	('outbox', 'outbox_channel_next_try_idx',
	 '(channel, next_try) WHERE state IN (''queued'', ''leased'')')
$$;
COMMENT ON FUNCTION at402_internal.at402_data_indexes() IS
'definition of the indexes that at402_create_tables makes beside the keys; definition is what follows the name of the table in CREATE INDEX';

-- Gives a table of an older version the key that it lacks.  Where rows are
-- there twice, which no older version refused, it says so and goes on without.
CREATE FUNCTION at402_internal.at402_add_key(table_name text, keys text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name		text := format('at402.%I', table_name);
	detail		text;
	member		regclass;
BEGIN
	EXECUTE format('ALTER TABLE %s ADD %s', name, keys);
	-- what it had in its place
	EXECUTE format('DROP INDEX IF EXISTS at402.%I', table_name || '_device_id_time_idx');
	FOR member IN
		SELECT c.oid FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
		WHERE name::regclass IN (c.oid, i.inhparent) AND c.relreplident = 'f'
	LOOP
		EXECUTE format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', member);
	END LOOP;
EXCEPTION WHEN unique_violation THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE WARNING '% has rows that are there twice: it stays without a primary key', name
		USING DETAIL = detail,
			HINT = 'Delete one of each, and call at402_create_tables() again.';
END
$$;
COMMENT ON FUNCTION at402_internal.at402_add_key(text, text) IS
'part of at402_create_tables: gives a table that has none a primary key; a warning where rows are there twice';

-- Only registry tables have triggers of ours, never those that reports go to.
CREATE FUNCTION at402_internal.at402_data_triggers()
RETURNS TABLE (table_name text, trigger_name text, definition text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH statement (op, tables) AS (
		VALUES ('INSERT', 'NEW TABLE AS new_rows'),
			('UPDATE', 'OLD TABLE AS old_rows NEW TABLE AS new_rows'),
			('DELETE', 'OLD TABLE AS old_rows'),
			('TRUNCATE', NULL)
	)
	SELECT 'geofence', 'at402_' || lower(op) || '_version',
		format('AFTER %s ON %%s %s FOR EACH STATEMENT EXECUTE FUNCTION at402_internal.at402_geofence_version()',
			   op, 'REFERENCING ' || tables)
	FROM statement
	UNION ALL
	SELECT t.name, 'at402_' || lower(op) || '_trips',
		format('%s %s ON %%s %s FOR EACH STATEMENT EXECUTE FUNCTION at402_internal.at402_trip_due()',
			   CASE op WHEN 'TRUNCATE' THEN 'BEFORE' ELSE 'AFTER' END, op, 'REFERENCING ' || tables)
	FROM statement, unnest('{vehicle_device, driver_key, geofence_version}'::text[]) AS t (name)
	UNION ALL VALUES
	('geofence_version', 'at402_changed',
	 'AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s FOR EACH STATEMENT
	  EXECUTE FUNCTION at402_internal.at402_geofence_version_changed()'),
	('command', 'at402_check',
	 'BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION at402_internal.at402_command_check()'),
	('command', 'at402_wake',
	 'AFTER INSERT OR UPDATE ON %s FOR EACH ROW WHEN (NEW.state = ''queued'') '
	 'EXECUTE FUNCTION at402_internal.at402_command_wake()'),
	('device_secret', 'at402_check',
	 'BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION at402_internal.at402_secret_check()'),
	('rule', 'at402_rule_check',
	 'BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION at402_internal.at402_rule_check()'),
	('rule', 'at402_rule_truncate',
	 'AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION at402_internal.at402_rule_check()')
$$;
COMMENT ON FUNCTION at402_internal.at402_data_triggers() IS
'definition of the triggers that at402_create_tables makes; in definition, what follows CREATE TRIGGER name, and %s stands for the table';

-- Columns that came later.  Between ALTER EXTENSION UPDATE and
-- at402_create_tables() they are missing, and storing goes on without them; any
-- other column that is missing was dropped, and storing waits for it.
CREATE FUNCTION at402_internal.at402_later_columns()
RETURNS TABLE (table_name text, column_name text)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	VALUES
	('quarantine', 'report_nos'),
	('device', 'time_zone'),
	('device', 'trip_by'),
	('device', 'immobiliser_output'),
	('can', 'mil_on_distance_km'),
	('can', 'fuel_level_percent'),
	('ble', 'sensor_type'),
	('device_state', 'dirty_since'),
	('device_state', 'trip_by'),
	('device_state', 'engine_hours')
$$;
COMMENT ON FUNCTION at402_internal.at402_later_columns() IS
'columns that the tables of the first version do not have: at402 stores without them until at402_create_tables() has added them';

-- Triggers, defaults and rules run with the rights of whoever stores, so a table
-- that somebody else has made is not taken for ours.
CREATE FUNCTION at402_internal.at402_refuse_foreign(owner regrole) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	o			record;
BEGIN
	SELECT f.* INTO o FROM (
		SELECT 'SCHEMA' AS kind, nspname::text AS name, nspowner::regrole AS belongs_to
		FROM pg_namespace WHERE nspname = 'at402'
		UNION ALL
		SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.oid::regclass::text,
			c.relowner::regrole
		FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
			JOIN pg_class AS top ON top.oid = coalesce(i.inhparent, c.oid)
		WHERE c.relkind NOT IN ('i', 'I', 't') AND top.relnamespace = 'at402'::regnamespace
			AND top.relname IN (SELECT table_name FROM at402_internal.at402_data_tables()
								UNION ALL SELECT view_name FROM at402_internal.at402_data_views())
			) AS f JOIN pg_roles AS r ON r.oid = f.belongs_to
	WHERE f.belongs_to NOT IN (current_user::regrole, coalesce(owner, current_user::regrole))
		AND NOT r.rolsuper
	ORDER BY f.kind <> 'SCHEMA', f.name
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '% % belongs to %', lower(o.kind), o.name, o.belongs_to
			USING ERRCODE = 'insufficient_privilege',
				DETAIL = format('It would have to belong to %s. What its owner has put there, as triggers, would run with the rights of whoever stores.',
								coalesce(owner, current_user::regrole)),
				HINT = format('Look at it, and ALTER %s %s OWNER TO %s; or rename it.', o.kind, o.name,
							  coalesce(owner, current_user::regrole));
	END IF;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_refuse_foreign(regrole) IS
'part of at402_create_tables: 42501 where schema at402, or a table or view in it, belongs neither to the caller, nor to owner, nor to a superuser';

-- For functions that read the tables: where there are none, what to do.
CREATE FUNCTION at402_internal.at402_need_table(table_name text) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regclass(format('at402.%I', table_name)) IS NULL THEN
		RAISE EXCEPTION 'relation "at402.%" does not exist', table_name
			USING ERRCODE = 'undefined_table', HINT = 'SELECT at402_create_tables();';
	END IF;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_need_table(text) IS
'part of functions that read the tables: 42P01, with the statement that makes it, where schema at402 has no such table';

-- Makes schema at402 with its tables, or adds the tables, columns, indexes and
-- comments that are missing.  What is there stays as it is; where nothing is
-- missing, no table is locked.
--
-- partitioned => false makes plain tables, for extensions that partition in
-- their own way.  indexes: of those in at402_data_indexes() only these; NULL:
-- all.  42809: a relation that is there is of another kind.  42704: there is
-- no index of that name.  42501: something of it belongs to somebody else.
CREATE FUNCTION at402_create_tables(partitioned bool DEFAULT true, indexes text[] DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	role_setting text;
	owner		regrole;
	wanted		text;
	columns		text;
	filled		bool;
	identity	text;
	default_name text;
	t			record;
	o			record;
BEGIN
	PERFORM @extschema@.at402_version();	-- loads the library, which declares the settings
	SELECT string_agg(quote_ident(i.name), ', ') AS unknown INTO o FROM unnest(indexes) AS i(name)
	WHERE i.name NOT IN (SELECT index_name FROM at402_internal.at402_data_indexes());
	IF o.unknown IS NOT NULL THEN
		RAISE EXCEPTION 'at402 makes no index %', o.unknown
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT * FROM at402_internal.at402_data_indexes(); lists them.';
	END IF;
	role_setting := current_setting('at402.role', true);
	SELECT oid INTO owner FROM pg_roles
	WHERE rolname = role_setting AND pg_has_role(oid, 'MEMBER');
	IF owner IS NULL AND role_setting <> '' THEN
		RAISE NOTICE 'new tables will belong to "%"', current_user
			USING DETAIL = format('at402.role is "%s": no such role, or "%s" is no member of it.',
								  role_setting, current_user),
				HINT = 'Create the role or become a member, and call at402_create_tables() again.';
	END IF;

	IF to_regnamespace('at402') IS NULL THEN
		CREATE SCHEMA at402;
		COMMENT ON SCHEMA at402 IS 'what AT402 vehicle trackers reported';
	ELSE
		PERFORM at402_internal.at402_refuse_foreign(owner);
	END IF;

	FOR t IN
		SELECT d.*, format('at402.%I', d.table_name) AS name, c.oid AS found,
			partitioned AND d.range_column IS NOT NULL AS ranged,
			CASE c.relkind
				WHEN 'r' THEN 'plain table'
				WHEN 'p' THEN 'table partitioned by ' || pg_get_partkeydef(c.oid)
				WHEN 'v' THEN 'view'
				ELSE 'relation of kind ' || c.relkind::text END AS kind
		FROM at402_internal.at402_data_tables() AS d
			LEFT JOIN pg_class AS c
				ON c.relname = d.table_name AND c.relnamespace = 'at402'::regnamespace
	LOOP
		wanted := CASE WHEN t.ranged
			THEN format('table partitioned by RANGE (%I)', t.range_column) ELSE 'plain table' END;
		IF t.kind <> wanted THEN
			RAISE EXCEPTION '% is a %', t.name, t.kind
				USING ERRCODE = 'wrong_object_type',
					DETAIL = format('at402_create_tables(partitioned => %s) needs a %s there.',
									partitioned::text, wanted),
					HINT = CASE WHEN t.range_column IS NOT NULL AND t.kind LIKE '%table%'
						THEN format('Call at402_create_tables(partitioned => %s), or rename it.',
									(NOT partitioned)::text)
						ELSE 'Rename it, or move it to another schema.' END;
		END IF;

		SELECT string_agg(format('%s%I %s', CASE WHEN t.found IS NOT NULL THEN 'ADD ' END,
								 d.column_name, d.definition), ', ' ORDER BY d.ordinality)
		INTO columns
		FROM at402_internal.at402_data_columns() WITH ORDINALITY AS d
		WHERE d.table_name = t.table_name
			AND NOT EXISTS (SELECT FROM pg_attribute AS a
							WHERE a.attrelid = t.found AND a.attname = d.column_name);
		-- a table without a key refuses DELETE, hence retention, once it is published
		identity := CASE WHEN t.keys IS NULL THEN 'FULL' ELSE 'DEFAULT' END;
		IF t.found IS NULL THEN
			EXECUTE format('CREATE TABLE %s (%s) %s %s', t.name, concat_ws(', ', columns, t.keys),
						   CASE WHEN t.ranged
						   THEN format('PARTITION BY RANGE (%I)', t.range_column) END, t.options);
			EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', t.name, identity);
			IF t.table_name = 'device_secret' THEN
				-- GRANT SELECT ON ALL TABLES must not show it: without a policy it has no rows
				EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t.name);
			END IF;
		ELSE
			IF columns IS NOT NULL THEN
				-- rows that are there have nothing for such a column
				EXECUTE format('SELECT EXISTS (SELECT FROM %s)', t.name) INTO filled;
				EXECUTE format('ALTER TABLE %s %s', t.name, CASE WHEN filled
					THEN regexp_replace(columns, ' NOT NULL(?=, |$)', '', 'g') ELSE columns END);
			END IF;
			IF t.keys IS NOT NULL AND NOT EXISTS (
				SELECT FROM pg_index WHERE indrelid = t.found AND indisprimary) THEN
				PERFORM at402_internal.at402_add_key(t.table_name,
												  substring(t.keys FROM 'PRIMARY KEY \([^)]*\)'));
			END IF;
		END IF;

		FOR o IN
			SELECT d.index_name, d.definition FROM at402_internal.at402_data_indexes() AS d
			WHERE d.table_name = t.table_name
				AND (indexes IS NULL OR d.index_name = ANY (indexes))
				AND to_regclass(format('at402.%I', d.index_name)) IS NULL
		LOOP
			EXECUTE format('CREATE INDEX %I ON %s %s', o.index_name, t.name, o.definition);
		END LOOP;

		IF t.ranged AND NOT EXISTS (SELECT FROM pg_partitioned_table
									WHERE partrelid = t.name::regclass AND partdefid <> 0) THEN
			default_name := format('at402.%I', t.table_name || '_default');
			EXECUTE format('CREATE TABLE %s PARTITION OF %s DEFAULT', default_name, t.name);
			EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', default_name, identity);
			EXECUTE format('COMMENT ON TABLE %s IS %L', default_name,
						   'rows whose time no other partition covers: late, or of a wrong clock');
			LOOP
				PERFORM FROM at402_internal.at402_maintain_table_as_caller(t.table_name);
				EXIT WHEN NOT FOUND;
			END LOOP;
		END IF;
	END LOOP;

	FOR o IN SELECT v.view_name, v.query FROM at402_internal.at402_data_views() AS v LOOP
		EXECUTE format('CREATE OR REPLACE VIEW at402.%I WITH (security_invoker = true) AS %s',
					   o.view_name, o.query);
	END LOOP;
	FOR o IN
		SELECT f.signature, f.definition, f.about FROM at402_internal.at402_data_functions() AS f
		WHERE to_regprocedure('at402.' || f.signature) IS NULL
	LOOP
		EXECUTE o.definition;
		EXECUTE format('COMMENT ON FUNCTION at402.%s IS %L', o.signature, o.about);
		EXECUTE format('ALTER FUNCTION at402.%s OWNER TO %s', o.signature,
					   coalesce(owner::text, 'CURRENT_USER'));
	END LOOP;
	FOR o IN
		SELECT g.table_name, g.trigger_name, format(g.definition, format('at402.%I', g.table_name)) AS definition
		FROM at402_internal.at402_data_triggers() AS g
		WHERE NOT EXISTS (SELECT FROM pg_trigger AS old
			WHERE old.tgrelid = to_regclass(format('at402.%I', g.table_name))
				AND old.tgname = g.trigger_name)
	LOOP
		EXECUTE format('CREATE TRIGGER %I %s', o.trigger_name, o.definition);
	END LOOP;

	FOR o IN
		SELECT format('TABLE at402.%I', d.table_name) AS object, d.about
		FROM at402_internal.at402_data_tables() AS d
		WHERE obj_description(to_regclass(format('at402.%I', d.table_name)), 'pg_class') IS NULL
		UNION ALL
		SELECT format('COLUMN at402.%I.%I', d.table_name, d.column_name), d.about
		FROM at402_internal.at402_data_columns() AS d
			JOIN pg_attribute AS a ON a.attrelid = to_regclass(format('at402.%I', d.table_name))
				AND a.attname = d.column_name
		WHERE d.about IS NOT NULL AND col_description(a.attrelid, a.attnum) IS NULL
		UNION ALL
		SELECT format('VIEW at402.%I', v.view_name), v.about FROM at402_internal.at402_data_views() AS v
		UNION ALL
		SELECT format('COLUMN at402.%I.%I', v.view_name, v.column_name), v.about
		FROM at402_internal.at402_data_view_columns() AS v
		UNION ALL
		SELECT format('COLUMN at402.%I.%I', v.view_name, d.column_name), min(d.about)
		FROM at402_internal.at402_data_views() AS v
			JOIN pg_attribute AS a ON a.attrelid = format('at402.%I', v.view_name)::regclass
			JOIN pg_rewrite AS w ON w.ev_class = a.attrelid
			JOIN pg_depend AS u ON u.objid = w.oid AND u.classid = 'pg_rewrite'::regclass
				AND u.refclassid = 'pg_class'::regclass
			JOIN pg_attribute AS b ON b.attrelid = u.refobjid AND b.attnum = u.refobjsubid
			JOIN at402_internal.at402_data_columns() AS d ON d.column_name = b.attname
				AND format('at402.%I', d.table_name)::regclass = b.attrelid
		WHERE a.attname = d.column_name
		GROUP BY v.view_name, d.column_name
	LOOP
		EXECUTE format('COMMENT ON %s IS %L', o.object, o.about);
	END LOOP;

	IF owner IS NOT NULL THEN
		FOR o IN
			SELECT format('ALTER SCHEMA at402 OWNER TO %s', owner) AS command
			FROM pg_namespace
			WHERE nspname = 'at402' AND nspowner <> owner AND pg_has_role(nspowner, 'USAGE')
			UNION ALL
			SELECT format('ALTER TABLE %s OWNER TO %s', c.oid::regclass, owner)
			FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
				JOIN pg_class AS top ON top.oid = coalesce(i.inhparent, c.oid)
			WHERE c.relowner <> owner AND c.relkind IN ('r', 'p', 'v')
				AND top.relnamespace = 'at402'::regnamespace
				AND top.relname IN (SELECT table_name FROM at402_internal.at402_data_tables()
									UNION ALL SELECT view_name FROM at402_internal.at402_data_views())
			UNION ALL
			-- the types and functions that it will need
			SELECT format('GRANT USAGE ON SCHEMA %s TO %s', s.oid::regnamespace, owner)
			FROM pg_namespace AS s
			WHERE (s.nspname = 'at402_internal'
					OR s.oid IN (SELECT extnamespace FROM pg_extension WHERE extname IN ('at402', 'postgis')))
				AND NOT has_schema_privilege(owner, s.oid, 'USAGE')
		LOOP
			EXECUTE o.command;
		END LOOP;
	END IF;
END
$$;
COMMENT ON FUNCTION at402_create_tables(bool, text[]) IS
'makes schema at402 and its tables, or adds what an older version of at402 did not have; partitioned => false: plain tables; indexes: only these of at402_internal.at402_data_indexes(), NULL: all; they belong to the role in at402.role if the caller may act for it, else to the caller';
