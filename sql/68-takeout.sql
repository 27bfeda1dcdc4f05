-- Take-out: what is stored, in the formats of maps.
--
-- The schema of PostGIS is put in for @postgis@ when the extension is made.
CALL at402_internal.at402_create($sql$

CREATE FUNCTION at402_geojson(imei text, since timestamptz, until timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM at402_internal.at402_need_table('position');
	RETURN (SELECT jsonb_build_object('type', 'FeatureCollection', 'features', coalesce(jsonb_agg(
		jsonb_build_object('type', 'Feature', 'geometry', f.geometry, 'properties', f.properties)
		ORDER BY f.kind DESC, f.time, f.seq, f.content_hash), '[]'))
	FROM (
		SELECT 'trip' AS kind, t.started_at AS time, 0 AS seq, 0 AS content_hash,
			@postgis@.ST_AsGeoJSON(CASE WHEN @postgis@.ST_XMax(t.line) - @postgis@.ST_XMin(t.line) < 180
				THEN @postgis@.ST_Force2D(t.line)
				-- across the antimeridian it is cut there (RFC 7946)
				ELSE @postgis@.ST_WrapX(@postgis@.ST_ShiftLongitude(@postgis@.ST_Force2D(t.line)), 180, -360) END,
				6)::jsonb AS geometry,
			jsonb_build_object('kind', 'trip', 'imei', $1, 'started_at', t.started_at, 'ended_at', t.ended_at,
				'distance_km', t.distance_km, 'odometer_km', t.odometer_km,
				'duration_s', extract(epoch FROM t.duration)::bigint, 'idle_s', extract(epoch FROM t.idle)::bigint,
				'max_speed_kmh', t.max_speed_kmh, 'mean_speed_kmh', t.mean_speed_kmh, 'fuel_l', t.fuel_l,
				'driver', (SELECT d.name FROM at402.driver AS d WHERE d.id = t.driver_id),
				'vehicle', (SELECT v.name FROM at402.vehicle AS v WHERE v.id = t.vehicle_id),
				'private', t.private) AS properties
		FROM @extschema@.at402_trips($1, $2, $3) AS t WHERE t.line IS NOT NULL
		UNION ALL
		SELECT 'position', p.time, p.seq, p.content_hash, @postgis@.ST_AsGeoJSON(p.geom, 6)::jsonb,
			jsonb_build_object('kind', 'position', 'imei', $1, 'time', p.time, 'speed_kmh', p.speed_kmh,
				'heading_deg', p.heading_deg, 'altitude_m', p.altitude_m, 'ignition', p.ignition,
				'reasons', @extschema@.at402_reason_names(p.reasons))
		FROM at402.position AS p
		WHERE p.device_id = (SELECT d.id FROM at402.device AS d WHERE d.imei = $1)
			AND p.time >= $2 AND p.time < $3 AND p.gnss_valid AND p.geom IS NOT NULL AND NOT p.time_suspect) AS f);
END
$$;
COMMENT ON FUNCTION at402_geojson(text, timestamptz, timestamptz) IS
'a FeatureCollection of a device: its trips that overlap the time from since up to until as lines, and its valid fixes in that time as points; property kind is trip or position';

-- A segment of the track for each trip, and for what lies between two.
CREATE FUNCTION at402_gpx(imei text, since timestamptz, until timestamptz) RETURNS text
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
BEGIN
	PERFORM at402_internal.at402_need_table('position');
	RETURN '<?xml version="1.0" encoding="UTF-8"?>' || E'\n' || xmlelement(name gpx,
		xmlattributes('1.1' AS version, 'at402' AS creator, 'http://www.topografix.com/GPX/1/1' AS xmlns),
		(SELECT xmlelement(name trk, xmlelement(name name,
			-- XML has no other control characters, however they are written
			regexp_replace(coalesce(d.name, d.imei), '[^\t\n\r -\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]', '', 'g')), xmlagg(s.segment ORDER BY s.part))
		 FROM at402.device AS d, LATERAL (
			SELECT p.part, xmlelement(name trkseg, xmlagg(xmlelement(name trkpt,
				-- decimals without exponent; longitude ends before 180
				xmlattributes(trim_scale(round(@postgis@.ST_Y(p.geom)::numeric, 7)) AS lat,
					trim_scale(mod(round(@postgis@.ST_X(p.geom)::numeric, 7) + 180, 360) - 180) AS lon),
				CASE WHEN p.altitude_m IS NOT NULL THEN xmlelement(name ele, p.altitude_m) END,
				xmlelement(name time, to_char(p.time, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
				ORDER BY p.time, p.seq, p.content_hash)) AS segment
			FROM (SELECT p.*, width_bucket(p.time, e.edges) AS part
				  FROM at402.position AS p, (
					SELECT array_agg(edge ORDER BY edge) AS edges FROM @extschema@.at402_trips($1, $2, $3) AS t,
						unnest(ARRAY[t.started_at, t.ended_at + interval '1 microsecond']) AS edge
					WHERE edge IS NOT NULL) AS e
				  WHERE p.device_id = d.id AND p.time >= $2 AND p.time < $3
					AND p.gnss_valid AND p.geom IS NOT NULL AND NOT p.time_suspect) AS p
			GROUP BY p.part) AS s
		 WHERE d.imei = $1
		 GROUP BY d.id))::text;
END
$$;
COMMENT ON FUNCTION at402_gpx(text, timestamptz, timestamptz) IS
'a GPX 1.1 track of the valid fixes of a device from since up to until, with a segment for each trip and for what lies between two trips';

-- 22023 where there is no such tile: PostGIS raises XX000.
CREATE FUNCTION at402_internal.at402_tile(z int, x int, y int) RETURNS @postgis@.geometry
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF z NOT BETWEEN 0 AND 30 THEN
		RAISE EXCEPTION 'zoom of a tile is out of range: %', z
			USING ERRCODE = 'invalid_parameter_value', DETAIL = 'It is from 0 to 30.';
	ELSIF least(x, y) < 0 OR greatest(x, y) >= 1 << z THEN
		RAISE EXCEPTION 'there is no tile %/%/%', z, x, y
			USING ERRCODE = 'invalid_parameter_value',
				DETAIL = format('At zoom %s, x and y are from 0 to %s.', z, (1 << z) - 1);
	END IF;
	RETURN @postgis@.ST_TileEnvelope(z, x, y);
END
$$;
COMMENT ON FUNCTION at402_internal.at402_tile(int, int, int) IS
'part of at402_mvt: the square of a tile in Web Mercator; 22023: there is no such tile';

CREATE FUNCTION at402_mvt(z int, x int, y int) RETURNS bytea
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM at402_internal.at402_need_table('geofence');
	RETURN (WITH tile AS MATERIALIZED (
		SELECT t.tile, @postgis@.ST_Transform(t.tile, 4326) AS box FROM at402_internal.at402_tile(z, x, y) AS t (tile)
	), places AS (
		SELECT @postgis@.ST_AsMVTGeom(@postgis@.ST_Transform(p.geom, 3857), t.tile) AS geom, p.device_id, p.imei,
			p.name, p.vehicle, p.plate, p.time, p.speed_kmh, p.heading_deg, p.ignition, p.connected
		FROM at402.last_position AS p JOIN tile AS t ON p.geom OPERATOR(@postgis@.&&) t.box
	), fences AS (
		SELECT @postgis@.ST_AsMVTGeom(@postgis@.ST_Transform(CASE WHEN v.radius_m > 0
				THEN @postgis@.ST_Buffer(v.geom::@postgis@.geography, v.radius_m)::@postgis@.geometry
				ELSE v.geom END, 3857), t.tile) AS geom, g.id, g.name, g.speed_limit_kmh
		FROM at402.geofence_version AS v JOIN tile AS t ON v.box OPERATOR(@postgis@.&&) t.box
			JOIN at402.geofence AS g ON g.id = v.geofence_id
		WHERE upper_inf(v.valid)
	)
	SELECT coalesce((SELECT @postgis@.ST_AsMVT(places, 'last_position', 4096, 'geom', 'device_id') FROM places
					 WHERE geom IS NOT NULL), '')
		|| coalesce((SELECT @postgis@.ST_AsMVT(fences, 'geofence', 4096, 'geom', 'id') FROM fences
					 WHERE geom IS NOT NULL), ''));
END
$$;
COMMENT ON FUNCTION at402_mvt(int, int, int) IS
'a vector tile of Web Mercator with the layers last_position and geofence, as far as the caller may see them: a function layer of pg_tileserv; 22023: there is no such tile';

$sql$);
