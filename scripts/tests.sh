#!/usr/bin/env bash
# Runs tests in one of three tiers and prints the duration of every test binary:
#   quick    what needs no graphics driver: under a minute once built
#   all      what must pass before a change is taken
#   nightly  the rest: long runs of the whole program
# Further arguments go to cargo.
set -euo pipefail
cd "$(dirname "$0")/.."

tier=$1
shift
# Named from here: cargo would split an absolute path at its spaces.
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
export "CARGO_TARGET_${host}_RUNNER=scripts/timed.sh"
# Those that never open a device.
no_adapter=(checkpoint config curriculum data eval kernels layers model_config)
case $tier in
quick)
    # No driver, so that a test that opens a device fails here.
    export VK_DRIVER_FILES=/dev/null
    cargo test --locked --workspace --lib --bins "${no_adapter[@]/#/--test=}" "$@"
    ;;
all) cargo test --locked --workspace "$@" ;;
nightly) cargo test --locked --workspace "$@" -- --ignored ;;
*)
    echo "tests.sh: quick, all or nightly" >&2
    exit 2
    ;;
esac
