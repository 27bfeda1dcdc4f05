-- Geofences: what may be one, which shape was valid when, and what is inside.
--
-- Reports are judged by at402.geofence_version, never by at402.geofence itself:
-- a report that comes late is judged by the shape of its time, whatever has
-- become of the fence since.  The triggers of at402.geofence keep the versions.
--
-- A polygon is one of the plane of degrees, as in PostGIS's geometry and every
-- map editor.  What has radius_m, and the band of hysteresis_m, is measured in
-- metres on the WGS 84 spheroid, as geography, whose lines follow the globe.
-- box is the envelope of all that the fence can reach, for the index.
--
-- The schema of PostGIS is only known when the extension is made: it is put in
-- for @postgis@ then.
DO $do$
BEGIN
	EXECUTE (SELECT pg_catalog.replace($sql$

CREATE FUNCTION at402_geofence_box(geom @postgis@.geometry, reach_m float8) RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	bent	@postgis@.geometry;
	lat		float8;
	lon		float8;
BEGIN
	IF reach_m = 0 THEN
		RETURN @postgis@.ST_Envelope(geom);
	END IF;
	-- between its corners a geography follows the globe and leaves the plane of
	-- degrees: 10 km of that are less than the 50 m added here
	bent := @postgis@.ST_Collect(geom, @postgis@.ST_Segmentize(geom::@postgis@.geography, 10000)::@postgis@.geometry);
	lat := (reach_m * 1.01 + 50) / 110574;		-- m in a degree, at the equator, where it is shortest
	lon := lat / cosd(least(89.9, lat + greatest(abs(@postgis@.ST_YMin(bent)), abs(@postgis@.ST_YMax(bent)))));
	RETURN @postgis@.ST_MakeEnvelope(@postgis@.ST_XMin(bent) - lon, @postgis@.ST_YMin(bent) - lat,
		@postgis@.ST_XMax(bent) + lon, @postgis@.ST_YMax(bent) + lat, 4326);
END
$$;
COMMENT ON FUNCTION at402_geofence_box(@postgis@.geometry, float8) IS
'part of at402_geofence_version: envelope, in degrees, of a shape and what is within reach_m metres of it';

-- What is wrong with a geofence; message is NULL when nothing is.
CREATE FUNCTION at402_geofence_problem(geom @postgis@.geometry, radius_m float8, hysteresis_m float8,
	min_dwell interval, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kind	text := @postgis@.GeometryType(geom);
	box		@postgis@.geometry;
BEGIN
	IF kind NOT IN ('POLYGON', 'MULTIPOLYGON', 'POINT', 'MULTIPOINT', 'LINESTRING', 'MULTILINESTRING') THEN
		message := format('a geofence cannot be a %s', kind);
		hint := 'It is made of polygons, of points or of lines: ST_CollectionExtract() takes them out of a collection, ST_CurveToLine() makes them of curves.';
	ELSIF @postgis@.ST_IsEmpty(geom) THEN
		message := 'the shape of a geofence cannot be empty';
		hint := 'A fence that is not needed has enabled = false.';
	ELSIF NOT coalesce(radius_m >= 0 AND radius_m <= 1e6, true) THEN
		message := format('radius_m of a geofence is out of range: %s', radius_m);
		hint := 'It is in metres, from 0 to 1000000.';
	ELSIF coalesce(radius_m, 0) = 0 AND kind NOT IN ('POLYGON', 'MULTIPOLYGON') THEN
		message := format('a geofence that is a %s needs radius_m', kind);
		hint := 'Inside is what is within radius_m metres of it: 100 for a yard, 30 for a road.';
	ELSIF NOT coalesce(hysteresis_m >= 0 AND hysteresis_m <= 1e6, true) THEN
		message := format('hysteresis_m of a geofence is out of range: %s', hysteresis_m);
		hint := 'It is in metres, from 0 to 1000000; 20 to 50 are more than a receiver strays.';
	ELSIF min_dwell < '0' THEN
		message := format('min_dwell of a geofence cannot be negative: %s', min_dwell);
		hint := 'A visit that is shorter is none; NULL: every visit counts.';
	ELSIF NOT (@postgis@.ST_XMin(geom) >= -180 AND @postgis@.ST_XMax(geom) <= 180
			   AND @postgis@.ST_YMin(geom) >= -90 AND @postgis@.ST_YMax(geom) <= 90) THEN
		message := 'the shape of a geofence leaves the range of longitude and latitude';
		detail := format('Its longitude goes from %s to %s, its latitude from %s to %s.',
			@postgis@.ST_XMin(geom), @postgis@.ST_XMax(geom), @postgis@.ST_YMin(geom), @postgis@.ST_YMax(geom));
		hint := 'Longitude comes first, in degrees; ST_Transform(geom, 4326) converts other systems. '
			'What crosses the antimeridian has to be split there.';
	ELSIF @postgis@.ST_IsValidReason(geom) <> 'Valid Geometry' THEN
		message := 'the shape of a geofence is not valid';
		detail := @postgis@.ST_IsValidReason(geom);
		hint := 'ST_MakeValid(geom) mends it.';
	ELSE
		box := @postgis@.ST_Envelope(@postgis@.ST_Collect(geom,
			@extschema@.at402_geofence_box(geom, coalesce(radius_m, 0) + coalesce(hysteresis_m, 0))));
		IF @postgis@.ST_XMin(box) < -180 OR @postgis@.ST_XMax(box) > 180
			OR (SELECT max(@postgis@.ST_XMax(part.geom) - @postgis@.ST_XMin(part.geom)) > 180
				FROM @postgis@.ST_Dump(geom) AS part) THEN
			message := 'a geofence cannot reach across the antimeridian';
			detail := format('With radius_m and hysteresis_m it goes from longitude %s to %s.',
				@postgis@.ST_XMin(box), @postgis@.ST_XMax(box));
			hint := 'Make two of it, one on each side of longitude 180.';
		END IF;
	END IF;
END
$$;
COMMENT ON FUNCTION at402_geofence_problem(@postgis@.geometry, float8, float8, interval) IS
'part of at402_geofence_version: why a geofence is refused; message is NULL where it is not';

-- Keeps at402.geofence_version: an enabled fence has one version without an
-- end, which has its shape.  22023 when a shape cannot be a geofence.
CREATE FUNCTION at402_geofence_version() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moment	timestamptz := clock_timestamp();
	ids		int[];
	ended	int[];
	bad		record;
BEGIN
	IF TG_OP IN ('INSERT', 'UPDATE') THEN
		SELECT n.id, n.name, p.message, p.detail, p.hint INTO bad
		FROM new_rows AS n, @extschema@.at402_geofence_problem(n.geom, n.radius_m, n.hysteresis_m, n.min_dwell) AS p
		WHERE p.message IS NOT NULL
		ORDER BY n.id LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = bad.message,
				DETAIL = concat_ws(' ', format('It is geofence %s, named %s.', bad.id,
					coalesce('"' || bad.name || '"', 'NULL')), bad.detail),
				HINT = bad.hint;
		END IF;
	END IF;
	CASE TG_OP
		WHEN 'INSERT' THEN ids := ARRAY(SELECT id FROM new_rows);
		WHEN 'UPDATE' THEN ids := ARRAY(SELECT id FROM old_rows UNION SELECT id FROM new_rows);
		WHEN 'DELETE' THEN ids := ARRAY(SELECT id FROM old_rows);
		ELSE ids := ARRAY(SELECT geofence_id FROM at402.geofence_version WHERE upper_inf(valid));
	END CASE;

	WITH gone AS (
		UPDATE at402.geofence_version AS v
		SET valid = tstzrange(lower(v.valid), greatest(moment, lower(v.valid)))
		WHERE v.geofence_id = ANY (ids) AND upper_inf(v.valid) AND NOT EXISTS (
			SELECT FROM at402.geofence AS g
			WHERE g.id = v.geofence_id AND g.enabled
				AND @postgis@.ST_AsEWKB(g.geom) = @postgis@.ST_AsEWKB(v.geom)
				AND coalesce(g.radius_m, 0) = v.radius_m
				AND coalesce(g.hysteresis_m, 0) = v.hysteresis_m
				AND coalesce(g.min_dwell, '0') = v.min_dwell)
		RETURNING v.geofence_id)
	SELECT array_agg(geofence_id) INTO ended FROM gone;
	-- ended by the transaction that began it, or the clock was set back
	DELETE FROM at402.geofence_version AS v WHERE v.geofence_id = ANY (ended) AND isempty(v.valid);

	INSERT INTO at402.geofence_version (geofence_id, valid, name, radius_m, hysteresis_m, min_dwell, geom, box)
	SELECT g.id, tstzrange(coalesce((SELECT greatest(moment, max(upper(v.valid))) FROM at402.geofence_version AS v
									 WHERE v.geofence_id = g.id HAVING count(*) > 0), '-infinity'), NULL),
		g.name, s.radius_m, s.hysteresis_m, coalesce(g.min_dwell, '0'), g.geom,
		@extschema@.at402_geofence_box(g.geom, s.radius_m + s.hysteresis_m)
	FROM at402.geofence AS g,
		LATERAL (SELECT coalesce(g.radius_m, 0) AS radius_m, coalesce(g.hysteresis_m, 0) AS hysteresis_m) AS s
	WHERE g.id = ANY (ids) AND g.enabled AND NOT EXISTS (
		SELECT FROM at402.geofence_version AS v WHERE v.geofence_id = g.id AND upper_inf(v.valid));
	UPDATE at402.geofence_version AS v SET name = g.name
	FROM at402.geofence AS g
	WHERE g.id = ANY (ids) AND v.geofence_id = g.id AND upper_inf(v.valid) AND v.name IS DISTINCT FROM g.name;

	UPDATE at402.geofence_visit AS s SET left_at = moment, left_seq = NULL, left_hash = NULL
	WHERE s.geofence_id = ANY (ended) AND s.left_at IS NULL;
	DELETE FROM at402.geofence_pending AS s WHERE s.geofence_id = ANY (ended);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION at402_geofence_version() IS
'trigger of at402.geofence: refuses what cannot be a geofence (22023), keeps at402.geofence_version, and closes open visits of a shape that ends';

-- Where a place is, seen from a fence: 1 inside (or on the boundary), 0 within
-- hysteresis_m around it, -1 outside.  Not pinned, so that it is inlined.
CREATE FUNCTION at402_geofence_side(fence @postgis@.geometry, radius_m float8, hysteresis_m float8,
	place @postgis@.geometry) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT CASE
		WHEN CASE WHEN radius_m OPERATOR(pg_catalog.>) 0
			THEN @postgis@.ST_DWithin(fence::@postgis@.geography, place::@postgis@.geography, radius_m)
			ELSE @postgis@.ST_Intersects(fence, place) END THEN 1
		WHEN hysteresis_m OPERATOR(pg_catalog.>) 0 AND
			@postgis@.ST_DWithin(fence::@postgis@.geography, place::@postgis@.geography,
				radius_m OPERATOR(pg_catalog.+) hysteresis_m) THEN 0
		ELSE -1 END
$$;
COMMENT ON FUNCTION at402_geofence_side(@postgis@.geometry, float8, float8, @postgis@.geometry) IS
'where a place is, seen from a geofence: 1 inside or on the boundary, 0 outside but within hysteresis_m metres, -1 outside';

CREATE FUNCTION at402_geofence_at(place @postgis@.geometry, "time" timestamptz) RETURNS SETOF int
LANGUAGE sql STABLE PARALLEL SAFE ROWS 2
AS $$
	SELECT v.geofence_id FROM at402.geofence_version AS v
	WHERE v.box OPERATOR(@postgis@.&&) place AND v.valid OPERATOR(pg_catalog.@>) "time"
		AND @extschema@.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, place)
			OPERATOR(pg_catalog.=) 1
	ORDER BY @postgis@.ST_Area(v.box), v.geofence_id
$$;
COMMENT ON FUNCTION at402_geofence_at(@postgis@.geometry, timestamptz) IS
'fences (geofence.id) that a place was inside of at that time, by the shapes valid then, the smallest first';

	$sql$, '@postgis@', extnamespace::regnamespace::pg_catalog.text)
	FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) 'postgis');
END
$do$;

CREATE FUNCTION at402_geofence_version_changed() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION at402_geofence_version_changed() IS
'trigger of at402.geofence_version: every backend looks again whether there are geofences';
