# `dev` is built in minutes; PROFILE=release gives the programs as they are shipped, and takes longer.
PROFILE ?= dev
NEXTEST_PROFILE ?= default
TARGET = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
SHIPPED = $(TARGET)/shipped
PROGRAMS = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

.PHONY: run test lint bench

# Watches this machine: a collector and an agent under run/, until Ctrl-C.
run:
	cargo build --profile $(PROFILE) -p vigie-agent -p vigie-collector
	packaging/quickstart.sh $(PROGRAMS)

# nextest runs no doctests, so cargo does.
test:
	packaging/install-test-packages.sh
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo test --workspace --doc && cargo nextest run --workspace --profile $(NEXTEST_PROFILE); \
	else cargo test --workspace --no-fail-fast; fi

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; fi

# The programs as they are shipped, each built alone so that the other's features do not weigh on it, beside their peers.
# The bench itself is built like them: it sends the load, and calls core's decisions.
bench:
	packaging/install-test-packages.sh
	cargo build --profile agent --locked -p vigie-agent
	cargo build --release --locked -p vigie-collector
	install -D -t $(SHIPPED) $(TARGET)/agent/vigie-agent $(TARGET)/release/vigie-collector
	VIGIE_TEST_BINARIES=$(SHIPPED) cargo run --release --locked -p vigie-tests --bin bench
