-- What the tests of at402_ingest look at, without the numbers that the database gives.
\ir stored.sql

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
	FOR table_name IN SELECT t.table_name FROM at402_internal.at402_data_tables() AS t LOOP
		EXECUTE format('SELECT count(*) FROM at402.%I', table_name) INTO live_rows;
		IF live_rows > 0 THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;

-- what is known of a device
CREATE VIEW state AS
	SELECT d.imei, s.time, s.seq, s.reasons, s.status, s.ignition, s.received_at, s.last_seen,
		s.position_time, ST_AsText(s.geom) AS at, s.speed_kmh,
		s.external_voltage_v AS volt, s.battery_percent AS battery,
			s.lifetime_odometer_km AS odometer, s.journey_distance_km AS journey, s.connected
	FROM at402.device_state AS s JOIN at402.device AS d ON d.id = s.device_id;
