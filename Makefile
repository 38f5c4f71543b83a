# `make demo` and `make test` need git, make and a Rust toolchain; what else they need they install.

# Mesa's layer that picks a GPU for a desktop complains where there is none; underdog picks for itself.
export NODEVICE_SELECT ?= 1

.PHONY: demo quick test nightly same check portability setup

# The main job on the built-in task.
demo: setup
	cargo run --release --locked -- demo

# The tests that need no graphics driver: under a minute once built.
quick:
	./scripts/tests.sh quick

# All tests but those of `make nightly`, and how long each test binary took.
test: setup
	./scripts/tests.sh all

# The rest: long runs of the whole program, and every test of ops and models on every driver.
nightly: setup
	./scripts/tests.sh nightly
	./scripts/portability.sh every-test

# The recorded runs, bit for bit; `make same BASE=REV` compares with the program of that revision, built here.
# RUNS='mix lora': only those whose names hold one of these.
same: setup
	./scripts/same.sh '$(BASE)' $(RUNS)

# Format, lints, docs.
check:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# Tests that tell something of each driver, the kernels through other compilers: see scripts/portability.sh.
portability:
	./scripts/portability.sh

# A Vulkan driver for a Linux without one.
setup:
	@./scripts/setup.sh
