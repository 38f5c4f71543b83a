# `make demo` and `make test` need git, make and a Rust toolchain; what else they need they install.

# Mesa's layer that picks a GPU for a desktop complains where there is none; underdog picks for itself.
export NODEVICE_SELECT ?= 1

.PHONY: demo test same check portability setup

# The main job on the built-in task.
demo: setup
	cargo run --release --locked -- demo

test: setup
	cargo test --locked

# The recorded runs, bit for bit; `make same BASE=REV` compares with the program of that revision, built here.
# RUNS='mix lora': only those whose names hold one of these.
same: setup
	./scripts/same.sh '$(BASE)' $(RUNS)

# Format, lints, docs.
check:
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

# The tests on other drivers, the kernels through other compilers: see scripts/portability.sh.
portability:
	./scripts/portability.sh

# A Vulkan driver for a Linux without one.
setup:
	@./scripts/setup.sh
