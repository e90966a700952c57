# `make help` prints the targets. `make check` is what CI runs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := bin
LINT := .cache/bin/golangci-lint-2.15.0
VULN := .cache/bin/govulncheck-1.9.0
STEP := scripts/step.sh
# Packages whose tests run under the race detector: those that share memory.
RACE := ./internal/bus/... ./internal/ingest/... ./internal/browser/... ./internal/session/... ./internal/visitor ./internal/worker/... ./internal/workflow/... ./internal/telemetry/... ./internal/app/...
FUZZTIME ?= 30s
TESTFLAGS ?=

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

.PHONY: build
build: ## build bin/worker and bin/publisher
	@mkdir -p $(BIN)
	go build -trimpath -o $(BIN)/ ./cmd/worker ./cmd/publisher

.PHONY: demo
demo: chromium build ## see the main job work, on real parts; KEEP=1 stays up
	@$(BIN)/worker dev --demo $(if $(KEEP),--keep) $(ARGS)

.PHONY: test
test: chromium postgres clients ## all tests, on real NATS and real Chromium
	go test -tags browser -shuffle=on $(TESTFLAGS) ./...

.PHONY: race
race: ## the tests of the concurrent packages under the race detector
	go test -race -shuffle=on $(RACE)

.PHONY: browser
browser: chromium ## only the tests that need Chromium
	go test -tags browser -shuffle=on ./internal/browser/... ./internal/actions/... ./internal/worker/... ./internal/app/... ./cmd/...

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME=30s each
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: generate
generate: ## write the generated files anew: schemas, pages of docs, the snippet
	go -C tools run ./schemagen
	go -C tools run ./docsgen
	go run ./bench -page
	go run ./internal/visitor/snippet/build

.PHONY: verify
verify: ## fail when a generated file, a format or go.mod is stale
	scripts/fresh.sh
	go mod verify
	go mod tidy -diff
	go -C tools test ./...

.PHONY: lint
lint: $(LINT) ## golangci-lint, pinned in tools/lint
	$(LINT) run ./...

.PHONY: fmt
fmt: $(LINT) ## format the Go code
	$(LINT) fmt ./...

.PHONY: vuln
vuln: $(VULN) ## known vulnerabilities that the code can reach
	$(VULN) -tags browser ./...

.PHONY: asyncapi
asyncapi: ## check schemas/asyncapi.yaml with the official parser
	tools/asyncapi/check.sh --self

.PHONY: compose
compose: ## check docker-compose.yml against the Compose schema
	go -C tools/compose test -count=1 ./...

.PHONY: bench
bench: chromium-full peers postgres ## the figures, each beside its reference; ONLY=<name> for one
	go run ./bench $(if $(ONLY),-only $(ONLY)) $(ARGS)

.PHONY: cluster-test
cluster-test: chromium ## three NATS servers and three workers, hurt and judged by ledgers
	go run ./bench/cluster $(if $(SEED),-seed $(SEED))
	go run ./bench/cluster -mode pages -for 30s $(if $(SEED),-seed $(SEED))

.PHONY: soak
soak: chromium ## the same for MINUTES=30, then the three below; SEED=<n> repeats a run
	go run ./bench/cluster -for $(or $(MINUTES),30)m $(if $(SEED),-seed $(SEED)) $(ARGS)
	go run ./bench/cluster -mode pages -for $(or $(MINUTES),30)m $(if $(SEED),-seed $(SEED)) $(ARGS)
	$(MAKE) soak-ingest soak-crm soak-visitor

.PHONY: soak-ingest
soak-ingest: ## the long form of the tests of events in and of timers; minutes
	go test -count=1 -timeout 60m ./internal/ingest ./internal/workflow ./internal/workflow/engine -soak
	go test -count=1 -timeout 60m -run '^TestSplitRoles' ./internal/app -soak

.PHONY: soak-crm
soak-crm: postgres ## the long form of the faults of CRMs and of the vault; half an hour
	go test -count=1 -timeout 60m ./internal/crm/... ./internal/vault ./cmd/worker -soak

.PHONY: soak-visitor
soak-visitor: chromium ## the long form of the faults and attacks at the gateway and in visitors' browsers; a quarter of an hour
	go test -count=1 -timeout 60m ./internal/visitor -soak
	go test -count=1 -timeout 60m -tags browser -run '^(TestReload|TestReloadInMidAction|TestTwoTabs)$$' ./internal/visitor ./internal/visitor/snippet -soak

.PHONY: smoke
smoke: chromium peers postgres ## each benchmark once, so that none can rot
	go test -tags browser -run='^$$' -bench=. -benchtime=1x ./...
	go run ./bench -smoke

.PHONY: check
check: ## all that CI runs, in the same order
	@$(STEP) verify $(MAKE) verify
	@$(STEP) lint $(MAKE) lint
	@$(STEP) vet go vet -tags browser ./...
	@$(STEP) test $(MAKE) test TESTFLAGS=-count=1
	@$(STEP) race $(MAKE) race
	@$(STEP) fuzz $(MAKE) fuzz FUZZTIME=15000x
	@$(STEP) compose $(MAKE) compose
	@$(STEP) asyncapi $(MAKE) asyncapi
	@$(STEP) bench $(MAKE) smoke
	@scripts/ratio.sh
	@echo "check: ok"

.PHONY: up
up: ## three NATS servers, two workers and the edge, in containers
	docker compose up --build --detach --wait

.PHONY: down
down: ## end what `make up` started; the data stays
	docker compose down

.PHONY: clean
clean: ## remove what was built, and the demo's data
	rm -rf $(BIN) .cache .parley bench/peers/node_modules tools/asyncapi/node_modules $(CLIENTS)/node_modules

.PHONY: chromium chromium-full
chromium:
	@scripts/chromium.sh
chromium-full:
	@scripts/chromium.sh full
.PHONY: postgres
postgres:
	@scripts/postgres.sh

CLIENTS := internal/ingest/ingesttest/clients

# The tests that need npm's packages say why they are skipped when there is no npm.
.PHONY: clients
clients: ## the vendors' own clients, which the tests point at the edge
	@if ! command -v npm >/dev/null; then echo "clients: npm is not installed"; \
	elif [[ ! $(CLIENTS)/node_modules/.package-lock.json -nt $(CLIENTS)/package-lock.json ]]; then \
		npm --prefix $(CLIENTS) ci --no-audit --no-fund --ignore-scripts --loglevel=error && touch $(CLIENTS)/node_modules/.package-lock.json \
			|| echo "clients: they could not be installed, so their tests are skipped"; fi

.PHONY: peers
peers: bench/peers/node_modules/.package-lock.json
	@mkdir -p $(BIN)
	go -C bench/peers/gopeers build -o ../../../$(BIN)/gopeers .
bench/peers/node_modules/.package-lock.json: bench/peers/package.json bench/peers/package-lock.json
	npm --prefix bench/peers ci --no-audit --no-fund --loglevel=error
	@touch $@

# The linter is built from its pinned source: the first time takes minutes.
$(LINT): tools/lint/go.mod
	@mkdir -p $(dir $@)
	go -C tools/lint build -o ../../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@
$(VULN): tools/lint/go.mod
	@mkdir -p $(dir $@)
	go -C tools/lint build -o ../../$@ golang.org/x/vuln/cmd/govulncheck
	@touch $@
