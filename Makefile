# at402 - built with PostgreSQL's makefiles for extensions (PGXS)
#
#   make            the extension
#   make install    puts it into PostgreSQL's directories
#   make run        a private server with the listener on port 8888; installs what is missing
#                   PORT=8888  LISTEN=localhost  DEMO=1 (0: no simulated trackers)
#   make stop       stops that server
#   make clean-run  stops it and removes its data
#   make picture    doc/day.svg, the map of its first day
#   make check      builds and tests everything; installs what is missing
#   make torture    kills, stops and locks the server under load; nothing may be lost or doubled
#                   ROUNDS=200  SEED=n (the one to repeat)
#   make unit       the tests of src/core and src/net, which need no PostgreSQL
#   make fuzz       libFuzzer on each target of test/fuzz; needs clang
#                   FUZZ_SECONDS=60 each
#   make bench      what the listener reaches, beside what the machine could do; results in .bench
#                   BENCH="ratio profile latency connections flat size queries instructions"  BENCH_SECONDS=8
#                   BENCH_ROWS=20 (million)
#   make bench-decode   reports decoded in a second, by src/core and in SQL; installs what is missing
#   make bench-rules    what 20 and 200 rules cost the listener; installs what is missing
#   make bench-fences   what 1,000 and 100,000 geofences cost storing; installs what is missing
#   make sim        tools/at402sim, simulated trackers
#   make docs       doc/protocol.md, from the table that decodes, and doc/sql.md, from the comments in SQL;
#                   installs what is missing
#   make clean
#
# WERROR=1 makes warnings errors.

EXTENSION = at402
# at402.control is the one place where the version is spelled
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" at402.control)

MODULE_big = at402
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*/*.c)))
SQL_PARTS = $(sort $(wildcard sql/[0-9][0-9]-*.sql))
DATA_built = sql/at402--$(EXTVERSION).sql
DATA = $(wildcard sql/at402--*--*.sql)

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test
ENCODING = UTF8
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

# The part that is plain C: no PostgreSQL
PURE = $(sort $(wildcard src/core/*.c src/net/*.c))
PURE_HEADERS = $(wildcard src/core/*.h src/core/*.def src/net/*.h)
SIM = tools/at402sim.c $(sort $(wildcard tools/sim_*.c))
UNIT_TESTS = $(patsubst %.c,%.bin,$(sort $(wildcard test/unit/test_*.c)))
FUZZ_TARGETS = $(patsubst test/fuzz/fuzz_%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
FUZZERS = $(FUZZ_TARGETS:%=test/fuzz/fuzz_%.bin)
REPLAYS = $(FUZZ_TARGETS:%=test/fuzz/replay_%.bin)
TEST_HEADERS = $(wildcard test/unit/*.h test/fuzz/*.h)
FUZZ_SECONDS = 60

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(if $(WERROR),-Werror)
PURE_CFLAGS = -std=c11 -D_GNU_SOURCE -g $(WARNINGS) -Isrc
TEST_CFLAGS = -Itest/unit -DAT402_TEST_DIR='"$(CURDIR)/test"'
SANITIZE = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

PG_CPPFLAGS = -I$(srcdir)/src -DAT402_VERSION='"$(EXTVERSION)"' -MMD -MP
PG_CFLAGS = $(WARNINGS)
EXTRA_CLEAN = $(OBJS:.o=.d) $(UNIT_TESTS) $(FUZZERS) $(REPLAYS) test/bench/*.bin \
	tools/at402sim tools/protocol_doc

# These work on a machine without PostgreSQL
ifneq ($(filter-out run stop clean-run picture check torture unit fuzz bench bench-decode bench-rules bench-fences bench-core bench-load sim docs,$(or $(MAKECMDGOALS),all)),)
PG_CONFIG = pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
ifeq ($(PGXS),)
$(error no pg_config: install postgresql-server-dev-15, or type "make run")
endif
override with_llvm = no
include $(PGXS)

PG_PROVE_FLAGS += -I $(srcdir)/test/perl
# PostgreSQL's headers are not ours to warn about, and its flags are gcc's
override CPPFLAGS := $(subst -I$(includedir_server),-isystem $(includedir_server),$(CPPFLAGS))
ifneq ($(findstring clang,$(CC)),)
override CFLAGS += -Wno-unknown-warning-option -Wno-ignored-optimization-argument
endif

# lengthof() of PostgreSQL is unsigned, and loops over it are not; what it calls back has a form
# that is given
src/pg/%.o src/worker/%.o: override CFLAGS += -Wno-sign-compare -Wno-unused-parameter

-include $(OBJS:.o=.d)
endif

$(OBJS): Makefile at402.control

$(DATA_built): $(SQL_PARTS) at402.control
	{ printf '%s\n' '\echo Use "CREATE EXTENSION at402" to load this file. \quit'; \
	  cat $(SQL_PARTS); } > $@

run stop clean-run picture:
	@tools/run.sh $@

# PGXS has a check of its own, which only says that it is not supported
ifneq ($(filter check,$(MAKECMDGOALS)),)
check:
	@test/check.sh
endif

torture bench bench-rules bench-fences:
	@test/check.sh $@

bench-decode:
	@test/check.sh $@

sim: tools/at402sim

tools/at402sim: $(SIM) $(PURE) $(PURE_HEADERS) $(wildcard tools/*.h)
	$(CC) $(PURE_CFLAGS) -O2 -o $@ $(SIM) $(PURE) -lm

docs: tools/protocol_doc
	tools/protocol_doc >doc/protocol.md
	@test/check.sh $@

tools/protocol_doc: tools/protocol_doc.c $(PURE) $(PURE_HEADERS)
	$(CC) $(PURE_CFLAGS) -o $@ $< $(PURE)

unit: $(UNIT_TESTS) $(REPLAYS)
	@failed=0; for test in $^; do \
		if $$test; then echo "ok - $$test"; else echo "not ok - $$test"; failed=1; fi; done; \
	exit $$failed

$(UNIT_TESTS): %.bin: %.c $(PURE) $(PURE_HEADERS) $(TEST_HEADERS)
	$(CC) $(PURE_CFLAGS) $(TEST_CFLAGS) $(SANITIZE) -o $@ $< $(PURE)

$(REPLAYS): test/fuzz/replay_%.bin: test/fuzz/fuzz_%.c test/fuzz/replay.c $(PURE) $(PURE_HEADERS) \
		$(TEST_HEADERS)
	$(CC) $(PURE_CFLAGS) $(TEST_CFLAGS) $(SANITIZE) -DFUZZ_TARGET='"$*"' -o $@ $(filter %.c,$^)

fuzz: $(FUZZERS)
	@for target in $(FUZZ_TARGETS); do test/fuzz/run.sh $$target $(FUZZ_SECONDS) || exit 1; done

$(FUZZERS): %.bin: %.c $(PURE) $(PURE_HEADERS) $(TEST_HEADERS)
	clang $(PURE_CFLAGS) $(TEST_CFLAGS) $(SANITIZE) -fsanitize=fuzzer -o $@ $< $(PURE)

bench-core: test/bench/bench_decode.bin
	$<

bench-load: test/bench/load.bin

# Optimized as PGXS does it
test/bench/%.bin: test/bench/%.c $(PURE) $(PURE_HEADERS) $(TEST_HEADERS)
	$(CC) $(PURE_CFLAGS) $(TEST_CFLAGS) -O2 -o $@ $< $(PURE) -lm

.PHONY: run stop clean-run picture check torture sim docs unit fuzz bench bench-decode bench-rules bench-fences bench-core bench-load
.DELETE_ON_ERROR:
