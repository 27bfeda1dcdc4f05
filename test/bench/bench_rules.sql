-- bench_rules.sql - a set of rules for bench_rules.sh: as many as :number; :with_b: half of them compare
-- with the report before.  Of five kinds, as people write them; they hardly ever hold.
DELETE FROM at402.rule;
INSERT INTO at402.rule (name, source, level, condition)
SELECT 'bench ' || n, 'position', 'info', CASE
	WHEN :with_b AND n % 2 = 0 THEN format('r.speed_kmh > b.speed_kmh + %s', 200 + n)
	WHEN n % 5 = 0 THEN format('r.speed_kmh > %s AND p.ignition', 140 + n)
	WHEN n % 5 = 1 THEN format('r.external_voltage_v < %s', n / 100.0)
	WHEN n % 5 = 2 THEN format('d.attributes ? %L AND r.speed_kmh > 50', 'bench' || n)
	WHEN n % 5 = 3 THEN format('r.heading_deg = %s AND NOT r.gnss_valid', n)
	ELSE format('r.gnss_valid AND r.geom && ST_MakeEnvelope(%s, 10, %s, 11, 4326)', n % 90, n % 90 + 1) END
FROM generate_series(1, :number) AS n;
TRUNCATE at402.position, at402.event, at402.io, at402.motion, at402.can, at402.ble, at402.module;
