-- Type at402_frame: one complete frame as received, with its operators.
-- Stored as bytea is; comparing and hashing are bytea's own functions.

CREATE TYPE at402_frame;

CREATE FUNCTION at402_internal.at402_frame_in(cstring) RETURNS at402_frame
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION at402_internal.at402_frame_out(at402_frame) RETURNS cstring
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION at402_internal.at402_frame_recv(internal) RETURNS at402_frame
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
CREATE FUNCTION at402_internal.at402_frame_send(at402_frame) RETURNS bytea
    AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_internal.at402_frame_in(cstring) IS 'input function of at402_frame';
COMMENT ON FUNCTION at402_internal.at402_frame_out(at402_frame) IS 'output function of at402_frame';
COMMENT ON FUNCTION at402_internal.at402_frame_recv(internal) IS 'binary input function of at402_frame';
COMMENT ON FUNCTION at402_internal.at402_frame_send(at402_frame) IS 'binary output function of at402_frame';

CREATE TYPE at402_frame (
    INPUT = at402_internal.at402_frame_in,
    OUTPUT = at402_internal.at402_frame_out,
    RECEIVE = at402_internal.at402_frame_recv,
    SEND = at402_internal.at402_frame_send,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
COMMENT ON TYPE at402_frame IS
    'one complete AT402 frame as received: login line, other $ line, or packet with a good checksum; text form \x and hexadecimal digits';

CREATE FUNCTION at402_frame(bytea) RETURNS at402_frame
    AS 'MODULE_PATHNAME', 'at402_frame_from_bytea' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION at402_frame(bytea) IS
    'bytes as a frame; ERROR 22P03 when letter, length or checksum are wrong';

CREATE CAST (bytea AS at402_frame) WITH FUNCTION at402_frame(bytea);
COMMENT ON CAST (bytea AS at402_frame) IS 'checks letter, length and checksum';
CREATE CAST (at402_frame AS bytea) WITHOUT FUNCTION AS ASSIGNMENT;
COMMENT ON CAST (at402_frame AS bytea) IS 'the bytes of the frame';

CREATE FUNCTION at402_internal.at402_frame_eq(at402_frame, at402_frame) RETURNS bool
    AS 'byteaeq' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_ne(at402_frame, at402_frame) RETURNS bool
    AS 'byteane' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_lt(at402_frame, at402_frame) RETURNS bool
    AS 'bytealt' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_le(at402_frame, at402_frame) RETURNS bool
    AS 'byteale' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_gt(at402_frame, at402_frame) RETURNS bool
    AS 'byteagt' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_ge(at402_frame, at402_frame) RETURNS bool
    AS 'byteage' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_cmp(at402_frame, at402_frame) RETURNS int
    AS 'byteacmp' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_hash(at402_frame) RETURNS int
    AS 'hashvarlena' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
CREATE FUNCTION at402_internal.at402_frame_hash_extended(at402_frame, bigint) RETURNS bigint
    AS 'hashvarlenaextended' LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE LEAKPROOF;
COMMENT ON FUNCTION at402_internal.at402_frame_eq(at402_frame, at402_frame) IS 'implementation of =: same bytes';
COMMENT ON FUNCTION at402_internal.at402_frame_ne(at402_frame, at402_frame) IS 'implementation of <>';
COMMENT ON FUNCTION at402_internal.at402_frame_lt(at402_frame, at402_frame) IS 'implementation of <: order of the bytes';
COMMENT ON FUNCTION at402_internal.at402_frame_le(at402_frame, at402_frame) IS 'implementation of <=';
COMMENT ON FUNCTION at402_internal.at402_frame_gt(at402_frame, at402_frame) IS 'implementation of >';
COMMENT ON FUNCTION at402_internal.at402_frame_ge(at402_frame, at402_frame) IS 'implementation of >=';
COMMENT ON FUNCTION at402_internal.at402_frame_cmp(at402_frame, at402_frame) IS 'less, equal or greater: -1, 0, 1';
COMMENT ON FUNCTION at402_internal.at402_frame_hash(at402_frame) IS 'hash of the bytes';
COMMENT ON FUNCTION at402_internal.at402_frame_hash_extended(at402_frame, bigint) IS 'hash of the bytes, 64 bits, with seed';

CREATE OPERATOR = (
    LEFTARG = at402_frame, RIGHTARG = at402_frame, FUNCTION = at402_internal.at402_frame_eq,
    COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
CREATE OPERATOR <> (
    LEFTARG = at402_frame, RIGHTARG = at402_frame, FUNCTION = at402_internal.at402_frame_ne,
    COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (
    LEFTARG = at402_frame, RIGHTARG = at402_frame, FUNCTION = at402_internal.at402_frame_lt,
    COMMUTATOR = >, NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (
    LEFTARG = at402_frame, RIGHTARG = at402_frame, FUNCTION = at402_internal.at402_frame_le,
    COMMUTATOR = >=, NEGATOR = >, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (
    LEFTARG = at402_frame, RIGHTARG = at402_frame, FUNCTION = at402_internal.at402_frame_gt,
    COMMUTATOR = <, NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (
    LEFTARG = at402_frame, RIGHTARG = at402_frame, FUNCTION = at402_internal.at402_frame_ge,
    COMMUTATOR = <=, NEGATOR = <, RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR = (at402_frame, at402_frame) IS 'same bytes';
COMMENT ON OPERATOR <> (at402_frame, at402_frame) IS 'other bytes';
COMMENT ON OPERATOR < (at402_frame, at402_frame) IS 'before in the order of the bytes';
COMMENT ON OPERATOR <= (at402_frame, at402_frame) IS 'before or the same';
COMMENT ON OPERATOR > (at402_frame, at402_frame) IS 'after in the order of the bytes';
COMMENT ON OPERATOR >= (at402_frame, at402_frame) IS 'after or the same';

CREATE OPERATOR CLASS at402_frame_ops DEFAULT FOR TYPE at402_frame USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 at402_internal.at402_frame_cmp(at402_frame, at402_frame);
CREATE OPERATOR CLASS at402_frame_ops DEFAULT FOR TYPE at402_frame USING hash AS
    OPERATOR 1 =,
    FUNCTION 1 at402_internal.at402_frame_hash(at402_frame),
    FUNCTION 2 at402_internal.at402_frame_hash_extended(at402_frame, bigint);
COMMENT ON OPERATOR CLASS at402_frame_ops USING btree IS 'order of the bytes';
COMMENT ON OPERATOR CLASS at402_frame_ops USING hash IS 'hash of the bytes';
COMMENT ON OPERATOR FAMILY at402_frame_ops USING btree IS 'order of the bytes';
COMMENT ON OPERATOR FAMILY at402_frame_ops USING hash IS 'hash of the bytes';
