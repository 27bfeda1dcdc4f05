-- Row security for tenants: who is a member of the role that is called as a device group sees the
-- rows of the devices of that group, in every table and view, and no others.
--
--   CREATE ROLE north;                                        -- a tenant
--   CREATE ROLE nora LOGIN IN ROLE north;                     -- its user
--   INSERT INTO at402.device_group (name) VALUES ('north');   -- and its devices
--   INSERT INTO at402.device_group_member (group_id, device_id)
--   SELECT g.id, d.id FROM at402.device_group AS g, at402.device AS d
--   WHERE g.name = 'north' AND d.imei IN ('352999000000015', '352999000000023');
--
-- Run this once as a superuser or the owner of the tables, and again when a later version has brought
-- more of them.  The owner itself is not bound by it, so storing goes on as before.
DO $$
DECLARE
	t	record;
BEGIN
	FOR t IN
		SELECT c.oid::regclass AS name, v.condition
		FROM pg_class AS c LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'device_id',
			LATERAL (SELECT CASE
				WHEN c.relname = 'device_group' THEN
					'EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = name AND pg_has_role(r.oid, ''MEMBER''))'
				WHEN c.relname = 'device_group_member' THEN
					'group_id IN (SELECT id FROM at402.device_group)'
				WHEN c.relname = 'device' THEN 'id IN (SELECT device_id FROM at402.device_group_member)'
				WHEN c.relname = 'driver' THEN 'id IN (SELECT driver_id FROM at402.driver_device)'
				WHEN c.relname = 'driver_key' THEN 'driver_id IN (SELECT driver_id FROM at402.driver_device)'
				WHEN c.relname = 'vehicle' THEN 'id IN (SELECT vehicle_id FROM at402.vehicle_device)'
				-- a fence is seen by the tenants that its tags name
				WHEN c.relname = 'geofence' THEN 'tags && ARRAY(SELECT name FROM at402.device_group)'
				WHEN c.relname = 'geofence_version' THEN 'geofence_id IN (SELECT id FROM at402.geofence)'
				WHEN c.relname = 'service' THEN 'vehicle_id IN (SELECT vehicle_id FROM at402.vehicle_device)'
				WHEN a.attname IS NOT NULL AND c.relname <> 'device_secret' THEN
					'device_id IN (SELECT device_id FROM at402.device_group_member)' END) AS v (condition)
		WHERE c.relnamespace = 'at402'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
	LOOP
		-- what belongs to no device has no policy, and so no rows for anybody but the owner
		EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', t.name);
		IF t.condition IS NOT NULL THEN
			EXECUTE format('DROP POLICY IF EXISTS tenant ON %s', t.name);
			EXECUTE format('CREATE POLICY tenant ON %s FOR SELECT USING (%s)', t.name, t.condition);
			-- not on the partitions: who may read one directly is not bound by the policy of the table
			EXECUTE format('GRANT SELECT ON %s TO PUBLIC', t.name);
		END IF;
	END LOOP;
	FOR t IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'at402'::regnamespace AND relkind = 'v' LOOP
		EXECUTE format('GRANT SELECT ON %s TO PUBLIC', t.name);
	END LOOP;
	GRANT USAGE ON SCHEMA at402 TO PUBLIC;
END
$$;
