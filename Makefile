# make help says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO := CGO_ENABLED=0 go
# What takes long to build is kept outside the repository; e2e/setup.sh knows where.
TOOLS = $(shell e2e/setup.sh --print-bin)
TIMED = ci/timed.sh

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the bot's binary, bin/bot
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/bot ./cmd/bot

.PHONY: test
test: ## unit, contract and script tests; needs only Go and git
	TMPDIR=$$(ci/tmpdir.sh) $(GO) test -parallel 16 ./...  # they wait more than they work

RACED = ./store ./bot ./pipeline ./chat

.PHONY: rest
rest: ## what make race leaves out of make test: other packages, and what is shortened there
	TMPDIR=$$(ci/tmpdir.sh) $(GO) test -parallel 16 $$($(GO) list ./... | grep -vxE "$$($(GO) list $(RACED) | paste -sd'|')")
	TMPDIR=$$(ci/tmpdir.sh) $(GO) test -parallel 16 -run "$$(ci/unraced.sh)" $(RACED)

# SQLite's own C, translated: it locks by the means of C, and watching it takes half of the time. The driver is watched.
NORACE = -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false

.PHONY: race
race: ## the race detector on the packages with concurrency of their own (needs a C compiler)
	TMPDIR=$$(ci/tmpdir.sh) CGO_ENABLED=1 go test -race $(NORACE) -short -parallel 8 $(RACED)

.PHONY: fmt
fmt: ## format, fails when something was not
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "gofmt -w the files above"; exit 1; }

.PHONY: vet
vet: ## go vet, also of the end-to-end tests
	$(GO) vet ./... && $(GO) vet -tags e2e ./...
	cd bench/accept && $(GO) vet ./...
	cd e2e/builder && $(GO) vet -tags e2e ./...
	cd e2e/cluster && $(GO) vet -tags providerless,e2e ./...  # the tag of setup.sh: nothing is compiled twice

.PHONY: lint
lint: bin/staticcheck ## staticcheck
	bin/staticcheck -tags e2e ./...

bin/staticcheck: tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck

.PHONY: setup
setup: ## installs what the demo and the end-to-end tests need (root, Debian 12)
	e2e/setup.sh

.PHONY: e2e
e2e: setup build ## the story and three failures on real parts
	SHIPMATE_BOT=$(CURDIR)/bin/bot SHIPMATE_BIN=$(TOOLS) $(GO) test -tags e2e -count=1 -timeout 15m ./e2e

.PHONY: e2e-page
e2e-page: setup build ## the pages in Chromium, on real parts; SHIPMATE_SHOTS=FOLDER keeps the pictures
	e2e/page/setup.sh
	SHIPMATE_BOT=$(CURDIR)/bin/bot SHIPMATE_BIN=$(TOOLS) SHIPMATE_MODULES=$(shell e2e/page/setup.sh --print-modules) $(GO) test -tags e2e -count=1 -timeout 10m -v ./e2e/page

.PHONY: e2e-all
e2e-all: e2e e2e-page ## and everything else that needs real parts
	SHIPMATE_BIN=$(TOOLS) ci/on-parts.sh $(TOOLS) $(GO) test -tags e2e -count=1 -timeout 20m -p 1 -parallel 16 ./pipeline/... ./bot/local
	e2e/setup.sh --with-clients  # buildctl, for a builder in a pod, and kubectl, for the install
	SHIPMATE_BIN=$(TOOLS) ci/on-parts.sh $(TOOLS) $(GO) test -tags e2e -count=1 -timeout 5m -run '^TestE2E' ./bot
	SHIPMATE_BOT=$(CURDIR)/bin/bot SHIPMATE_BIN=$(TOOLS) $(GO) test -tags e2e -count=1 -timeout 25m -v ./e2e/install
	(cd e2e/cluster && $(GO) test -tags providerless,e2e -count=1 -timeout 10m ./...)
	(cd e2e/builder && $(GO) test -tags e2e -count=1 -timeout 10m ./...)

.PHONY: check
check: ## everything that must pass before a change lands
	@$(TIMED) format $(MAKE) --no-print-directory fmt
	@$(TIMED) vet $(MAKE) --no-print-directory vet
	@$(TIMED) lint $(MAKE) --no-print-directory lint
	@$(TIMED) test $(MAKE) --no-print-directory rest
	@$(TIMED) race $(MAKE) --no-print-directory race
	@$(TIMED) faults $(MAKE) --no-print-directory faults-short
	@$(TIMED) setup $(MAKE) --no-print-directory setup
	@echo "== e2e" && $(MAKE) --no-print-directory e2e  # its last line says how long it took

# make faults SEED=… PUSHES=… KILLS=… plays the same again.
SEED := $(or $(SEED),$(shell echo $$RANDOM))
FAULTS = SEED=$(SEED) PUSHES=$(PUSHES) KILLS=$(KILLS)

.PHONY: faults-short
faults-short: ## the bot killed 8 times during 20 pushes, builder and cluster simulated; needs only Go and git
	SHIPMATE_FAULTS=short $(FAULTS) $(GO) test -count=1 -timeout 5m -run '^TestFaults$$' ./bot

.PHONY: faults
faults: setup build ## the bot killed 50 times during 200 pushes on real parts, which fail and restart too
	SHIPMATE_BOT=$(CURDIR)/bin/bot SHIPMATE_BIN=$(TOOLS) $(FAULTS) $(GO) test -tags e2e -count=1 -timeout 60m -v ./e2e/faults

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (default 30s)
	ci/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: bench-accept bench-recover bench-waiting bench-scale bench-spine
bench-accept: build ## deliveries accepted a second, beside go-githubapp; needs only Go
	cd bench/accept && $(GO) build -o ../../bin/bench-accept .
	bin/bench-accept -bot bin/bot $(ARGS)

bench-recover: build ## stored events worked off at start
	$(GO) run ./bench/spine -bot bin/bot $(ARGS) recover

bench-waiting: ## what it costs to wait for an approval
	$(GO) run ./bench/spine $(ARGS) waiting

bench-scale: ## every question in a small and a large database
	$(GO) run ./bench/scale $(ARGS)

bench-spine: ## accept, recover, waiting and scale; needs only Go
	@for b in accept recover waiting scale; do echo "== $$b" && $(MAKE) --no-print-directory bench-$$b ARGS= || exit 1; done

.PHONY: bench-page
bench-page: build ## pages asked for by 20 at once, and a log that 200 follow; needs only Go and git
	$(GO) build -o bin/bench-page ./bench/page
	bin/bench-page -bot bin/bot $(ARGS)

.PHONY: bench-log
bench-log: setup ## what it costs to keep the log of a build that prints 200,000 lines, on a real BuildKit
	$(GO) run ./bench/log -bin $(TOOLS) $(ARGS)

.PHONY: bench-build
bench-build: ## build and push beside buildctl, on real parts
	e2e/setup.sh --with-clients
	$(GO) build -o bin/bench-build ./bench/build
	ci/on-parts.sh $(TOOLS) bin/bench-build -buildctl $(TOOLS)/buildctl $(ARGS)

.PHONY: bench-deploy
bench-deploy: ## deploy and roll back beside kubectl, API requests, and what watching 500 pods takes, on real parts; ARGS=-parts=time,requests,memory
	e2e/setup.sh --with-clients
	$(GO) build -o bin/bench-deploy ./bench/deploy
	ci/on-parts.sh $(TOOLS) bin/bench-deploy -kubectl $(TOOLS)/kubectl $(ARGS)

.PHONY: bench
bench: bench-spine bench-page bench-log bench-build bench-deploy ## all of that, and Shipmate beside the same steps by hand, on real parts
	e2e/setup.sh --with-clients
	$(GO) run ./bench -bot bin/bot -bin $(TOOLS) $(ARGS)

.PHONY: demo
demo: ## the whole way on this machine; ARGS=--once ends after the story (root, Debian 12)
	@e2e/setup.sh --plan
	@if [ -t 0 ]; then read -r -p "Go on? [Y/n] " a; [[ ! $$a =~ ^[nN] ]]; fi
	@e2e/setup.sh
	@$(MAKE) --no-print-directory build
	@$(GO) build -o bin/demo ./e2e/demo
	@bin/demo -bot bin/bot -bin $(TOOLS) $(ARGS)

.PHONY: messages
messages: ## a page that shows every message to a chat as people see it, bin/messages.html; needs only Go
	@mkdir -p bin
	@$(GO) run ./chat/preview bot/testdata/messages bin/messages.html

.PHONY: clean
clean: ## removes bin/; the cache of make setup stays
	rm -rf bin
