#!/usr/bin/env bash
# Builds every plugin of this folder: wasm-plugins/<name> -> target/guests/<name>.wasm
#
# Takes the wasm32-unknown-unknown target of rustup's toolchain, adding it where rustup can fetch
# it. Elsewhere it builds the standard library too, with Debian's rustc-web, cargo-web and
# rust-web-src. The same source makes the same bytes wherever it is built with the same compiler.
set -euo pipefail

cd "$(dirname "$0")/.."
target=wasm32-unknown-unknown
out=target/guests
export CARGO_TARGET_DIR=$PWD/target/guest-build

fail() {
    printf 'wasm-plugins/build.sh: %s\n' "$@" >&2
    exit 1
}

root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

command -v rustc >/dev/null || fail 'needs Rust: see https://rustup.rs'
sysroot=$(rustc --print sysroot)
has_target() { [ -d "$sysroot/lib/rustlib/$target/lib" ]; }

# Whether rustup failed to fetch the target is remembered beside the build, so that it costs its
# time-out once.
mkdir -p "$CARGO_TARGET_DIR"
if ! has_target && [ ! -e "$CARGO_TARGET_DIR/no-rustup-target" ]; then
    timeout 60 rustup target add "$target" >/dev/null 2>&1 || touch "$CARGO_TARGET_DIR/no-rustup-target"
fi

cargo=(cargo)
build_std=()
flags=("--remap-path-prefix=$PWD/=")
if ! has_target; then
    for tool in /usr/bin/rustc /usr/bin/cargo /usr/lib/rustlib/src/rust/library/std; do
        [ -e "$tool" ] && continue
        { root apt-get update -q && root apt-get install -qy rustc-web cargo-web rust-web-src; } >&2 ||
            fail "needs the target $target: run \`rustup target add $target\`," \
                'or install the packages rustc-web, cargo-web and rust-web-src (Debian)'
        break
    done
    linker=$sysroot/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
    [ -x "$linker/rust-lld" ] || fail "needs rust-lld of rustup's toolchain in $linker"
    export PATH=$linker:$linker/gcc-ld:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
    cargo=(/usr/bin/cargo)
    build_std=(-Zbuild-std=std,panic_abort)
    std=$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust
    flags+=("--remap-path-prefix=$std=/rust" "--remap-path-prefix=$(realpath "$std")=/rust")
fi

"${cargo[@]}" fetch -q --locked
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    flags+=("--remap-path-prefix=${registry%/}=/crates")
done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

mkdir -p $out
packages=()
for manifest in wasm-plugins/*/Cargo.toml; do
    name=$(basename "$(dirname "$manifest")")
    packages+=(-p "$name")
done
"${cargo[@]}" build -q --locked --profile guest --target $target "${build_std[@]}" --lib "${packages[@]}"

for manifest in wasm-plugins/*/Cargo.toml; do
    name=$(basename "$(dirname "$manifest")")
    built=$CARGO_TARGET_DIR/$target/guest/${name//-/_}.wasm
    # Left alone where nothing changed, so that whoever embeds it is not built anew.
    cmp -s "$built" "$out/$name.wasm" || cp "$built" "$out/$name.wasm"
done
