# Every target does its own set-up. `make help` lists them.
.DEFAULT_GOAL := help
CARGO ?= cargo
FUZZ_SECONDS ?= 60
TEST_ENV := $(or $(TOLLGATE_TEST_ENV),target/test-env)
# What the program does at work, and the flags that build by it.
PROFILE := $(abspath $(or $(CARGO_TARGET_DIR),target))/work.profdata
BY_PROFILE = RUSTFLAGS="$(RUSTFLAGS) -Cprofile-use=$(PROFILE)"
# Where `make install` puts what, below DESTDIR. systemd finds units and users below /usr and /usr/local by itself.
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
SYSCONFDIR ?= /etc
CONFDIR = $(SYSCONFDIR)/tollgate
SYSTEMD_HOME = $(if $(filter /usr /usr/local,$(PREFIX)),$(PREFIX)/lib,$(SYSCONFDIR))
UNITDIR ?= $(SYSTEMD_HOME)/systemd/system
SYSUSERSDIR ?= $(SYSTEMD_HOME)/sysusers.d
# The program that is installed.
PROGRAM ?= $(or $(CARGO_TARGET_DIR),target)/release/tollgate
TEST_RUNNER = $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo nextest run || echo test)

.PHONY: help run build release install uninstall test storm bench bench-parsing fuzz lint doc clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Build, and start the demo: a gateway with a built-in provider
	@tests/install.sh build
	$(CARGO) run --locked -- run --demo

build: ## Build for development
	@tests/install.sh build
	$(CARGO) build --locked

release: $(PROFILE) ## Build for production, by a profile of the program at work (twice: 15 minutes)
	$(BY_PROFILE) $(CARGO) build --locked --release

$(PROFILE): Cargo.toml Cargo.lock $(shell find src examples -name '*.rs') benches/profile.sh
	@tests/install.sh profile
	benches/profile.sh $@

install: ## Install the built program, its units, its user and a first configuration (as root; DESTDIR, PREFIX)
	@test -x "$(PROGRAM)" || { echo "$(PROGRAM) is not there: run \`make release\` first" >&2; exit 1; }
	install -D -m 0755 "$(PROGRAM)" "$(DESTDIR)$(BINDIR)/tollgate"
	install -d -m 0755 "$(DESTDIR)$(UNITDIR)"
	for unit in tollgate.service tollgate.socket; do \
	  sed 's|/usr/local/bin|$(BINDIR)|g; s|/etc/tollgate|$(CONFDIR)|g' "systemd/$$unit" >"$(DESTDIR)$(UNITDIR)/$$unit"; \
	  chmod 0644 "$(DESTDIR)$(UNITDIR)/$$unit"; \
	done
	install -D -m 0644 systemd/sysusers.conf "$(DESTDIR)$(SYSUSERSDIR)/tollgate.conf"
	install -d -m 0750 "$(DESTDIR)$(CONFDIR)"
	@# What the operator may have changed stays as it is.
	test -e "$(DESTDIR)$(CONFDIR)/tollgate.yaml" || \
	  install -m 0640 conf/examples/openai.yaml "$(DESTDIR)$(CONFDIR)/tollgate.yaml"
	test -e "$(DESTDIR)$(CONFDIR)/environment" || \
	  install -m 0640 systemd/environment "$(DESTDIR)$(CONFDIR)/environment"
	@# Below a DESTDIR there is no user: a package makes it where it is installed.
	test -n "$(DESTDIR)" || { systemd-sysusers "$(SYSUSERSDIR)/tollgate.conf" && \
	  chgrp tollgate "$(CONFDIR)" "$(CONFDIR)/tollgate.yaml" "$(CONFDIR)/environment" && \
	  { ! test -d /run/systemd/system || systemctl daemon-reload; }; }

uninstall: ## Remove what `make install` has put there, but no configuration, no data and no user
	test -n "$(DESTDIR)" || ! test -d /run/systemd/system || \
	  systemctl disable --now tollgate.service tollgate.socket || true
	rm -f "$(DESTDIR)$(BINDIR)/tollgate" "$(DESTDIR)$(UNITDIR)/tollgate.service" \
	  "$(DESTDIR)$(UNITDIR)/tollgate.socket" "$(DESTDIR)$(SYSUSERSDIR)/tollgate.conf"
	test -n "$(DESTDIR)" || ! test -d /run/systemd/system || systemctl daemon-reload

test: ## Run every test, with the real servers and SDKs
	@tests/install.sh test
	@rm -f $(TEST_ENV)/skipped
	$(CARGO) $(TEST_RUNNER) --locked --no-fail-fast
	@cat $(TEST_ENV)/skipped 2>/dev/null || true

storm: ## Reload 60 times and upgrade 20 times under load (two minutes)
	@tests/install.sh build
	STORM_RELOADS=60 STORM_SECONDS=1 $(CARGO) test --locked --test suite -- --nocapture \
	  operation::storm
	STORM_UPGRADES=20 STORM_STREAMS=200 $(CARGO) test --locked --test suite -- --nocapture \
	  operation::upgrade::no_connection_is_refused_and_no_stream_is_cut

bench: $(PROFILE) ## Measure against nginx and a bare pass-through, and write docs/benchmarks.md
	@tests/install.sh test
	$(BY_PROFILE) $(CARGO) build --locked --release --bin tollgate --example passthrough
	$(BY_PROFILE) $(CARGO) bench --locked --bench gateway -- $(BENCH)

bench-parsing: ## Measure what reading streams and bodies costs, without I/O
	@tests/install.sh build
	$(CARGO) bench --locked --bench parsing

fuzz: ## Look for inputs that break the readers, FUZZ_SECONDS (60) for each; with a nightly compiler
	@tests/install.sh build
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-fuzz
	@cp Cargo.lock fuzz/Cargo.lock
	@set -e; for target in $$($(CARGO) +nightly fuzz list); do \
	  $(CARGO) +nightly fuzz run --sanitizer none $$target -- -dict=fuzz/openai.dict -max_total_time=$(FUZZ_SECONDS); \
	done

lint: ## Check format, lints, architecture and documentation
	@tests/install.sh build
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --quiet --test architecture
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet

doc: ## Build the documentation of the code
	@tests/install.sh build
	$(CARGO) doc --locked --no-deps

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf fuzz/target
