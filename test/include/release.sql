-- What the tests of at402_release look at, and a trigger that sends reports to quarantine.
\ir stored.sql

CREATE VIEW reports AS
	SELECT d.imei, p.seq, p.time, p.speed_kmh, p.received_at
	FROM at402.position AS p JOIN at402.device AS d ON d.id = p.device_id;
CREATE VIEW quarantined AS
	SELECT received_at::date AS received_on, imei, logged_in, protocol, report_no, report_nos, reason, sqlstate,
		message
	FROM at402.quarantine ORDER BY id;

-- refuses reports with these numbers; when there are none, all is well
CREATE TABLE unwelcome (seq int);
GRANT SELECT ON unwelcome TO PUBLIC;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.seq IN (SELECT seq FROM unwelcome) THEN
		RAISE EXCEPTION 'number % is not welcome', NEW.seq USING ERRCODE = TG_ARGV[0];
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER refuse BEFORE INSERT ON at402.position FOR EACH ROW EXECUTE FUNCTION refuse('P0001');
