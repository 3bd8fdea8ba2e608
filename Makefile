# The commands a person types. `make` alone explains them.
CARGO   := .ci/cargo
TARGET  := $(or $(CARGO_TARGET_DIR),target)
OFFHOOK := $(TARGET)/release/offhook
# What both the box and a caller of it must know, so that `make run PORT=5070` and `make demo PORT=5070` meet.
OPTIONS := $(if $(CONFIG),--config $(CONFIG)) $(if $(PORT),--set sip.port=$(PORT))

# Most tests with a call wait for it, and the processor with them.
TEST_THREADS = $(shell expr 3 '*' $$(nproc))
# The same packages each time, or cargo would choose other features and build again.
CROSS_TEST := $(addprefix --package ,audio sip-stack models daemon tests)
CROSS_TESTS := $(addprefix --test ,flows conformance_rfc4475 cross_build)
# Bash and sh on the builder and on the box.
IMAGE_SCRIPTS := $(addprefix image/,base rootfs disk bundle test bundle-hook development-keys common.sh \
    files/etc/profile.d/offhook.sh files/usr/lib/offhook/slots files/usr/lib/offhook/stick \
    initramfs/hooks/offhook initramfs/scripts/local-bottom/offhook)

.PHONY: help run demo cloud test check rules bench eval fuzz laws kills soak build setup deny cross cross-test image bundle image-test
.SILENT:
# The steps build on each other, whatever -j says.
.NOTPARALLEL:

help:
	echo 'make run      install what is missing, build, fetch the models, start Offhook, place a demonstration call'
	echo 'make demo     place the demonstration call again, to the Offhook that is running'
	echo 'make cloud    build and start the central cloud, on a PostgreSQL of its own if that is installed'
	echo 'make test     everything that must hold: format, lints, documentation, all tests (needs setup, fetches models)'
	echo 'make check    only the quick part of it: format, lints, documentation, scripts'
	echo 'make rules    of that, what runs the central cloud: alarms and their tests, Kubernetes, HAProxy, its unit'
	echo 'make bench    the figures: parser, RTP, storage, sync, heard gap, memory, start-up'
	echo 'make eval     conversations in figures: heard gap, interruptions, understanding, answers; QUICK=1 for a sample'
	echo 'make fuzz     the parsers and state machines against made-up input, ten minutes each; SECONDS=N for another time'
	echo 'make laws     a thousand simulated days of calls under loss and clock jumps: is a law of SIP broken? (minutes)'
	echo 'make kills    a box is killed a thousand times while it writes and syncs: is anything lost? (minutes)'
	echo 'make soak     one call of ten minutes: does it stay in step?'
	echo 'make build    the release build: $(OFFHOOK)'
	echo 'make cross    the release build for the box (aarch64); make cross-test runs tests of it under emulation,'
	echo '                with QUICK=1 without looking at that release'
	echo 'make image    the disk image of a box (as root; needs "make cross"): $(TARGET)/image/offhook.img'
	echo 'make bundle   the same as a signed update: $(TARGET)/image/offhook-VERSION.raucb'
	echo 'make image-test  an emulated box: call, updates, power cuts (as root; an hour)'
	echo
	echo 'make run PORT=5070            another SIP port (demo too)'
	echo 'make run CONFIG=FILE.toml     another configuration (demo too)'
	echo 'make run ARGS="--set KEY=V"   any option of offhook (demo too); with test and bench, of cargo'

run: build
	$(OFFHOOK) models fetch $(OPTIONS)
	$(OFFHOOK) run --demo $(OPTIONS) $(ARGS)

demo:
	test -x $(OFFHOOK) || { echo 'Nothing is built yet: start with "make run".' >&2; exit 1; }
	$(OFFHOOK) demo $(OPTIONS) $(ARGS)

# PostgreSQL is set up in the state folder where it is installed; else one SQLite file does. The same engine for each command.
CLOUD        := $(TARGET)/release/offhook-cloud
CLOUD_ENGINE := --set store.engine=$(if $(wildcard /usr/lib/postgresql/*/bin/postgres),local-postgres,sqlite)

cloud: setup
	$(CARGO) build --release --locked --package cloud
	echo 'A code for a box: $(CLOUD) claim OFFICE $(CLOUD_ENGINE)'
	$(CLOUD) serve $(CLOUD_ENGINE) $(ARGS)

build: setup
	$(CARGO) build --release --locked --package daemon

setup:
	.ci/setup run

cross: setup-cross
	.ci/stage 'cross-build' .ci/cross build

# Engines are built and not used: models under emulation would take hours and show nothing that the host's tests do not.
# One real call: the others listen so closely that an emulated processor is too slow for them.
cross-test: setup-cross
	.ci/stage 'build for the box, to test it' .ci/cross test --no-run $(CROSS_TEST) --lib $(CROSS_TESTS)
	OFFHOOK_CROSS_FOLDER=$$(.ci/cross folder $(if $(QUICK),debug)) .ci/stage 'tests under emulation' .ci/cross test \
		--no-fail-fast $(CROSS_TEST) --lib $(CROSS_TESTS) $(ARGS)
	.ci/stage 'a call under emulation' .ci/cross test $(CROSS_TEST) --test service_flows \
		a_call_over_tcp_is_the_same_call

setup-cross:
	.ci/setup cross
.PHONY: setup-cross

test: setup-test check deny
	RUST_TEST_THREADS=$(TEST_THREADS) .ci/stage 'tests' $(CARGO) test --workspace --locked --features local-audio --no-fail-fast $(ARGS)
	.ci/stage 'fuzzing, two minutes' .ci/fuzz 14

setup-test:
	.ci/setup test
.PHONY: setup-test

check:
	.ci/stage 'scripts' shellcheck --external-sources .ci/cargo .ci/cross .ci/fuzz .ci/run .ci/setup .ci/stage tests/standins/* \
		cloud/deploy/check $(IMAGE_SCRIPTS)
	.ci/stage 'alarms and deployment of the cloud' cloud/deploy/check
	.ci/stage 'format' $(CARGO) fmt --all --check
	.ci/stage 'lock file of fuzzing' $(CARGO) fetch --locked --quiet --manifest-path tests/fuzz/Cargo.toml
	.ci/stage 'lints' $(CARGO) clippy --workspace --all-targets --locked --features local-audio -- --deny warnings
	.ci/stage 'lints, without engines' $(CARGO) clippy --workspace --all-targets --no-default-features --locked -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' .ci/stage 'documentation' $(CARGO) doc --workspace --no-deps --locked --quiet

rules:
	cloud/deploy/check $(ARGS)

# Advisories need a database from the network: `cargo deny check advisories` by hand. tests/tidy checks the bans always.
deny:
	if $(CARGO) deny --version >/dev/null 2>&1; \
	then .ci/stage 'licences, bans, sources' $(CARGO) deny --locked --offline check licenses bans sources; \
	else echo 'SKIPPED: licences and sources, because cargo-deny is not installed ("cargo install cargo-deny" adds it).'; fi

bench: setup-test
	echo "Machine: $$(nproc) x $$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $$(uname -srm)"
	$(CARGO) bench --workspace --locked $(ARGS)

# A sample of everything in ten minutes with QUICK=1; ARGS="questions barge-in" for some parts, ARGS="nobody echo --minutes 60"
# for the hour of silence, ARGS="--json FILE" and ARGS="--against FILE" to compare two runs.
eval: setup-test
	$(CARGO) bench --package tests --bench eval --locked -- $(ARGS)

fuzz: setup-test
	.ci/fuzz $(or $(SECONDS),600) $(ARGS)

# A day is two minutes of business and what it takes to end it: together 99 h. OFFHOOK_SEED=N replays one.
laws: setup-test
	OFFHOOK_LAWS_SEEDS=1000 $(CARGO) test --package tests --no-default-features --locked --test laws -- --nocapture $(ARGS)

kills: setup-test
	OFFHOOK_KILLS=1000 $(CARGO) test --package tests --no-default-features --locked --test cloud \
		what_was_acknowledged_survives_every_kill -- --nocapture $(ARGS)

soak: setup-test
	OFFHOOK_PACING_SECONDS=570 $(CARGO) bench --package tests --bench pacing --locked

image bundle: cross setup-image
	.ci/stage '$@' image/$(subst image,disk,$@)

# Builds what the tests install: two releases, the disk of the first. CI runs the part of it that starts nothing.
image-test: cross
	.ci/setup image-test
	.ci/stage 'image-test' image/test $(ARGS)

setup-image:
	.ci/setup image
.PHONY: setup-image
