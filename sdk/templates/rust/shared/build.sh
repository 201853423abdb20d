#!/bin/sh
# Builds component.wasm: a WebAssembly module, and around it the types of the interfaces in wit/.
set -eu
cd "$(dirname "$0")"
cargo build --release --target wasm32-unknown-unknown
rp-host component pack target/wasm32-unknown-unknown/release/component.wasm -o component.wasm
