#!/usr/bin/env bash
# Replays the recorded runs of tests/same: `same.sh` compares with the record, `same.sh REVISION` with the program of that
# revision, which is built in target/same/ and kept. Further arguments are parts of names of runs.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${1:-}
[ "$#" = 0 ] || shift
if [ -n "$base" ]; then
    commit=$(git rev-parse --short=12 --verify "$base^{commit}")
    folder=$PWD/target/same/$commit
    source=$folder/source
    if [ ! -x "$folder/debug/underdog" ]; then
        git worktree prune
        git worktree add --force --detach "$source" "$commit"
        trap 'git worktree remove --force "$source"' EXIT
        cargo build --locked --manifest-path "$source/Cargo.toml" --target-dir "$folder"
        # Only the program is needed again.
        rm -rf "$folder"/debug/{deps,build,incremental,.fingerprint}
    fi
    export UNDERDOG_SAME_BASE=$folder/debug/underdog
fi
cargo test -q --locked --test same -- "$@"
