# What people run; everything that is needed is installed or named on the way.
.DEFAULT_GOAL := help
SHELL := bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# The whole workspace at once, so that features are resolved once and nothing is compiled twice.
BUILD := --workspace --locked
# Of what `make torture` runs; PROFILE=dev is quick to build, and slow.
PROFILE ?= release
# Of tests, at once: many wait for others, or for a broker.
THREADS ?= $(shell expr $$(nproc) \* 3 / 2)

.PHONY: help demo build profiled test check guests console picture services race race-otlp overload burners plugin-costs torture fuzz fmt

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: guests console ## the main job with nothing installed: proxy, plugins, Kafka broker, traces as they come
	$(CARGO) build $(BUILD)
	$(TARGET)/debug/weir demo

build: guests console ## target/release/weir, with the bundled plugins and the console inside
	$(CARGO) build --release $(BUILD)

profiled: guests console ## target/profiled/weir: what `make build` leaves, guided by a profile of the races; it builds twice
	@tests/services/install.sh race
	@benches/profiled.sh

guests: ## the bundled plugins and the tests' guests, as target/guests/*.wasm
	@wasm-plugins/build.sh

console: ## the console's pages, as proxy/console/dist; Node is needed, and nothing is done when nothing changed
	@proxy/console/build.sh

picture: services guests ## docs/images/trace.png, of what the page of a trace is now
	$(CARGO) build $(BUILD)
	PICTURE=1 $(CARGO) test $(BUILD) --test console the_trace_of_a_request_just_sent

services: console ## real Kafka and whatever else tests need
	@tests/services/install.sh tests

test: check services ## everything, against real Kafka too
	$(CARGO) build $(BUILD)
	RUST_TEST_THREADS=$(THREADS) $(CARGO) test $(BUILD) --no-fail-fast

check: guests console ## format, lints, docs, licences and versions
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(BUILD) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc $(BUILD) --no-deps
	@.ci/features
	@.ci/deny

torture: services guests console ## 200 kills, a long outage, 10 GiB of backlog, broken bytes; TORTURE=--short for less
	$(CARGO) build $(BUILD) --profile $(PROFILE)
	$(CARGO) build $(BUILD) --profile $(PROFILE) --example torture
	@$(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/examples/torture $(TORTURE)

fuzz: guests console ## what reads bytes of others, guided by coverage; SECONDS=600 for longer, FUZZ=path for one
	@CARGO=$(CARGO) tests/fuzz/run $(or $(SECONDS),60) $(FUZZ)

race: build ## Weir beside nginx and Envoy, in one run on the same cores, also by TLS and HTTP/2; and what delivery costs
	@tests/services/install.sh race
	@$(TARGET)/services/race/bin/python benches/race/race.py $(RACE)
	@$(TARGET)/services/race/bin/python benches/race/protocols.py $(PROTOCOLS)
	@$(TARGET)/services/race/bin/python benches/race/delivery.py $(DELIVERY)

race-otlp: build ## OTLP to Kafka: Weir beside Rotel and OpenTelemetry's collector
	@tests/services/install.sh race
	@$(TARGET)/services/race/bin/python benches/race/otlp.py $(RACE)

overload: build ## twice the load that Weir can do: what is served, how soon the rest is refused; OVERLOAD='--seconds 10'
	@tests/services/install.sh race
	@$(TARGET)/services/race/bin/python benches/race/overload.py $(OVERLOAD)

burners: build ## how long requests wait beside hooks that compute for just under their limit; BURNERS='--burners 64'
	@tests/services/install.sh race
	@$(TARGET)/services/race/bin/python benches/race/burners.py $(BURNERS)

plugin-costs: build ## what each bundled plugin costs a request, as a table in Markdown
	@python3 benches/plugins.py $(COSTS)

fmt: ## format the code
	$(CARGO) fmt --all
