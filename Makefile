# "make help" lists the targets. CI runs "make test" and nothing else (.ci/run).

VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# Packages, benchmarks, time of each fuzz target, rounds of the crash tests.
PKG        ?= ./...
BENCH      ?= .
# Cases and rounds of the comparison with other programs (internal/bench/peers).
CASES      ?= a,b,c,d,e,f,g,h,i
PAIRS      ?= 5
FUZZTIME   ?= 5s
ROUNDS     ?= 20
# Steps of the model tests of archive and program.
STEPS      ?= 50000
# "required": tests with real servers fail where these are missing. Empty: they are skipped.
POSTKEEP_REAL ?= required
export POSTKEEP_REAL

PLATFORMS  := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
LINT_VERSION := v2.15.0
LINT       := bin/tools/golangci-lint-$(LINT_VERSION)/golangci-lint

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build test deps vet lint gotest cross fuzz bench microbench benchindex scale demo torture clean browser benchweb

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 10

build: ## build bin/postkeep for this machine
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/postkeep ./cmd/postkeep

test: deps vet lint gotest browser cross fuzz ## everything that CI checks, after installing what it needs

deps: ## install what the tests need (Debian packages: Dovecot, zstd, gcc and others)
	.ci/deps

vet: ## go vet
	go vet $(PKG)

lint: $(LINT) ## golangci-lint: style, mistakes, and the direction of imports
	$(LINT) run $(PKG)

$(LINT):
	GOBIN="$(CURDIR)/$(@D)" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

gotest: ## all tests with the race detector, which needs cgo; the program does not
	CGO_ENABLED=1 go test -race -count=1 -timeout 20m $(PKG)

browser: ## the pages in Chromium: journeys, accessibility, hostile mail (PICTURES=DIR takes pictures)
	cd web/browser && npm ci --no-audit --no-fund --loglevel=error
	POSTKEEP_BROWSER=1 POSTKEEP_SHOTS=$(PICTURES) go test -count=1 -timeout 25m -v -run '^TestBrowser$$' ./cmd/postkeep

cross: ## build for all platforms, without cgo
	@set -e; for p in $(PLATFORMS); do echo "build $$p"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -buildvcs=false ./...; done

fuzz: ## every fuzz target for FUZZTIME (5s)
	.ci/fuzz $(FUZZTIME)

bench: ## Postkeep beside mpop, notmuch, mu and others, in turns: CASES=a,b,d PAIRS=5 (all: hours)
	go run ./internal/bench/peers -cases $(CASES) -pairs $(PAIRS)

microbench: ## Go benchmarks: BENCH=regexp PKG=./archive/...
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(PKG)

benchindex: ## real mail in MAIL=DIR: speed, size and memory of the index, times of searches
	GOMEMLIMIT=340MiB go run ./internal/bench/index -mail "$(MAIL)"

benchweb: ## real mail in MAIL=DIR: 50 searches at once for a minute, their times and the memory
	go run ./internal/bench/web -mail "$(MAIL)"

scale: ## 10,000 mailboxes every 5 minutes for ten minutes: lateness, CPU, memory
	go run ./internal/bench/mailboxes

demo: ## the whole system with generated mail, no network, no configuration
	go run ./cmd/postkeep demo

torture: ## crash and fault tests ROUNDS (20) times, STEPS (50000) random steps against a model, 600 sessions with faults in a row, 10,000 flipped bits, faults in every operation and torn writes at every byte, 2,500 searches against the oracle, every message of the corpora, 10,000 hostile requests of each kind, ten minutes for every fuzz target
	CGO_ENABLED=1 go test -race -count=$(ROUNDS) -timeout 6h -run 'Kill|Crash|Fault|Torn|Recover' $(PKG)
	POSTKEEP_TORTURE=1 CGO_ENABLED=1 go test -race -count=1 -timeout 2h -v -run '^TestRandomFaults' ./poller
	POSTKEEP_STEPS=$(STEPS) go test -count=1 -timeout 12h -v -run '^TestWhateverOrderCommands' ./archive
	POSTKEEP_PROGRAM_STEPS=$$(($(STEPS) / 10)) go test -count=1 -timeout 12h -v -run '^TestWhateverOrderOperators' ./cmd/postkeep
	POSTKEEP_ORACLE=all go test -count=1 -timeout 2h -v -run '^TestSearchFindsWhatAnOracleFinds' ./indexer
	POSTKEEP_TORTURE=1 go test -count=1 -v -run '^TestEveryMessageIsInTheIndex' ./indexer
	POSTKEEP_TORTURE=1 CGO_ENABLED=1 go test -count=1 -timeout 12h ./archive/...
	POSTKEEP_TORTURE=1 go test -count=1 -v -run '^TestHostileRequests' ./cmd/postkeep
	.ci/fuzz 10m

clean: ## remove what was built
	rm -rf bin dist
