# make            build everything into build/release/bin
# make demo       from a bare Debian 12: install, build, run the main job, show it
# make test       from a bare Debian 12: install, build, run every test
# make up | down | status   the local stack in the background, data under .run/
# make check      build and run the unit tests          (SAN=address,undefined: in its own folder)
# make sim        build and run the simulations: SIMFLAGS of the cluster, DAYFLAGS of the day
# make integration, make fuzz, make bench, make format, make format-check, make tidy
#
# A .c file under common/, services/<name>/, tools/<name>/ or tests/unit/<name>/ is found by itself; a new
# folder under services/ or tools/ is a new binary. V=1 shows the commands.

SAN    ?=
comma  := ,
BUILD  := build/$(if $(SAN),$(subst $(comma),-,$(SAN)),release)$(if $(filter clang,$(CC)),-clang)
PREFIX ?= /usr/local
PKGS   := libnats libmicrohttpd jansson libpq libprotobuf-c libcurl libcrypto libxxhash liburing zlib
Q      := $(if $(V),,@)

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
           -Wformat=2 -Wundef -Wvla -Werror
SANFLAG := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
PKG_C   := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_L   := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -ljq -lonig -lm -lpthread
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMPILE  = $(CC) -std=gnu11 -D_GNU_SOURCE -I. -I$(BUILD)/gen $(WARN) $(CFLAGS) $(SANFLAG) $(PKG_C)
LINK     = $(CC) $(CFLAGS) $(SANFLAG) $(LDFLAGS)

obj       = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)/*.c))
nomain    = $(filter-out %/main.o,$(call obj,$(1)))
SERVICES := $(notdir $(wildcard services/*))
TOOLS    := $(notdir $(patsubst %/main.c,%,$(wildcard tools/*/main.c)))
PROTOS   := $(wildcard proto/*.proto)
GEN_C    := $(PROTOS:%.proto=$(BUILD)/gen/%.pb-c.c) $(BUILD)/gen/migrations.c
GEN_O    := $(GEN_C:.c=.o)
LIB      := $(BUILD)/libcommon.a
BINS     := $(SERVICES:%=$(BUILD)/bin/penstock-%) \
            $(foreach t,$(TOOLS),$(BUILD)/bin/$(if $(filter penstock,$(t)),penstock,penstock-$(t)))
# tests/unit/<name>/test_*.c: a program each, linked with services/<name>/ less its main(), and common/.
TEST_C   := $(wildcard tests/unit/*/test_*.c)
TESTS    := $(TEST_C:%.c=$(BUILD)/%)
# tests/conformance, tests/sim and tests/day: one program each.
SUITES   := $(foreach s,conformance sim day,$(if $(wildcard tests/$(s)/*.c),$(BUILD)/tests/$(s)/$(s)))
FUZZ_C   := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS  := $(FUZZ_C:tests/fuzz/%.c=$(BUILD)/%)
SRC_C    := $(wildcard common/*.c services/*/*.c tools/*/*.c tests/unit/*/*.c tests/conformance/*.c \
              tests/sim/*.c tests/day/*.c tests/fuzz/*.c)
SRC_H    := $(wildcard common/*.h services/*/*.h tools/*/*.h tests/*/*.h tests/unit/*/*.h)
OBJS     := $(SRC_C:%.c=$(BUILD)/%.o)

.PHONY: all deps deps-test check sim conformance integration test demo up down status bench fuzz \
        install clean format format-check tidy FORCE
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

all: $(BINS)

define service_rule
$(BUILD)/bin/penstock-$(1): $(call obj,services/$(1)) $(LIB)
	@mkdir -p $$(@D)
	$$(Q)$$(LINK) -o $$@ $$^ $$(PKG_L)
endef
$(foreach s,$(SERVICES),$(eval $(call service_rule,$(s))))

define tool_rule
$(BUILD)/bin/$(if $(filter penstock,$(1)),penstock,penstock-$(1)): $(call obj,tools/$(1)) $(LIB)
	@mkdir -p $$(@D)
	$$(Q)$$(LINK) -o $$@ $$^ $$(PKG_L)
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rule,$(t))))

# A test says what it needs besides its folder's service and common/ in a line of its own:
# /* links: services/edge */.
links   = $(shell sed -n 's,^/\* links: \(.*\) \*/$$,\1,p' $(1))

# What the tests of one folder share lies beside them, in files that do not begin with test_.
helpers = $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(dir $(1))test_%,$(wildcard $(dir $(1))*.c)))

define test_rule
$(BUILD)/$(basename $(1)): $(BUILD)/$(1:.c=.o) $(call helpers,$(1)) \
    $(call nomain,services/$(notdir $(patsubst %/,%,$(dir $(1))))) \
    $(call nomain,tools/$(notdir $(patsubst %/,%,$(dir $(1))))) \
    $(foreach d,$(call links,$(1)),$(call nomain,$(d))) $(LIB)
	$$(Q)$$(LINK) -o $$@ $$^ $$(PKG_L) $$(shell pkg-config --libs check)
endef
$(foreach t,$(TEST_C),$(eval $(call test_rule,$(t))))

# saga_rig.c writes down which transitions the tests of the saga take.
$(BUILD)/tests/unit/orchestrator-worker/test_%: private LDFLAGS += -Wl,--wrap=saga_follows

$(BUILD)/tests/conformance/conformance: $(call obj,tests/conformance) $(LIB)
	$(Q)$(LINK) -o $@ $^ $(PKG_L) $(shell pkg-config --libs check)

# The model of both is what http.h leads to, tests/day/server.c.
GRANTING := $(addprefix $(BUILD)/services/control-plane/,lease.o lease_share.o aimd.o trail.o)
$(BUILD)/tests/sim/sim: $(call obj,tests/sim) $(call nomain,services/router) \
    $(filter-out %/http.o,$(call nomain,services/orchestrator-worker)) \
    $(call nomain,services/event-store) $(call nomain,services/edge) $(GRANTING) \
    $(BUILD)/services/control-plane/granting.o $(BUILD)/tests/day/server.o $(LIB)
	$(Q)$(LINK) -o $@ $^ $(PKG_L)

$(BUILD)/tests/day/day: $(call obj,tests/day) \
    $(filter-out %/http.o,$(call nomain,services/orchestrator-worker)) \
    $(GRANTING) $(BUILD)/services/router/window.o $(LIB)
	$(Q)$(LINK) -o $@ $^ $(PKG_L)

$(LIB): $(call obj,common) $(GEN_O)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

# protoc-c names its output after the input's path, so gen/proto/event.pb-c.h is "proto/event.pb-c.h".
$(BUILD)/gen/%.pb-c.c: %.proto $(PROTOS)
	@mkdir -p $(@D)
	$(Q)protoc-c --c_out=$(BUILD)/gen $<

# The migrations travel inside the binaries: one C string each.
$(BUILD)/gen/migrations.c: $(wildcard sql/*.sql) tools/embed-sql.sh
	@mkdir -p $(@D)
	$(Q)tools/embed-sql.sh $(sort $(wildcard sql/*.sql)) >$@

# Private: else the stamp of the flags would be made with it, too.
$(GEN_O): private WARN := -w
$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags | $(GEN_C)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

# Order-only: generated headers must exist before the first compile; from then on the .d files know which
# objects really include them.
$(BUILD)/%.o: %.c $(BUILD)/flags | $(GEN_C)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -MMD -MP -c -o $@ $<

# The only object that knows the version, so that a commit does not rebuild the rest.
$(BUILD)/common/env.o: common/env.c $(BUILD)/flags $(BUILD)/version | $(GEN_C)
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -DPENSTOCK_VERSION='"$(VERSION)"' -MMD -MP -c -o $@ $<

$(BUILD)/version: FORCE
	@mkdir -p $(@D); echo '$(VERSION)' | cmp -s - $@ || echo '$(VERSION)' >$@

# The generated header is written along with its .c; this tells make so.
$(BUILD)/gen/%.pb-c.h: $(BUILD)/gen/%.pb-c.c ;

# Rewritten only when the flags change, and then everything is rebuilt.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D); echo '$(COMPILE)' | cmp -s - $@ || echo '$(COMPILE)' >$@

# Debian's packages, asked for only where something is missing.
deps:
	@tools/deps.sh
deps-test:
	@tools/deps.sh test

# The tests of what speaks to PostgreSQL find a private one in PENSTOCK_TEST_PG_DSN.
# Check's own timeouts (4 s) are for an idle machine and no sanitizer.
check: $(TESTS)
	@CK_TIMEOUT_MULTIPLIER=8 tests/with-postgres tests/run-unit $(TESTS)
conformance: $(BUILD)/tests/conformance/conformance
	@tests/conformance/run $<
# With a sanitizer not all of the day.
DAYFLAGS ?= $(if $(SAN),--plan failures)
sim: $(BUILD)/tests/sim/sim $(BUILD)/tests/day/day
	@$(BUILD)/tests/sim/sim $(SIMFLAGS)
	@$(BUILD)/tests/day/day $(DAYFLAGS)
# Real servers, and a WebSocket client that is not ours. PYTEST='-k kill' for some of them. Most of the time
# is waiting, so several files run at once, each with a stack of its own; PYTEST_JOBS=0: one after the other.
PYTEST_JOBS ?= 3
integration: all
	@PENSTOCK_BIN=$(BUILD)/bin /usr/bin/python3 -m pytest -q --timeout 180 -p no:cacheprovider -n $(PYTEST_JOBS) \
	    --dist loadfile $(PYTEST) tests/integration

# --- the two commands of the README, and the local stack; each brings what is missing on this machine
STACK := /usr/bin/python3 tools/stack.py --bin $(BUILD)/bin
demo: deps
	@$(MAKE) --no-print-directory -j2 all
	@$(STACK) demo
test: deps-test
	@$(MAKE) --no-print-directory -j2 all tests
	@$(MAKE) --no-print-directory check conformance sim integration
.PHONY: tests
tests: $(TESTS) $(SUITES)
up: deps
	@$(MAKE) --no-print-directory -j2 all
	@$(STACK) $(if $(EDGES),--edges $(EDGES)) $(if $(ROUTERS),--routers $(ROUTERS)) \
	    $(if $(WORKERS),--workers $(WORKERS)) $(if $(STORES),--stores $(STORES)) \
	    $(if $(CONTROLS),--controls $(CONTROLS)) up
down:
	@$(STACK) $(if $(PURGE),--purge) down
status:
	@$(STACK) status
bench: deps
	@$(MAKE) --no-print-directory -j2 all
	@/usr/bin/python3 bench/run.py --bin $(BUILD)/bin $(BENCH)

# tests/fuzz/fuzz_<name>.c says what it needs besides common/ likewise.
# New inputs are kept under build/fuzz/corpus; those worth keeping for ever are in tests/fuzz/corpus/fuzz_<name>.
FUZZ_S ?= 60
FUZZ   ?= $(notdir $(FUZZERS))
define fuzz_rule
$(BUILD)/$(1): $(BUILD)/tests/fuzz/$(1).o \
    $(foreach d,$(call links,tests/fuzz/$(1).c),$(call nomain,$(d))) $(LIB)
	$$(Q)$$(LINK) -fsanitize=fuzzer -o $$@ $$^ $$(PKG_L)
endef
$(foreach f,$(notdir $(FUZZERS)),$(eval $(call fuzz_rule,$(f))))
$(BUILD)/fuzz_capacity: $(GRANTING)

.PHONY: fuzzers
fuzzers: $(addprefix $(BUILD)/,$(FUZZ))

fuzz:
	@$(MAKE) --no-print-directory BUILD=build/fuzz CC=clang CFLAGS='-O1 -g' \
	    SAN=fuzzer-no-link,address,undefined fuzzers
	@FUZZ_S=$(FUZZ_S) tests/run-fuzz $(FUZZ)

install: $(BINS)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BINS) $(DESTDIR)$(PREFIX)/bin

clean:
	rm -rf build compile_commands.json

format:
	@clang-format -i $(SRC_C) $(SRC_H)
format-check:
	@clang-format --dry-run -Werror $(SRC_C) $(SRC_H)

compile_commands.json: $(BUILD)/flags FORCE
	@sep='['; for f in $(SRC_C); do \
	    printf '%s\n{"directory": "$(CURDIR)", "file": "%s", "command": "$(COMPILE) -c %s"}' \
	        "$$sep" "$$f" "$$f"; sep=','; done >$@.new; \
	echo ']' >>$@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# make tidy FILES=common/loop.c for one of them. What is checked is in .clang-tidy.
FILES ?= $(SRC_C)
tidy: compile_commands.json $(GEN_C)
	@printf '%s\n' $(FILES) | xargs -P 2 -n 4 clang-tidy --quiet -p . 2>$(BUILD)/tidy.log || \
	    { grep -v 'warnings\? generated' $(BUILD)/tidy.log; exit 1; }

# What each object really includes, as the compiler saw it.
-include $(OBJS:.o=.d) $(GEN_O:.o=.d)
