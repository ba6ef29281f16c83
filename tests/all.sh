#!/usr/bin/env bash
# Installs what the tests need (as root, on Debian) and runs them all: layout of the code, lints, documentation, tests.
#
#   bash tests/all.sh
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "packages"
bash tests/packages.sh test

say "layout of the code"
cargo fmt --check

say "lints"
cargo clippy --locked --all-targets -- -D warnings

say "documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

say "tests"
cargo test --locked --no-fail-fast
