#!/bin/sh
# Runs each fuzz target for so many seconds (`fuzz.sh 60`), or only those that are named after them,
# and stops at the first promise that is broken.
set -eu
cd "$(dirname "$0")/.."

LOGS=target/fuzz
# A run that takes this long or this much is a finding too.
INPUT_SECONDS_MAX=10
MEMORY_MIB_MAX=2048

seconds=$1
shift

# The dependencies that the binary has; only those of the fuzzer itself are looked up.
[ -n "$(find fuzz -name Cargo.lock -newer Cargo.lock)" ] || cp Cargo.lock fuzz/Cargo.lock
[ $# -gt 0 ] || for target in fuzz/fuzz_targets/*.rs; do
    set -- "$@" "$(basename "$target" .rs)"
done

# No sanitizer: they need a nightly compiler, and look for what safe Rust does not do.
cargo fuzz build --sanitizer none

export RUST_BACKTRACE=0
mkdir -p "$LOGS"
for target in "$@"; do
    mkdir -p "fuzz/found/$target"
    # What is found goes into the first folder.
    corpora="fuzz/found/$target fuzz/corpus/$target"
    [ "$target" != config ] || corpora="$corpora conf/bad conf/examples"
    printf '%s ... ' "$target"
    # shellcheck disable=SC2086 # a list of folders
    if cargo fuzz run --sanitizer none "$target" $corpora -- \
        -max_total_time="$seconds" -timeout=$INPUT_SECONDS_MAX -rss_limit_mb=$MEMORY_MIB_MAX \
        -print_final_stats=1 >"$LOGS/$target.log" 2>&1; then
        sed -n 's/^stat::number_of_executed_units: */inputs tried: /p' "$LOGS/$target.log"
    else
        printf 'broken\n'
        sed -E '/^(#[0-9]|INFO:|WARNING:|stat::|\t(NEW_FUNC|\[))/d' "$LOGS/$target.log" >&2
        exit 1
    fi
done
