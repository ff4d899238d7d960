#!/usr/bin/env bash
# Formatting, lints in every feature set, tests, docs, and the main job. Needs rustc and a C compiler; installs cmake and nasm for the one optional feature
# that wants them, where it may.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all --check
step cargo clippy --all-targets -- -D warnings
step cargo clippy --no-default-features -- -D warnings
step cargo clippy --no-default-features --features candle -- -D warnings
step cargo clippy --no-default-features --features synth --tests -- -D warnings
step cargo clippy --no-default-features --features burn -- -D warnings
step cargo clippy --features burn-flex --lib --test it -- -D warnings
step cargo clippy -p relevance --all-targets -- -D warnings
step cargo clippy -p relevance --features burn --all-targets -- -D warnings
# The README's test command.
step cargo test
step cargo test -p relevance
# Burn is large: ten minutes of one core, which the tests above do not need.
step cargo test --features burn-flex --lib --test it burn
step cargo test -p relevance --features burn --test relevance_burn
RUSTDOCFLAGS='-D warnings' step cargo doc --no-deps

if ! { command -v cmake && command -v nasm; } >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq cmake nasm >/dev/null
fi
if command -v cmake >/dev/null && command -v nasm >/dev/null; then
    step cargo test --no-default-features --features synth,turbojpeg
else
    echo '== turbojpeg is not tested: cmake and nasm are missing'
fi

# The README's main job.
step cargo run --release -p relevance
