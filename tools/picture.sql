-- The map of a day as SVG: psql -f tools/picture.sql, in a database with the tables of at402.
-- The day is the first that the tables know of.  Lengths are metres from the middle of the places.
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET TIME ZONE 'UTC';
WITH middle AS (
	SELECT ST_X(c) AS x, ST_Y(c) AS y
	FROM (SELECT ST_Centroid(ST_Collect(ST_Centroid(geom))) AS c FROM at402.geofence) AS g),
day AS (SELECT date_trunc('day', min(time)) AS begin FROM at402.position),
projection AS (
	SELECT format('+proj=aeqd +lon_0=%s +lat_0=%s +datum=WGS84 +units=m', x, y) AS text FROM middle),
fence AS (
	SELECT name, tags, ST_Transform(CASE WHEN radius_m IS NULL THEN geom
		ELSE ST_Buffer(geom::geography, radius_m)::geometry END, text) AS shape
	FROM at402.geofence, projection),
track AS (
	SELECT p.device_id, d.name, ST_Simplify(ST_Transform(ST_SetSRID(
		ST_MakeLine(p.geom ORDER BY p.time, p.seq), 4326), text), 12) AS line
	FROM at402.position AS p JOIN at402.device AS d ON d.id = p.device_id, day, projection
	WHERE p.gnss_valid AND p.time >= day.begin AND p.time < day.begin + interval '1 day'
	GROUP BY p.device_id, d.name, text),
colour AS (SELECT device_id, name, line, row_number() OVER (ORDER BY device_id) AS n,
	format('hsl(%s,70%%,42%%)', (row_number() OVER (ORDER BY device_id) - 1) * 30) AS ink FROM track),
box AS (SELECT ST_Expand(ST_Extent(shape), 1000, 500) AS b FROM fence),
item (z, svg) AS (
	SELECT 0, format('<rect x="%s" y="%s" width="%s" height="%s" fill="#fbfaf6"/>',
		ST_XMin(b)::int, (-ST_YMax(b))::int, (ST_XMax(b) - ST_XMin(b))::int, (ST_YMax(b) - ST_YMin(b))::int)
	FROM box
	UNION ALL
	SELECT 1, format('<path d="%s" fill="%s" stroke="#888" stroke-width="12"/>', ST_AsSVG(shape, 1, 0),
		CASE tags[1] WHEN 'depot' THEN '#c8dcf0' WHEN 'zone' THEN '#eeeade' ELSE '#d9ead3' END)
	FROM fence
	UNION ALL
	SELECT 2, format('<path d="%s" fill="none" stroke="%s" stroke-width="32" stroke-opacity="0.55"/>',
		ST_AsSVG(line, 1, 0), ink) FROM colour
	UNION ALL
	SELECT 3, format('<text x="%s" y="%s" font-size="210">%s</text>',
		(ST_XMax(shape) + 40)::int, (-ST_Y(ST_Centroid(shape)) + 70)::int, name)
	FROM fence WHERE tags[1] <> 'zone'
	UNION ALL
	SELECT 4, format('<circle cx="%s" cy="%s" r="110" fill="#d00" stroke="#fff" stroke-width="30"/>'
		'<text x="%1$s" y="%2$s" dx="160" dy="-90" font-size="210" fill="#d00">%s: %s</text>',
		ST_X(g)::int, (-ST_Y(g))::int, d.name, e.kind)
	FROM at402.event AS e JOIN at402.device AS d ON d.id = e.device_id, day, projection,
		ST_Transform(e.geom, text) AS g
	WHERE e.kind = 'panic' AND e.time >= day.begin AND e.time < day.begin + interval '1 day'
	UNION ALL
	SELECT 5, format('<rect x="%s" y="%s" width="350" height="70" fill="%s"/>'
		'<text x="%s" y="%s" font-size="210">%s</text>', (ST_XMax(b) - 1500)::int,
		(-ST_YMin(b) - 3900 + n * 290)::int, ink, (ST_XMax(b) - 1050)::int,
		(-ST_YMin(b) - 3820 + n * 290)::int, name)
	FROM colour, box)
SELECT format('<svg xmlns="http://www.w3.org/2000/svg" viewBox="%s %s %s %s" width="900" '
	'font-family="sans-serif" fill="#333">', ST_XMin(b)::int, (-ST_YMax(b))::int,
	(ST_XMax(b) - ST_XMin(b))::int, (ST_YMax(b) - ST_YMin(b))::int) FROM box
UNION ALL
SELECT * FROM (SELECT svg FROM item ORDER BY z, svg) AS i
UNION ALL
SELECT '</svg>';
