#!/usr/bin/env bash
# All checks of this repository, in three modes: see `scripts/check.sh --help`.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'USAGE'
usage: scripts/check.sh [fast|ci|full]

  fast   Run before each push, a few minutes: formatting, lints of the default features, unit tests, tests/it,
         doctests. This is the default.
  ci     What CI runs, 20 to 30 minutes on two cores: lints of all feature sets, all tests, Burn's adapter, the
         example package, documentation, the README's main job.
  full   Run before each release: ci, every fuzz target for a while, Miri, the oldest supported compiler,
         documentation as docs.rs builds it, and compatibility with the last release.

Needs Rust and a C compiler. full also uses a nightly toolchain, cargo-fuzz, Miri, the toolchain of `rust-version` and
cargo-semver-checks. What is missing is left out and named at the end.

environment: FUZZ_SECONDS   time for each fuzz target, 60 by default
USAGE
}

mode=${1:-fast}
case $mode in
fast | ci | full) ;;
-h | --help | help)
    usage
    exit
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
[ $# -le 1 ] || { usage >&2; exit 2; }

# Whether the mode includes the steps of another: `up_to ci` is true in ci and full.
up_to() {
    case $1 in
    ci) [ "$mode" != fast ] ;;
    full) [ "$mode" = full ] ;;
    esac
}

# Each crate is built once for each set of features: what incremental builds save would be half of the disk that this
# takes, and of no use.
if up_to ci; then export CARGO_INCREMENTAL=0; fi

steps=() # With their times.
left_out=()
running=

# Prints all steps with their times at the end, also after a failure.
finish() {
    local status=$?
    printf '\n== %s, %d s in all\n' "$mode" "$SECONDS"
    [ ${#steps[@]} = 0 ] || printf '%s\n' "${steps[@]}"
    if [ "$status" != 0 ]; then
        [ -z "$running" ] || printf 'FAILED: %s\n' "$running"
    elif [ ${#left_out[@]} != 0 ]; then
        echo 'left out:'
        printf '  %s\n' "${left_out[@]}"
    else
        echo 'left out: nothing'
    fi
    exit "$status"
}
trap finish EXIT

step() {
    local begun=$SECONDS line
    running=$*
    printf '\n== %s\n' "$*"
    "$@"
    running=
    printf -v line '%6d s  %s' $((SECONDS - begun)) "$*"
    steps+=("$line")
    printf '== %d s\n' $((SECONDS - begun))
}

leave_out() { left_out+=("$*"); }

has() { command -v "$1" >/dev/null; }
has_toolchain() { has rustup && rustup toolchain list | grep "^$1" >/dev/null; }

lints() {
    step cargo fmt --all --check
    step cargo clippy --all-targets -- -D warnings
    up_to ci || { leave_out 'lints of other feature sets and of the example package (ci)'; return 0; }
    step cargo clippy --no-default-features -- -D warnings
    step cargo clippy --no-default-features --features candle -- -D warnings
    step cargo clippy --no-default-features --features synth --tests -- -D warnings
    step cargo clippy --no-default-features --features burn -- -D warnings
    step cargo clippy --features burn-flex,remote,tracing --bins --lib --test it --test tracing --bench remote -- -D warnings
    step cargo clippy -p relevance --all-targets -- -D warnings
    step cargo clippy -p relevance --features burn --all-targets -- -D warnings
    # These are workspaces of their own, which `--all` above does not include.
    step cargo fmt --manifest-path fuzz/Cargo.toml --check
    step cargo fmt --manifest-path benches/peers/rust/Cargo.toml --check
    step cargo fmt --manifest-path benches/peers/jpeg/Cargo.toml --check
}

tests() {
    if ! up_to ci; then
        step cargo test --lib --test it
        step cargo test --doc
        leave_out 'tests of whole processes, of Burn, of the examples and of the example package (ci)'
        return
    fi
    # The README's test command.
    step cargo test
    step cargo test -p relevance
    # Burn takes ten minutes of one core to compile, so only the tests that use it run with it.
    step cargo test --features burn-flex,remote,tracing --lib --test it --test tracing -- burn remote spans
    step cargo test -p relevance --features burn
}

docs() {
    up_to ci || { leave_out 'documentation (ci)'; return 0; }
    # As users build it, and with everything: a link may lead to an item that only one of them has.
    RUSTDOCFLAGS='-D warnings' step cargo doc --no-deps
    RUSTDOCFLAGS='-D warnings' step cargo doc --no-deps --features burn,remote
    up_to full || { leave_out 'documentation as docs.rs builds it (full)'; return 0; }
    if has_toolchain nightly; then
        RUSTDOCFLAGS='--cfg docsrs -D warnings' step cargo +nightly doc --no-deps --features candle,burn,remote,synth
    else
        leave_out 'documentation as docs.rs builds it: no nightly toolchain'
    fi
}

main_job() {
    up_to ci || { leave_out 'the main job (ci)'; return 0; }
    step cargo run --release -p relevance
}

fuzzing() {
    local seconds=${FUZZ_SECONDS:-60} target targets
    up_to full || { leave_out 'fuzzing (full)'; return 0; }
    if ! has_toolchain nightly || ! has cargo-fuzz; then
        leave_out 'fuzzing: no nightly toolchain or no cargo-fuzz'
        return
    fi
    targets=$(cargo +nightly fuzz list)
    [ -n "$targets" ]
    for target in $targets; do
        step cargo +nightly fuzz run "$target" -- -max_total_time="$seconds"
    done
}

# Miri runs the unsafe code of batch slots and of the pool, and the portable code of images. It supports neither mappings
# nor most vector instructions.
miri() {
    local names=(batch::fill batch::pool image::) found
    up_to full || { leave_out 'Miri (full)'; return 0; }
    if ! has_toolchain nightly || ! cargo +nightly miri --version >/dev/null 2>&1; then
        leave_out 'Miri: no nightly toolchain with it'
        return
    fi
    # Without this, Miri would pass without running anything if the tests were renamed.
    found=$(cargo test --no-default-features --features synth --lib -- --list "${names[@]}")
    if [[ $found == *': test'* ]]; then
        step cargo +nightly miri test --no-default-features --features synth --lib -- "${names[@]}"
    else
        leave_out "Miri: ${names[*]} have no unit tests"
    fi
}

oldest_compiler() {
    local version toolchain=
    up_to full || { leave_out 'the oldest supported compiler (full)'; return 0; }
    version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if has rustup; then
        toolchain=$(rustup toolchain list | sed 's/ .*//' | grep -E "^${version//./\\.}[.-]" | head -n 1) || true
    fi
    if [ -n "$toolchain" ]; then
        step cargo "+$toolchain" check
        step cargo "+$toolchain" check --no-default-features --features burn
    else
        leave_out "the oldest supported compiler: no toolchain $version"
    fi
}

compatibility() {
    local release
    up_to full || { leave_out 'compatibility with the last release (full)'; return 0; }
    release=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || true
    if ! has cargo-semver-checks; then
        leave_out 'compatibility with the last release: no cargo-semver-checks'
    elif [ -z "$release" ]; then
        leave_out 'compatibility with the last release: there is none, no tag v*'
    else
        step cargo semver-checks --package maskstream --baseline-rev "$release"
    fi
}

lints
tests
docs
oldest_compiler
miri
compatibility
fuzzing
main_job
