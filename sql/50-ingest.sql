-- Storing.  at402_ingest is the one way into the tables; the at402_batch_*
-- functions are its sources: they read the batch that the calling backend is
-- storing, and are of no use outside.

CREATE FUNCTION at402_batch_position(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, received_at timestamptz,
    fix_time timestamptz, reasons bigint, status bigint, lifetime_odometer_km int,
    engine_hours int, inputs int, inputs_outputs int, adc1_raw int, adc2_raw int, adc1_mv int,
    adc2_mv int, speed_kmh smallint, max_speed_kmh smallint, heading_deg smallint,
    altitude_m smallint, satellites smallint, satellites_in_view smallint,
    position_error_m smallint, fix_availability_percent smallint, battery_percent smallint,
    gsm_signal_dbm smallint, gnss_valid bool, ignition bool, time_suspect bool,
    external_voltage_v numeric, journey_distance_km numeric, hdop numeric, longitude float8,
    latitude float8, late bool, events smallint
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_position(bigint) IS
    'part of at402_ingest: reports of the batch being stored, as rows';

CREATE FUNCTION at402_batch_event(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, n smallint, kind text,
    data jsonb, late bool, longitude float8, latitude float8
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_event(bigint) IS
    'part of at402_ingest: reason flags of reports and changes of the ignition of the batch being stored, as rows';

CREATE FUNCTION at402_batch_io(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, n smallint,
    line smallint, state bool, kind text, value numeric, text_value text, data jsonb
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_io(bigint) IS
    'part of at402_ingest: what happened at inputs and outputs of the batch being stored, as rows';

CREATE FUNCTION at402_batch_motion(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, n smallint,
    idle_time_s int, accel_x_max_mss numeric, accel_x_min_mss numeric, accel_y_max_mss numeric,
    accel_y_min_mss numeric, accel_z_max_mss numeric, accel_z_min_mss numeric
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_motion(bigint) IS
    'part of at402_ingest: driver behaviour of the batch being stored, as rows';

CREATE FUNCTION at402_batch_can(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, n smallint,
    working_states_mask bigint, axle_weight_kg int, fms_status_mask int, fms_events_mask int,
    obd_status_mask int, obd_events_mask int, lifetime_odometer_km int, lifetime_hours int,
    cruise_control_time_s int, service_distance_km int, mil_on_time_raw int,
    mil_on_distance_raw int, max_wheel_speed_kmh smallint, average_wheel_speed_kmh smallint,
    max_engine_rpm smallint, average_engine_rpm smallint, max_accelerator_percent smallint,
    average_accelerator_percent smallint, max_engine_load_percent smallint,
    average_engine_load_percent smallint, engine_temperature_c smallint,
    fuel_level_raw smallint, door_control_mask smallint, source text,
    journey_distance_km numeric, journey_fuel_l numeric, total_fuel_l numeric, driver_1 text,
    driver_2 text, dtcs text[], data jsonb
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_can(bigint) IS
    'part of at402_ingest: modules of the vehicle''s bus of the batch being stored, as rows';

CREATE FUNCTION at402_batch_can_frame(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, n smallint,
    can_id bigint, age_s smallint, data bytea
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_can_frame(bigint) IS
    'part of at402_ingest: single CAN frames of the batch being stored, as rows';

CREATE FUNCTION at402_batch_ble(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, n smallint,
    last_seen_s int, height_cm int, light_raw int, rssi_dbm smallint, sensor_index smallint,
    meta_type smallint, companion bool, valid bool, mac macaddr, kind text,
    temperature_c numeric, humidity_percent numeric, meta text, data jsonb
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_ble(bigint) IS
    'part of at402_ingest: beacons and sensors of the batch being stored, as rows';

CREATE FUNCTION at402_batch_module(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, n smallint, name text,
    data jsonb
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_module(bigint) IS
    'part of at402_ingest: modules without a table of their own of the batch being stored, as rows';

CREATE FUNCTION at402_batch_device(batch bigint)
RETURNS TABLE (
    device_id int, "time" timestamptz, seq smallint, content_hash int, imsi text, iccid text
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_device(bigint) IS
    'part of at402_ingest: what reports tell of the device of the batch being stored, as rows';

CREATE FUNCTION at402_batch_sender(batch bigint)
RETURNS TABLE (
    imei text, received_at timestamptz, login bool, model text, firmware text, hardware text,
    vin text, protocol text
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_sender(bigint) IS
    'part of at402_ingest: who sent the frames of the batch being stored, as rows';

CREATE FUNCTION at402_batch_frame(batch bigint)
RETURNS TABLE (
    received_at timestamptz, device_id int, protocol text, transport text, peer text,
    frame at402_frame
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_frame(bigint) IS
    'part of at402_ingest: the frames of the batch being stored, as rows';

CREATE FUNCTION at402_batch_quarantine(batch bigint)
RETURNS TABLE (
    received_at timestamptz, report_no int, logged_in bool, imei text, protocol text,
    transport text, peer text, reason text, sqlstate text, message text, bytes bytea
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_quarantine(bigint) IS
    'part of at402_ingest: what cannot be stored of the batch being stored, as rows';

CREATE FUNCTION at402_batch_presence(batch bigint)
RETURNS TABLE (
    imei text, connected bool, at timestamptz
) AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_batch_presence(bigint) IS
    'part of at402_ingest: trackers that came or went of the batch being stored, as rows';

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
