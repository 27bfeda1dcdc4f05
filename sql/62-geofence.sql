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
CALL at402_internal.at402_create($sql$

CREATE FUNCTION at402_internal.at402_geofence_box(geom @postgis@.geometry, reach_m float8) RETURNS @postgis@.geometry
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
	-- no nearer to the poles, see at402_geofence_problem
	lon := lat / cosd(least(89.9, lat + greatest(abs(@postgis@.ST_YMin(bent)), abs(@postgis@.ST_YMax(bent)))));
	RETURN @postgis@.ST_MakeEnvelope(@postgis@.ST_XMin(bent) - lon, @postgis@.ST_YMin(bent) - lat,
		@postgis@.ST_XMax(bent) + lon, @postgis@.ST_YMax(bent) + lat, 4326);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_geofence_box(@postgis@.geometry, float8) IS
'part of at402_geofence_version: envelope, in degrees, of a shape and what is within reach_m metres of it';

-- What is wrong with a geofence; message is NULL when nothing is.
CREATE FUNCTION at402_internal.at402_geofence_problem(geom @postgis@.geometry, radius_m float8, hysteresis_m float8,
	min_dwell interval, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kind	text := @postgis@.GeometryType(geom);
	reach	float8 := coalesce(radius_m, 0) + coalesce(hysteresis_m, 0);
	box		@postgis@.geometry;
BEGIN
	IF kind NOT IN ('POLYGON', 'MULTIPOLYGON', 'POINT', 'MULTIPOINT', 'LINESTRING', 'MULTILINESTRING') THEN
		message := format('a geofence cannot be a %s', kind);
		hint := 'It is made of polygons, of points or of lines: ST_CollectionExtract() takes them out of a collection, ST_CurveToLine() makes them of curves.';
	ELSIF @postgis@.ST_IsEmpty(geom) THEN
		message := 'the shape of a geofence cannot be empty';
		hint := 'A fence that is not needed has enabled = false.';
	ELSIF EXISTS (SELECT FROM @postgis@.ST_Dump(geom) AS part WHERE @postgis@.ST_IsEmpty(part.geom)) THEN
		-- PostGIS cannot measure the distance from it
		message := 'no part of the shape of a geofence can be empty';
		hint := 'ST_Dump(geom) lists the parts, ST_Collect() of those that are not ST_IsEmpty() is the shape.';
	ELSIF NOT coalesce(radius_m >= 0 AND radius_m <= 1e6, true) THEN
		message := format('radius_m of a geofence is out of range: %s', radius_m);
		hint := 'It is in metres, from 0 to 1000000.';
	ELSIF coalesce(radius_m, 0) = 0 AND kind NOT IN ('POLYGON', 'MULTIPOLYGON') THEN
		message := format('a geofence that is a %s needs radius_m', kind);
		hint := 'Inside is what is within radius_m metres of it: 100 for a yard, 30 for a road.';
	ELSIF NOT coalesce(hysteresis_m >= 0 AND hysteresis_m <= 1e6, true) THEN
		message := format('hysteresis_m of a geofence is out of range: %s', hysteresis_m);
		hint := 'It is in metres, from 0 to 1000000; 20 to 50 are more than a receiver strays.';
	ELSIF NOT coalesce(min_dwell >= '0' AND min_dwell <= '10 years', true) THEN
		message := format('min_dwell of a geofence is out of range: %s', min_dwell);
		hint := 'It is from 0 to 10 years: a visit that is shorter is none; NULL: every visit counts.';
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
			at402_internal.at402_geofence_box(geom, reach)));
		IF reach > 0 AND greatest(@postgis@.ST_YMax(box), -@postgis@.ST_YMin(box)) > 89.9 THEN
			message := 'a geofence with radius_m or hysteresis_m cannot reach a pole';
			detail := format('With them it goes from latitude %s to %s; what is allowed ends at 89.9.',
				@postgis@.ST_YMin(box), @postgis@.ST_YMax(box));
			hint := 'A polygon without them can.';
		ELSIF @postgis@.ST_XMin(box) < -180 OR @postgis@.ST_XMax(box) > 180
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
COMMENT ON FUNCTION at402_internal.at402_geofence_problem(@postgis@.geometry, float8, float8, interval) IS
'part of at402_geofence_version: why a geofence is refused; message is NULL where it is not';

-- Keeps at402.geofence_version: an enabled fence has one version without an
-- end, which has its shape.  22023 when a shape cannot be a geofence.
CREATE FUNCTION at402_internal.at402_geofence_version() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off		-- the tables may have grown from nothing
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
DECLARE
	moment	timestamptz := clock_timestamp();
	ids		int[];
	ended	int[];
	bad		record;
	ahead	record;
BEGIN
	IF TG_OP IN ('INSERT', 'UPDATE') THEN
		SELECT n.id, n.name, p.message, p.detail, p.hint INTO bad
		FROM new_rows AS n, at402_internal.at402_geofence_problem(n.geom, n.radius_m, n.hysteresis_m, n.min_dwell) AS p
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
		at402_internal.at402_geofence_box(g.geom, s.radius_m + s.hysteresis_m)
	FROM at402.geofence AS g,
		LATERAL (SELECT coalesce(g.radius_m, 0) AS radius_m, coalesce(g.hysteresis_m, 0) AS hysteresis_m) AS s
	WHERE g.id = ANY (ids) AND g.enabled AND NOT EXISTS (
		SELECT FROM at402.geofence_version AS v WHERE v.geofence_id = g.id AND upper_inf(v.valid));
	IF TG_OP = 'UPDATE' THEN
		UPDATE at402.geofence_version AS v SET name = g.name
		FROM at402.geofence AS g
		WHERE g.id = ANY (ids) AND v.geofence_id = g.id AND upper_inf(v.valid) AND v.name IS DISTINCT FROM g.name;
	END IF;

	UPDATE at402.geofence_visit AS s SET left_at = moment, left_seq = NULL, left_hash = NULL
	WHERE s.geofence_id = ANY (ended) AND s.entered_at < moment AND (s.left_at IS NULL OR s.left_at > moment);
	-- clocks that are ahead of ours: what was made after this moment was judged by the former shape
	FOR ahead IN
		SELECT s.device_id, f.id FROM at402.device_state AS s, unnest(ids) AS f(id)
		WHERE s.position_time >= moment AND TG_OP <> 'INSERT'
	LOOP
		PERFORM FROM @extschema@.at402_rejudge_geofences(ahead.device_id, moment, 'infinity', ahead.id);
	END LOOP;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_geofence_version() IS
'trigger of at402.geofence: refuses what cannot be a geofence (22023), keeps at402.geofence_version, and closes open visits of a shape that ends';

-- Where a place is, seen from a fence: 1 inside (or on the boundary), 0 within
-- hysteresis_m around it, -1 outside.  Not pinned, so that it is inlined.
CREATE FUNCTION at402_internal.at402_geofence_side(fence @postgis@.geometry, radius_m float8, hysteresis_m float8,
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
COMMENT ON FUNCTION at402_internal.at402_geofence_side(@postgis@.geometry, float8, float8, @postgis@.geometry) IS
'where a place is, seen from a geofence: 1 inside or on the boundary, 0 outside but within hysteresis_m metres, -1 outside';

CREATE FUNCTION at402_geofence_at(place @postgis@.geometry, "time" timestamptz) RETURNS SETOF int
LANGUAGE sql STABLE PARALLEL SAFE ROWS 2
AS $$
	SELECT v.geofence_id FROM at402.geofence_version AS v
	WHERE v.box OPERATOR(@postgis@.&&) place AND v.valid OPERATOR(pg_catalog.@>) "time"
		AND at402_internal.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, place)
			OPERATOR(pg_catalog.=) 1
	ORDER BY @postgis@.ST_Area(v.box), v.geofence_id
$$;
COMMENT ON FUNCTION at402_geofence_at(@postgis@.geometry, timestamptz) IS
'fences (geofence.id) that a place was inside of at that time, by the shapes valid then, the smallest first';

-- ---- judging what is stored ----

-- The report next to one (time, seq, hash), forwards or backwards, that counts
-- and is on one of these sides of a version of a fence.
CREATE FUNCTION at402_internal.at402_seek_fix(device int, fence int, span tstzrange, from_time timestamptz, from_seq int,
	from_hash int, forward bool, sides int[], OUT "time" timestamptz, OUT seq smallint, OUT content_hash int,
	OUT side int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
DECLARE
	v	record;
BEGIN
	SELECT g.geom, g.radius_m, g.hysteresis_m INTO v
	FROM at402.geofence_version AS g WHERE g.geofence_id = fence AND g.valid = span;
	IF forward THEN
		SELECT p.time, p.seq, p.content_hash, s.side INTO "time", seq, content_hash, side
		FROM at402.position AS p,
			LATERAL (SELECT at402_internal.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, p.geom) OFFSET 0) AS s(side)
		WHERE p.device_id = device AND p.time >= from_time AND p.time < coalesce(upper(span), 'infinity')
			AND (p.time, p.seq, p.content_hash) > (from_time, from_seq, from_hash)
			AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL AND s.side = ANY (sides)
		ORDER BY p.time, p.seq, p.content_hash LIMIT 1;
	ELSE
		SELECT p.time, p.seq, p.content_hash, s.side INTO "time", seq, content_hash, side
		FROM at402.position AS p,
			LATERAL (SELECT at402_internal.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, p.geom) OFFSET 0) AS s(side)
		WHERE p.device_id = device AND p.time <= from_time AND p.time >= lower(span)
			AND (p.time, p.seq, p.content_hash) < (from_time, from_seq, from_hash)
			AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL AND s.side = ANY (sides)
		ORDER BY p.time DESC, p.seq DESC, p.content_hash DESC LIMIT 1;
	END IF;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_seek_fix(int, int, tstzrange, timestamptz, int, int, bool, int[]) IS
'part of at402_judge_geofences: the next report, forwards or backwards, that is on one of these sides of a fence';

-- The visit, shown or pending, that a report is part of by what is known.
CREATE FUNCTION at402_internal.at402_known_visit(device int, fence int, span tstzrange, at_time timestamptz, at_seq int,
	at_hash int, OUT entered_at timestamptz, OUT seq smallint, OUT content_hash int, OUT left_at timestamptz,
	OUT left_seq smallint, OUT left_hash int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	SELECT s.entered_at, s.seq, s.content_hash, s.left_at, s.left_seq, s.left_hash
	INTO entered_at, seq, content_hash, left_at, left_seq, left_hash
	FROM at402.geofence_visit AS s
	WHERE s.device_id = device AND s.geofence_id = fence AND span @> s.entered_at
		AND (s.entered_at, s.seq, s.content_hash) <= (at_time, at_seq, at_hash)
		AND (s.left_at IS NULL
			OR (s.left_at, coalesce(s.left_seq, -1), coalesce(s.left_hash, 0)) > (at_time, at_seq, at_hash))
	UNION ALL
	SELECT s.entered_at, s.seq, s.content_hash, NULL, NULL, NULL
	FROM at402.geofence_pending AS s
	WHERE s.device_id = device AND s.geofence_id = fence AND span @> s.entered_at
		AND (s.entered_at, s.seq, s.content_hash) <= (at_time, at_seq, at_hash);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_known_visit(int, int, tstzrange, timestamptz, int, int) IS
'part of at402_judge_geofences: the visit that a report is part of, as at402.geofence_visit and geofence_pending have it';

-- The visits of a device by the reports made from low to high, both included;
-- they are reports themselves, where there is one before or after.  Judged are
-- only fences that one of them is in or near, and their visits come whole.
--
-- What is not near a fence is outside of it.  So of the reports near it, those
-- that follow on each other belong together, and are one visit from the first
-- that is inside; the report after the last is outside.  Where such a row of
-- reports goes on beyond low or high, its ends are sought there.  trusting:
-- where at402.geofence_visit tells them already, it is believed.
CREATE FUNCTION at402_internal.at402_judge_geofences(device int, low timestamptz, high timestamptz, fence int, trusting bool)
RETURNS TABLE (geofence_id int, name text, entered_at timestamptz, seq smallint, content_hash int,
	left_at timestamptz, left_seq smallint, left_hash int, shown bool, ends timestamptz)
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
	part	record;
	edge	record;
	known	record;
	due		timestamptz;
BEGIN
	FOR part IN
		WITH fix AS MATERIALIZED (
			SELECT p.time, p.seq, p.content_hash, p.geom,
				row_number() OVER (ORDER BY p.time, p.seq, p.content_hash) AS no, count(*) OVER () AS fixes
			FROM at402.position AS p
			WHERE p.device_id = device AND p.time >= low AND p.time <= high
				AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL
		), near AS MATERIALIZED (
			SELECT f.no, v.geofence_id, v.valid,
				at402_internal.at402_geofence_side(v.geom, v.radius_m, v.hysteresis_m, f.geom) AS side
			FROM fix AS f JOIN at402.geofence_version AS v
				ON v.box OPERATOR(@postgis@.&&) f.geom AND v.valid @> f.time
			WHERE fence IS NULL OR v.geofence_id = fence
		), numbered AS (
			SELECT n.*, n.no - row_number() OVER (PARTITION BY n.geofence_id, n.valid ORDER BY n.no) AS part
			FROM near AS n WHERE n.side >= 0
		), joined AS (
			SELECT n.geofence_id, n.valid, min(n.no) AS first_no, max(n.no) AS last_no,
				min(n.no) FILTER (WHERE n.side = 1) AS enters_no,
				coalesce(max(n.no) FILTER (WHERE n.side = 1) = max(n.no), false) AS is_inside
			FROM numbered AS n GROUP BY n.geofence_id, n.valid, n.part
		)
		SELECT j.geofence_id, j.valid, v.name, v.min_dwell, j.is_inside,
			j.first_no = 1 AS goes_back, j.last_no = f.fixes AS goes_on,
			f.time AS first_at, f.seq AS first_seq, f.content_hash AS first_hash,
			l.time AS last_at, l.seq AS last_seq, l.content_hash AS last_hash,
			e.time AS entered_at, e.seq, e.content_hash, o.time AS left_at, o.seq AS left_seq, o.content_hash AS left_hash
		FROM joined AS j
			JOIN at402.geofence_version AS v ON v.geofence_id = j.geofence_id AND v.valid = j.valid
			JOIN fix AS f ON f.no = j.first_no
			JOIN fix AS l ON l.no = j.last_no
			LEFT JOIN fix AS e ON e.no = j.enters_no
			LEFT JOIN fix AS o ON o.no = j.last_no + 1 AND j.valid @> o.time
	LOOP
		geofence_id := part.geofence_id;
		name := part.name;
		entered_at := part.entered_at;
		seq := part.seq;
		content_hash := part.content_hash;
		left_at := part.left_at;
		left_seq := part.left_seq;
		left_hash := part.left_hash;
		ends := coalesce(upper(part.valid), 'infinity');

		IF part.goes_back THEN
			SELECT * INTO known FROM at402_internal.at402_known_visit(device, geofence_id, part.valid,
				part.first_at, part.first_seq, part.first_hash) AS k WHERE trusting;
			IF known.entered_at IS NULL THEN
				SELECT * INTO edge FROM at402_internal.at402_seek_fix(device, geofence_id, part.valid,
					part.first_at, part.first_seq, part.first_hash, false, '{-1}');
				SELECT s.time AS entered_at, s.seq, s.content_hash INTO known
				FROM at402_internal.at402_seek_fix(device, geofence_id, part.valid, coalesce(edge.time, lower(part.valid)),
					coalesce(edge.seq, -1), coalesce(edge.content_hash, 0), true, '{1}') AS s;
			END IF;
			IF (known.entered_at, known.seq, known.content_hash) <= (part.last_at, part.last_seq, part.last_hash) THEN
				entered_at := known.entered_at;
				seq := known.seq;
				content_hash := known.content_hash;
			END IF;
		END IF;

		IF part.goes_on THEN
			SELECT part.last_at AS time, part.last_seq AS seq, part.last_hash AS content_hash, 1 AS side INTO edge;
			IF NOT part.is_inside THEN
				SELECT * INTO edge FROM at402_internal.at402_seek_fix(device, geofence_id, part.valid,
					part.last_at, part.last_seq, part.last_hash, true, '{-1, 1}');
			END IF;
			IF edge.side = 1 AND entered_at IS NULL THEN
				entered_at := edge.time;
				seq := edge.seq;
				content_hash := edge.content_hash;
			END IF;
			IF edge.side = 1 THEN
				SELECT * INTO known FROM at402_internal.at402_known_visit(device, geofence_id, part.valid,
					edge.time, edge.seq, edge.content_hash) AS k WHERE trusting;
				IF known.entered_at IS NULL THEN
					SELECT * INTO edge FROM at402_internal.at402_seek_fix(device, geofence_id, part.valid,
						edge.time, edge.seq, edge.content_hash, true, '{-1}');
				ELSE
					SELECT known.left_at AS time, known.left_seq AS seq, known.left_hash AS content_hash INTO edge;
				END IF;
			END IF;
			left_at := edge.time;
			left_seq := edge.seq;
			left_hash := edge.content_hash;
		END IF;
		CONTINUE WHEN entered_at IS NULL;

		due := entered_at + part.min_dwell;
		shown := due <= entered_at OR CASE
			WHEN left_seq IS NOT NULL THEN left_at >= due
			ELSE EXISTS (SELECT FROM at402.position AS p
						 WHERE p.device_id = device AND p.time >= due AND p.time < ends
							 AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL) END;
		IF shown THEN
			left_at := coalesce(left_at, upper(part.valid));
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_judge_geofences(int, timestamptz, timestamptz, int, bool) IS
'part of at402_geofence_visits: the visits of a device by its reports from low to high, shown or not long enough';

-- The report that counts and was made last before a time, or first after it; of
-- those of one second the one that is farthest.  Mostly it is of the same day, so that few partitions have to be looked at.
CREATE FUNCTION at402_internal.at402_next_fix(device int, moment timestamptz, forward bool, OUT "time" timestamptz,
	OUT seq smallint, OUT content_hash int)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
	IF forward THEN
		SELECT p.time, p.seq, p.content_hash INTO "time", seq, content_hash
		FROM at402.position AS p
		WHERE p.device_id = device AND p.time > moment AND p.time < moment + interval '1 day'
			AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL
		ORDER BY p.time, p.seq DESC, p.content_hash DESC LIMIT 1;
		IF FOUND THEN
			RETURN;
		END IF;
		SELECT p.time, p.seq, p.content_hash INTO "time", seq, content_hash
		FROM at402.position AS p
		WHERE p.device_id = device AND p.time > moment
			AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL
		ORDER BY p.time, p.seq DESC, p.content_hash DESC LIMIT 1;
	ELSE
		SELECT p.time, p.seq, p.content_hash INTO "time", seq, content_hash
		FROM at402.position AS p
		WHERE p.device_id = device AND p.time < moment AND p.time > moment - interval '1 day'
			AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL
		ORDER BY p.time DESC, p.seq, p.content_hash LIMIT 1;
		IF FOUND THEN
			RETURN;
		END IF;
		SELECT p.time, p.seq, p.content_hash INTO "time", seq, content_hash
		FROM at402.position AS p
		WHERE p.device_id = device AND p.time < moment
			AND p.gnss_valid AND NOT p.time_suspect AND p.geom IS NOT NULL
		ORDER BY p.time DESC, p.seq, p.content_hash LIMIT 1;
	END IF;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_next_fix(int, timestamptz, bool) IS
'part of at402_geofence_visits: the report of a device with a good position that was made last before a time, or first after it';

CREATE FUNCTION at402_internal.at402_visit_rows(imei text, since timestamptz, until timestamptz, fence int)
RETURNS TABLE (device_id int, geofence_id int, name text, entered_at timestamptz, left_at timestamptz)
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM at402_internal.at402_need_table('geofence_version');
	RETURN QUERY
	SELECT d.id, j.geofence_id, j.name, j.entered_at, j.left_at
	FROM at402.device AS d,
		at402_internal.at402_next_fix(d.id, since, false) AS low,
		at402_internal.at402_next_fix(d.id, until, true) AS high,
		at402_internal.at402_judge_geofences(d.id, coalesce(low.time, since), coalesce(high.time, 'infinity'), fence, false) AS j
	WHERE d.imei = $1 AND j.shown AND j.entered_at < until
		AND (j.left_at IS NULL OR j.left_at > since OR j.entered_at >= since);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_visit_rows(text, timestamptz, timestamptz, int) IS
'part of at402_geofence_visits';

CREATE FUNCTION at402_geofence_visits(imei text, since timestamptz, until timestamptz, geofence_id int DEFAULT NULL)
RETURNS TABLE (device_id int, geofence_id int, name text, entered_at timestamptz, left_at timestamptz)
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.* FROM at402_internal.at402_visit_rows($1, $2, $3, $4) AS r ORDER BY r.entered_at, r.geofence_id
$$;
COMMENT ON FUNCTION at402_geofence_visits(text, timestamptz, timestamptz, int) IS
'visits of a device that overlap since to until, whole, of one geofence or all: judged again from at402.position by the shapes valid then; left_at NULL: still inside';

-- What is in one list of visits and not in another.
CREATE FUNCTION at402_internal.at402_geofence_changes(visits jsonb, others jsonb)
RETURNS TABLE (geofence_id int, entered_at timestamptz, seq smallint, content_hash int,
	left_at timestamptz, left_seq smallint, left_hash int, shown bool)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT * FROM jsonb_to_recordset(visits) AS v(geofence_id int, entered_at timestamptz, seq smallint,
		content_hash int, left_at timestamptz, left_seq smallint, left_hash int, shown bool)
	EXCEPT
	SELECT * FROM jsonb_to_recordset(others) AS v(geofence_id int, entered_at timestamptz, seq smallint,
		content_hash int, left_at timestamptz, left_seq smallint, left_hash int, shown bool);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_geofence_changes(jsonb, jsonb) IS
'part of at402_rejudge_geofences: what is in one list of visits and not in another';

-- Judges the reports of a device again that were made from since to until, and
-- corrects at402.geofence_visit.  Returns what that brought to light.
CREATE FUNCTION at402_rejudge_geofences(device int, since timestamptz DEFAULT '-infinity',
	until timestamptz DEFAULT 'infinity', fence int DEFAULT NULL)
RETURNS TABLE (kind text, geofence_id int, name text, at timestamptz)
LANGUAGE plpgsql ROWS 10
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	low		record;
	high	record;
	judged	jsonb;
	known	jsonb;
BEGIN
	PERFORM at402_internal.at402_need_table('geofence_version');
	SELECT * INTO low FROM at402_internal.at402_next_fix(device, since, false);
	SELECT * INTO high FROM at402_internal.at402_next_fix(device, until, true);
	SELECT jsonb_agg(j ORDER BY j.geofence_id, j.entered_at, j.seq, j.content_hash) INTO judged
	FROM at402_internal.at402_judge_geofences(device, coalesce(low.time, since), coalesce(high.time, 'infinity'),
		fence, true) AS j
	WHERE j.shown OR j.left_at IS NULL;

	-- those that one of the reports is part of by now, or that have become one with such a visit
	WITH seen AS (
		SELECT s.geofence_id, s.entered_at, s.seq, s.content_hash, s.left_at, s.left_seq, s.left_hash, true AS shown
		FROM at402.geofence_visit AS s WHERE s.device_id = device
			AND (s.left_at IS NULL OR s.left_at >= coalesce(low.time, since))
		UNION ALL
		SELECT s.geofence_id, s.entered_at, s.seq, s.content_hash, NULL, NULL, NULL, false
		FROM at402.geofence_pending AS s WHERE s.device_id = device)
	SELECT jsonb_agg(s ORDER BY s.geofence_id, s.entered_at, s.seq, s.content_hash) INTO known
	FROM seen AS s
	WHERE (fence IS NULL OR s.geofence_id = fence)
		AND (s.left_at IS NULL OR low.time IS NULL
			 OR (s.left_at, coalesce(s.left_seq, -1), coalesce(s.left_hash, 0)) > (low.time, low.seq, low.content_hash))
		AND (high.time IS NULL OR (s.entered_at, s.seq, s.content_hash) <= (high.time, high.seq, high.content_hash)
			OR EXISTS (
				SELECT FROM jsonb_to_recordset(judged) AS j(geofence_id int, entered_at timestamptz, seq smallint,
					content_hash int, left_at timestamptz, left_seq smallint, left_hash int, ends timestamptz)
				WHERE j.geofence_id = s.geofence_id AND s.entered_at < j.ends
					AND (s.entered_at, s.seq, s.content_hash) >= (j.entered_at, j.seq, j.content_hash)
					AND (j.left_at IS NULL OR (s.entered_at, s.seq, s.content_hash)
						< (j.left_at, coalesce(j.left_seq, -1), coalesce(j.left_hash, 0)))));

	IF NOT EXISTS (SELECT FROM at402_internal.at402_geofence_changes(known, judged))
		AND NOT EXISTS (SELECT FROM at402_internal.at402_geofence_changes(judged, known)) THEN
		RETURN;
	END IF;
	DELETE FROM at402.geofence_visit AS s USING at402_internal.at402_geofence_changes(known, judged) AS c
	WHERE c.shown AND s.device_id = device AND s.geofence_id = c.geofence_id
		AND s.entered_at = c.entered_at AND s.seq = c.seq AND s.content_hash = c.content_hash;
	DELETE FROM at402.geofence_pending AS s USING at402_internal.at402_geofence_changes(known, judged) AS c
	WHERE NOT c.shown AND s.device_id = device AND s.geofence_id = c.geofence_id
		AND s.entered_at = c.entered_at AND s.seq = c.seq AND s.content_hash = c.content_hash;
	INSERT INTO at402.geofence_visit
		(device_id, geofence_id, entered_at, seq, content_hash, left_at, left_seq, left_hash)
	SELECT device, c.geofence_id, c.entered_at, c.seq, c.content_hash, c.left_at, c.left_seq, c.left_hash
	FROM at402_internal.at402_geofence_changes(judged, known) AS c WHERE c.shown;
	INSERT INTO at402.geofence_pending (device_id, geofence_id, entered_at, seq, content_hash)
	SELECT device, c.geofence_id, c.entered_at, c.seq, c.content_hash
	FROM at402_internal.at402_geofence_changes(judged, known) AS c WHERE NOT c.shown;

	RETURN QUERY
	SELECT e.kind, c.geofence_id, v.name, e.at
	FROM at402_internal.at402_geofence_changes(judged, known) AS c
		JOIN at402.geofence_version AS v ON v.geofence_id = c.geofence_id AND v.valid @> c.entered_at,
		LATERAL (VALUES ('geofence_enter', c.entered_at, c.seq, c.content_hash),
			('geofence_exit', CASE WHEN c.left_seq IS NOT NULL THEN c.left_at END, c.left_seq, c.left_hash))
			AS e(kind, at, seq, hash)
	WHERE c.shown AND e.at IS NOT NULL AND NOT EXISTS (
		SELECT FROM jsonb_to_recordset(known) AS k(geofence_id int, entered_at timestamptz, seq smallint,
			content_hash int, left_at timestamptz, left_seq smallint, left_hash int, shown bool)
		WHERE k.shown AND k.geofence_id = c.geofence_id AND CASE e.kind
			WHEN 'geofence_enter' THEN (k.entered_at, k.seq, k.content_hash) = (e.at, e.seq, e.hash)
			ELSE (k.left_at, k.left_seq, k.left_hash) = (e.at, e.seq, e.hash) END)
	ORDER BY e.at, e.kind DESC;
END
$$;
COMMENT ON FUNCTION at402_rejudge_geofences(int, timestamptz, timestamptz, int) IS
'judges the stored reports of a device from since to until again, by one geofence or all, corrects at402.geofence_visit, and returns what was not known; makes no events';

-- NULL: they are too far apart, or at one place.
CREATE FUNCTION at402_internal.at402_way(since timestamptz, a @postgis@.geometry, until timestamptz, b @postgis@.geometry)
RETURNS @postgis@.geometry
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT @postgis@.ST_MakeLine(a, b)
	WHERE until - since <= interval '5 minutes' AND abs(@postgis@.ST_X(a) - @postgis@.ST_X(b)) <= 90
		AND abs(@postgis@.ST_Y(a) - @postgis@.ST_Y(b)) <= 90 AND NOT a OPERATOR(@postgis@.~=) b
$$;
COMMENT ON FUNCTION at402_internal.at402_way(timestamptz, @postgis@.geometry, timestamptz, @postgis@.geometry) IS
'the straight way between two reports, which may cross a geofence; NULL: more than 5 minutes or 90 degrees, or of no length';

-- What the ways to and from reports of a device cross that have come late, or beside one that has.
-- Where they came between two others, what the way between those crosses is known.
CREATE FUNCTION at402_internal.at402_late_crossings(batch bigint, device int, since timestamptz, until timestamptz,
	fence int DEFAULT NULL)
RETURNS TABLE (number int, geofence_id int, name text, at timestamptz)
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	low		record;
	high	record;
	p		record;
	s		record;
BEGIN
	SELECT * INTO low FROM at402_internal.at402_next_fix(device, since, false);
	SELECT * INTO high FROM at402_internal.at402_next_fix(device, until, true);
	SELECT array_agg(q.time ORDER BY q.time, q.seq, q.content_hash) AS times,
		array_agg(q.seq ORDER BY q.time, q.seq, q.content_hash) AS seqs,
		array_agg(q.content_hash ORDER BY q.time, q.seq, q.content_hash) AS hashes,
		array_agg(q.geom ORDER BY q.time, q.seq, q.content_hash) AS places INTO p
	FROM at402.position AS q
	WHERE q.device_id = device AND q.time >= coalesce(low.time, since) AND q.time <= coalesce(high.time, until)
		AND q.gnss_valid AND NOT q.time_suspect AND q.geom IS NOT NULL;
	SELECT array_agg(v.geofence_id) AS ids, array_agg(v.entered_at) AS entered, array_agg(coalesce(v.left_at, 'infinity')) AS "left"
	INTO s FROM at402.geofence_visit AS v
	WHERE v.device_id = device AND v.entered_at <= coalesce(high.time, until)
		AND (v.left_at IS NULL OR v.left_at >= coalesce(low.time, since));
	-- planning takes longer than the rest, and comes to the same
	PERFORM set_config('plan_cache_mode', 'force_generic_plan', true);
	RETURN QUERY
	WITH new AS MATERIALIZED (
		SELECT n.* FROM at402_internal.at402_batch_fences(batch, 'step') AS n(number int, longitude float8,
			latitude float8, before_longitude float8, before_latitude float8, "time" timestamptz, device_id int,
			seq smallint, content_hash int)
		WHERE n.device_id = device
	), fix AS (
		SELECT q.time, q.geom, n.number, n.number IS NOT NULL AS is_new, q.no
		FROM unnest(p.times, p.seqs, p.hashes, p.places) WITH ORDINALITY AS q(time, seq, content_hash, geom, no)
			LEFT JOIN new AS n ON n.time = q.time AND n.seq = q.seq AND n.content_hash = q.content_hash
	), around AS (
		SELECT f.*, max(f.no) FILTER (WHERE NOT f.is_new) OVER (ORDER BY f.no ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS old_no,
			min(f.no) FILTER (WHERE NOT f.is_new) OVER (ORDER BY f.no ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_no
		FROM fix AS f
	), way AS (
		SELECT coalesce(t.number, f.number) AS number, f.time AS began, t.time AS ended,
			at402_internal.at402_way(f.time, f.geom, t.time, t.geom) AS way,
			at402_internal.at402_way(o.time, o.geom, n.time, n.geom) AS former
		FROM around AS t JOIN fix AS f ON f.no = t.no - 1
			LEFT JOIN fix AS o ON o.no = t.old_no LEFT JOIN fix AS n ON n.no = t.next_no
		WHERE t.is_new OR f.is_new
	)
	SELECT w.number, v.geofence_id, v.name, w.ended
	FROM way AS w JOIN at402.geofence_version AS v ON v.box OPERATOR(@postgis@.&&) w.way AND v.valid @> w.ended
	WHERE v.min_dwell = '0' AND (fence IS NULL OR v.geofence_id = fence)
		AND at402_internal.at402_geofence_side(v.geom, v.radius_m, 0, w.way) = 1
		AND (w.former IS NULL OR at402_internal.at402_geofence_side(v.geom, v.radius_m, 0, w.former) < 1)
		AND NOT EXISTS (SELECT FROM unnest(s.ids, s.entered, s."left") AS i(geofence_id, entered_at, left_at)
			WHERE i.geofence_id = v.geofence_id AND i.entered_at <= w.ended AND i.left_at >= w.began)
	ORDER BY w.ended, v.geofence_id;
END
$$;
COMMENT ON FUNCTION at402_internal.at402_late_crossings(bigint, int, timestamptz, timestamptz, int) IS
'part of at402_ingest: geofences that ways to and from these reports cross, in the order of time, that no way crossed before them; number: the step that revealed it';


$sql$);

CREATE FUNCTION at402_internal.at402_geofence_version_changed() RETURNS trigger
    AS 'MODULE_PATHNAME' LANGUAGE C;
COMMENT ON FUNCTION at402_internal.at402_geofence_version_changed() IS
'trigger of at402.geofence_version: every backend looks again whether there are geofences';

CREATE FUNCTION at402_internal.at402_batch_fences(batch bigint, what text) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 500;
COMMENT ON FUNCTION at402_internal.at402_batch_fences(bigint, text) IS
'part of at402_ingest: what geofences have to do with the batch being stored: step, candidate, event, new, left, pending, gone';

CREATE FUNCTION at402_internal.at402_maintain_visits(step int DEFAULT 0) RETURNS int
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
	expired	timestamptz := now() - at402_internal.at402_retention('geofence_visit');
	ids		int[];
BEGIN
	IF expired IS NULL OR to_regclass('at402.geofence_visit') IS NULL THEN
		RETURN NULL;
	END IF;
	ids := ARRAY(SELECT d.id FROM at402.device AS d WHERE d.id > step ORDER BY d.id LIMIT 1000);
	DELETE FROM at402.geofence_visit AS v WHERE v.device_id = ANY (ids) AND v.left_at < expired;
	RETURN ids[1000];
END
$$;
COMMENT ON FUNCTION at402_internal.at402_maintain_visits(int) IS
'chore: deletes visits of geofences that ended before at402.retention_geofence_visit, of 1000 devices at a time';
