# `make` alone lists the targets. Whatever is longer than a few lines is in scripts/.

.PHONY: help demo test test-sdk lint dist bench crash fuzz doc schema build-deps test-deps bench-deps fuzz-deps
.DEFAULT_GOAL := help

# How long each fuzz target runs.
SECONDS ?= 60
BINARY = "$${CARGO_TARGET_DIR:-target}/release/hookgate"

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: build-deps ## build, then play the whole story in this terminal (ARGS=--once ends by itself)
	@cargo build --release
	@$(BINARY) demo $(ARGS)

test: test-deps ## every test, official SDKs included (ARGS=name runs those whose name has it)
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --all-features $(ARGS); \
	else \
		cargo test --all-features $(ARGS); \
	fi

test-sdk: test-deps ## the providers' official SDKs, both ways; prints the table
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --all-features --no-capture -E 'test(sdks)'; \
	else \
		cargo test --all-features --test it sdks -- --nocapture --test-threads 1; \
	fi

lint: build-deps ## formatting and clippy, warnings are errors
	@cargo fmt --version >/dev/null 2>&1 || { echo "error: rustfmt is missing: rustup component add rustfmt" >&2; exit 1; }
	@cargo clippy --version >/dev/null 2>&1 || { echo "error: clippy is missing: rustup component add clippy" >&2; exit 1; }
	cargo fmt --check
	cargo clippy --all-targets --all-features -- -D warnings

dist: bench-deps ## the binary that is shipped, built by a profile of its own load
	@sh scripts/dist.sh

bench: dist ## each stage by itself, then the whole program beside its peers
	cargo bench $(ARGS)
	cargo build --profile dist --manifest-path benches/peers/bare-pingora/Cargo.toml --target-dir "$${CARGO_TARGET_DIR:-target}"
	python3 benches/peers/run.py
	python3 benches/peers/durable.py
	python3 benches/peers/log.py
	python3 benches/peers/poll.py

crash: test-deps ## 200 rounds of killing the gateway while 64 senders send (ROUNDS=1000)
	HOOKGATE_CRASH_ROUNDS=$(or $(ROUNDS),200) cargo test --test it crash:: -- --nocapture

fuzz: fuzz-deps ## each fuzz target for a minute (SECONDS=10, ARGS=router for one)
	@sh scripts/fuzz.sh $(SECONDS) $(ARGS)

doc: build-deps ## the library's documentation, in target/doc
	cargo doc --no-deps --all-features

schema: build-deps ## conf/schema.json, conf/openapi.json and PROVIDERS.md anew, from what they describe
	@cargo run --quiet -- schema > conf/schema.json.new && mv conf/schema.json.new conf/schema.json
	@cargo run --quiet -- schema --api > conf/openapi.json.new && mv conf/openapi.json.new conf/openapi.json
	@cargo run --quiet -- providers --markdown > PROVIDERS.md.new && mv PROVIDERS.md.new PROVIDERS.md

build-deps: ## install what the build needs and this machine lacks
	@sh scripts/deps.sh build

test-deps: ## the same for the tests
	@sh scripts/deps.sh test

bench-deps: ## the same for the benchmarks
	@sh scripts/deps.sh bench

fuzz-deps: ## the same for the fuzz targets
	@sh scripts/deps.sh fuzz
