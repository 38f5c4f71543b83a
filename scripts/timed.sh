#!/usr/bin/env bash
# Runs a test binary for cargo and prints how long it took, after what it prints itself.
name=$(basename "$1")
TIMEFORMAT="took %1R s (%1U s of CPU): ${name%-*}"
time "$@"
