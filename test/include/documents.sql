-- Documents to order for at402_encode: for the tests in test/sql, which read this file after
-- frames.sql.

-- one report with these modules
CREATE FUNCTION document(protocol text, modules jsonb, report jsonb DEFAULT '{}') RETURNS jsonb
	LANGUAGE sql AS $$
	SELECT jsonb_build_object('protocol', protocol,
		'imei', CASE WHEN protocol IN ('K', 'M', 'V') THEN '490154203237518' END,
		'reports', jsonb_build_array(
			jsonb_build_object('time', '2024-07-30T16:17:34Z', 'modules', modules) || report))
$$;

-- the modules of the first report when it has been a frame
CREATE FUNCTION there_and_back(document jsonb, protocol text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql AS
	$$ SELECT at402_decode(at402_encode(document), protocol)->'reports'->0->'modules' $$;

-- what encoding a document is refused with
CREATE FUNCTION refused(document jsonb)
RETURNS TABLE (state text, message text, detail text, hint text) LANGUAGE sql AS
	$$ SELECT * FROM error_of(format('SELECT at402_encode(%L)', document)) $$;

