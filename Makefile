# AgentIdP. `make help` lists what there is.
SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO    ?= go
TOOL  := $(GO) tool -modfile=internal/tools/go.mod
# Linked without gRPC's trace pages: the sidecar is a fifth smaller, the issuer a third (docs/adr/0015, 0008).
TAGS := grpcnotrace
# Without the symbol table and DWARF, which nothing at run time reads: stack traces and -version stay as they are.
LDFLAGS := -s -w
# Shows the progress of `go build -v`, which names each package it compiles; whatever else it says is shown as it is.
DOTS = awk '/^[a-z0-9.-]+(\/[A-Za-z0-9._~-]+)*$$/ {if (++n % 20 == 0) {printf "."; fflush()} next} {print "\n" $$0}'
# Hand-written Go, for formatters.
SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.go' | grep -vE '\.gen\.go$$|\.pb\.go$$|\.sql\.go$$|/postgres/gen/')
GENERATED := issuer/internal/adminapi/api.gen.go issuer/internal/postgres/gen
COVER := $(CURDIR)/.cover

##@ Use it
.PHONY: run demo reset
run: deps-run build ## Build, get what is missing, run the whole system on this machine until Ctrl-C
	@exec bin/agentidp dev

demo: deps-run build ## The same on free ports, then walk the whole story and check every step
	@exec bin/agentidp demo

reset: build ## Remove the state of `make run` (.agentidp/)
	@exec bin/agentidp dev -reset

##@ Build
.PHONY: build deps deps-run
build: ## Build bin/agentidp, bin/issuer and bin/extauthz
	@mkdir -p bin
	@printf 'build: agentidp, issuer, extauthz (two to four minutes the first time; a dot is 20 packages) '
	@$(GO) build -v -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/agentidp ./cmd/issuer ./cmd/extauthz 2>&1 | $(DOTS)
	@echo done

deps: ## Install what is missing: PostgreSQL, Redis, Envoy, and what the tests need (or print the commands)
	@bash .ci/deps.sh

deps-run:
	@bash .ci/deps.sh run

##@ Check it
.PHONY: test check fmt fmt-check vet staticcheck policies generate verify cover fuzz soak
test: deps ## Every test, with the real PostgreSQL, Redis and Envoy, the race detector and coverage
	@rm -rf $(COVER) && mkdir -p $(COVER)/unit $(COVER)/programs
	@echo "test: every package, with the race detector: 8 minutes on two cores, 15 the first time; a line for each package that is done, the first after a minute or more"
	@AGENTIDP_COVERDIR=$(COVER)/programs $(GO) run ./internal/testkit/withpostgres -- \
	  $(GO) test -race -timeout 15m -covermode=atomic -coverpkg=./... ./... -args -test.gocoverdir=$(COVER)/unit
	@$(MAKE) --no-print-directory cover

cover: ## Coverage of the last `make test` by top-level folder; fails below 80 %
	@$(GO) tool covdata textfmt -i=$(COVER)/unit,$(COVER)/programs -o $(COVER)/profile.txt
	@$(GO) -C internal/tools run ./coverage -min 80 $(COVER)/profile.txt

check: fmt-check vet staticcheck policies verify test ## What CI runs: format, vet, staticcheck, policies, generated files, tests

fmt: ## Format Go and Rego
	@$(TOOL) gofumpt -w $(SOURCES)
	@$(TOOL) opa fmt --write policies

fmt-check:
	@echo "check: format"
	@bad=$$($(TOOL) gofumpt -l $(SOURCES)); [ -z "$$bad" ] || { echo "not formatted (make fmt):"; echo "$$bad"; exit 1; }
	@bad=$$($(TOOL) opa fmt --list policies); [ -z "$$bad" ] || { echo "not formatted (make fmt):"; echo "$$bad"; exit 1; }

vet:
	@echo "check: go vet (the first time it compiles: some minutes)"
	@$(GO) vet ./...

staticcheck:
	@echo "check: staticcheck (likewise)"
	@$(TOOL) staticcheck ./...

policies: ## Test the Rego policies, with coverage
	@echo "check: policies"
	@$(TOOL) opa check --strict policies/mesh
	@$(TOOL) opa test policies/mesh
	@$(TOOL) opa test --coverage --threshold 100 policies/mesh >/dev/null

generate: ## Make the generated files again
	@cd issuer/internal/postgres && $(GO) tool -modfile=$(CURDIR)/internal/tools/go.mod sqlc generate
	@$(GO) generate ./...

verify: ## Fail when a generated file is not what `make generate` makes
	@echo "check: generated files"
	@before=$$(cat $$(git ls-files --cached --others --exclude-standard $(GENERATED)) | sha256sum); \
	 $(MAKE) --no-print-directory generate; \
	 after=$$(cat $$(git ls-files --cached --others --exclude-standard $(GENERATED)) | sha256sum); \
	 [ "$$before" = "$$after" ] || { echo "generated files were not up to date: commit what make generate made"; git diff --stat -- $(GENERATED); exit 1; }

FUZZTIME ?= 30s
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz' || true); do \
	    echo "fuzz: $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; \
	  done; \
	done

SOAK_ROUNDS ?= 5
soak: deps ## Each test SOAK_ROUNDS times (5), in another order, under the race detector
	@$(GO) run ./internal/testkit/withpostgres -- $(GO) test -race -timeout 2h -count $(SOAK_ROUNDS) -shuffle on ./...

##@ Measure it
# What a point takes, where the rows go as JSON, and opa-envoy-plugin's program for the rows that need it.
BENCH_SECONDS ?= 2
BENCH_OUT     ?= bench.json
OPA_ENVOY     ?=
BENCH_FLAGS   = -extauthz bin/extauthz -seconds $(BENCH_SECONDS) -out $(BENCH_OUT) -opa-envoy '$(OPA_ENVOY)'

.PHONY: bench bench-envoy bench-flood bench-profile bench-issuer
bench: build ## Performance of extauthz beside a no-op server and, with OPA_ENVOY, its peer (BENCH_SECONDS, BENCH_OUT)
	@$(GO) run ./internal/bench/extauthzbench $(BENCH_FLAGS)

bench-envoy: deps build ## The same through the real Envoy, beside Envoy's own jwt_authn and RBAC (ENVOY)
	@$(GO) run ./internal/bench/extauthzbench $(BENCH_FLAGS) -envoy -envoy-program '$(ENVOY)'

bench-flood: build ## What good requests get beside floods of forged tokens, unknown keys and unknown issuers
	@$(GO) run ./internal/bench/extauthzbench $(BENCH_FLAGS) -flood

bench-profile: build ## Where extauthz spends its CPU when every token is remembered (pprof's top, and cpu.pprof)
	@$(GO) run ./internal/bench/extauthzbench $(BENCH_FLAGS) -profile cpu.pprof
	@$(GO) tool pprof -top -nodecount 40 cpu.pprof

bench-issuer: deps build ## Tokens of bin/issuer over PostgreSQL with audit, beside a bare signing handler and node-oidc-provider (npm)
	@$(GO) run ./internal/bench/issuerbench -issuer bin/issuer -seconds $(BENCH_SECONDS) -out $(BENCH_OUT)

##@ Other
.PHONY: clean help
clean: ## Remove what was built (not the state of `make run`)
	@rm -rf bin .cover bench.json cpu.pprof

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
