-- What the listeners publish.

CREATE FUNCTION at402_internal.at402_stat_listener_rows(
    OUT listener int, OUT pid int, OUT state text, OUT address text, OUT port int,
    OUT started_at timestamptz, OUT connections bigint, OUT accepted bigint, OUT refused bigint,
    OUT bytes bigint, OUT frames bigint, OUT datagrams bigint, OUT datagrams_lost bigint,
    OUT bad_crc bigint, OUT unknown_protocol bigint, OUT timeouts bigint, OUT answers bigint,
    OUT answers_lost bigint, OUT buffered_bytes bigint, OUT reports bigint, OUT inserted bigint,
    OUT duplicates bigint, OUT quarantined bigint, OUT unknown_sender bigint, OUT ignored bigint,
    OUT over_limit bigint, OUT not_quarantined bigint, OUT commands bigint,
    OUT driver_checks bigint, OUT driver_failures bigint, OUT batches bigint, OUT failed_batches bigint,
    OUT ack_latency_avg_ms float8, OUT ack_latency_max_ms float8, OUT last_error text,
    OUT last_error_at timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION at402_internal.at402_stat_listener_rows() IS 'rows of the view at402_stat_listener';

CREATE VIEW at402_stat_listener AS SELECT * FROM at402_internal.at402_stat_listener_rows();
COMMENT ON VIEW at402_stat_listener IS
    'one row a listener, counted since its start or at402_stat_reset(); no row when the library is not preloaded';
COMMENT ON COLUMN at402_stat_listener.listener IS 'number of the worker, from 1';
COMMENT ON COLUMN at402_stat_listener.pid IS 'its process; NULL: it does not run';
COMMENT ON COLUMN at402_stat_listener.state IS
    'listening; quarantining: it listens, but of what came last no report could be stored; retrying: the last batch could not be stored; waiting: extension, tables, rights or port are missing; off: neither TCP nor UDP; paused: at402.paused; stopped';
COMMENT ON COLUMN at402_stat_listener.address IS 'at402.listen_addresses as in force';
COMMENT ON COLUMN at402_stat_listener.port IS 'port listened on, TCP and UDP';
COMMENT ON COLUMN at402_stat_listener.started_at IS 'when the worker started';
COMMENT ON COLUMN at402_stat_listener.connections IS 'open TCP connections';
COMMENT ON COLUMN at402_stat_listener.accepted IS 'TCP connections accepted';
COMMENT ON COLUMN at402_stat_listener.refused IS 'TCP connections refused: too many, or no memory';
COMMENT ON COLUMN at402_stat_listener.bytes IS 'bytes received';
COMMENT ON COLUMN at402_stat_listener.frames IS 'complete frames with a good checksum';
COMMENT ON COLUMN at402_stat_listener.datagrams IS 'UDP datagrams received';
COMMENT ON COLUMN at402_stat_listener.datagrams_lost IS 'UDP datagrams dropped by the kernel: its buffer was full';
COMMENT ON COLUMN at402_stat_listener.bad_crc IS 'packets with a wrong checksum: not answered';
COMMENT ON COLUMN at402_stat_listener.unknown_protocol IS
    'streams that could not be followed (first byte, length, endless line): closed, not answered';
COMMENT ON COLUMN at402_stat_listener.timeouts IS 'TCP connections closed by at402.login_timeout or idle_timeout';
COMMENT ON COLUMN at402_stat_listener.answers IS 'bytes 0x06 sent';
COMMENT ON COLUMN at402_stat_listener.answers_lost IS 'answers whose connection was gone: the tracker repeats';
COMMENT ON COLUMN at402_stat_listener.buffered_bytes IS 'memory held for frames that are not complete';
COMMENT ON COLUMN at402_stat_listener.reports IS 'reports in packets that could be read';
COMMENT ON COLUMN at402_stat_listener.inserted IS 'reports stored';
COMMENT ON COLUMN at402_stat_listener.duplicates IS 'reports that were stored already: answered';
COMMENT ON COLUMN at402_stat_listener.quarantined IS 'reports and whole frames put in at402.quarantine';
COMMENT ON COLUMN at402_stat_listener.unknown_sender IS
    'packets and text lines of nobody, without IMEI and without a login before them: not answered; a packet closes the connection, lines do after a few';
COMMENT ON COLUMN at402_stat_listener.ignored IS
    'frames of unknown devices while at402.unknown_devices = ignore: not answered';
COMMENT ON COLUMN at402_stat_listener.over_limit IS
    'frames of unknown devices past at402.register_limit: not answered';
COMMENT ON COLUMN at402_stat_listener.not_quarantined IS
    'frames that could not be quarantined (full, or it fails): not answered';
COMMENT ON COLUMN at402_stat_listener.commands IS 'commands sent to devices';
COMMENT ON COLUMN at402_stat_listener.driver_checks IS 'times that a device asked whether somebody may drive';
COMMENT ON COLUMN at402_stat_listener.driver_failures IS
    'of these: about another device, too many, or at402.authorise_driver() failed or was too slow: not answered';
COMMENT ON COLUMN at402_stat_listener.batches IS 'transactions committed';
COMMENT ON COLUMN at402_stat_listener.failed_batches IS 'transactions rolled back, to be tried again';
COMMENT ON COLUMN at402_stat_listener.ack_latency_avg_ms IS 'ms from a frame''s last byte to its answer, average';
COMMENT ON COLUMN at402_stat_listener.ack_latency_max_ms IS 'the same, longest';
COMMENT ON COLUMN at402_stat_listener.last_error IS
    'what it waits for, with the statement to execute; or why the last batch that failed did, why reports went to quarantine, or why the port could not be opened; shown to members of pg_read_all_stats';
COMMENT ON COLUMN at402_stat_listener.last_error_at IS 'when that was';

CREATE FUNCTION at402_internal.at402_stat_connection_rows(
    OUT listener int, OUT imei text, OUT protocol text, OUT peer inet, OUT peer_port int,
    OUT connected_at timestamptz, OUT last_frame_at timestamptz, OUT frames bigint,
    OUT answers bigint, OUT bytes bigint) RETURNS SETOF record
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 100;
COMMENT ON FUNCTION at402_internal.at402_stat_connection_rows() IS 'rows of the view at402_stat_connection';

CREATE VIEW at402_stat_connection AS SELECT * FROM at402_internal.at402_stat_connection_rows();
COMMENT ON VIEW at402_stat_connection IS
    'one row an open TCP connection of a tracker; IMEI and peer are shown to members of pg_read_all_stats';
COMMENT ON COLUMN at402_stat_connection.listener IS 'number of the worker that holds it';
COMMENT ON COLUMN at402_stat_connection.imei IS 'of the login line; NULL: no login (the packets carry it)';
COMMENT ON COLUMN at402_stat_connection.protocol IS 'letter of the login line';
COMMENT ON COLUMN at402_stat_connection.peer IS 'address of the tracker, or of the gateway of its network';
COMMENT ON COLUMN at402_stat_connection.peer_port IS 'its port';
COMMENT ON COLUMN at402_stat_connection.connected_at IS 'since when';
COMMENT ON COLUMN at402_stat_connection.last_frame_at IS 'when the last complete frame came';
COMMENT ON COLUMN at402_stat_connection.frames IS 'complete frames with a good checksum';
COMMENT ON COLUMN at402_stat_connection.answers IS 'bytes 0x06 sent';
COMMENT ON COLUMN at402_stat_connection.bytes IS 'bytes received';

GRANT SELECT ON at402_stat_listener, at402_stat_connection TO PUBLIC;

CREATE FUNCTION at402_stat_reset() RETURNS void
    AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION at402_stat_reset() IS 'begins to count anew in at402_stat_listener';
REVOKE EXECUTE ON FUNCTION at402_stat_reset() FROM PUBLIC;
