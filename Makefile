# Everything that is done to this repository. `make` alone lists it.
SHELL := /bin/sh
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: help setup servers tools demo test lint reference bench package fuzz clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

setup: ## Install what the build needs (apt where root or sudo is there)
	@scripts/setup

servers: setup ## Provide the real servers of the tests: Kafka, NATS, RabbitMQ, Chromium
	@set -e; for server in scripts/servers/*; do $$server; done

tools: setup ## Provide what the packaging is checked with: Helm, schemas, linters
	@set -e; for tool in scripts/tools/*; do $$tool; done

demo: setup ## Build and start simulator, relay and clients on this machine
	cargo build --release --locked -p sapi-relay
	@exec target/release/sapi-relay demo

test: setup servers tools ## Run every test: unit, property, end to end with real processes and servers
	cargo build --locked --workspace --bins
	cargo test --locked --workspace --no-fail-fast

lint: setup ## Check format, lints and documentation, warnings denied
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p sapi-relay --no-default-features --features websocket -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

reference: setup ## Write docs/CONFIGURATION.md anew, from config/relay.toml and the code
	SAPI_RELAY_REWRITE_REFERENCE=1 cargo test --locked -p sapi-relay --bin sapi-relay config::tests::reference

bench: setup servers ## Measure the release build; writes docs/BENCHMARKS.md
	cargo build --release --locked -p sapi-relay -p sapi-sim -p relay-tests
	target/release/relay-bench

package: setup ## Build the Debian package into target/package, and try it
	@scripts/package

fuzz: ## Fuzz the framing for a minute (needs a nightly toolchain and cargo-fuzz)
	cd fuzz && cargo +nightly fuzz run framing -- -max_total_time=60

clean: ## Remove what was built
	cargo clean
