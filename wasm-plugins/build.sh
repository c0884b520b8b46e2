#!/usr/bin/env bash
# Builds plugins in Rust.
#
#   wasm-plugins/build.sh              each wasm-plugins/<name> -> target/guests/<name>.wasm
#   wasm-plugins/build.sh FOLDER ...   each crate elsewhere     -> FOLDER/target/<name>.wasm
#
# A crate has the name of its folder. Takes the wasm32-unknown-unknown target of rustup's toolchain,
# which is added where rustup can fetch it. Elsewhere it builds the standard library too, with
# Debian's rustc-web, cargo-web and rust-web-src. The same source makes the same bytes, wherever it
# is built with the same compiler.
set -euo pipefail

folders=()
for folder in "$@"; do folders+=("$(realpath "$folder")"); done
cd -P "$(dirname "$0")/.."
target=wasm32-unknown-unknown
export CARGO_TARGET_DIR=$PWD/target/guest-build

fail() {
    printf 'wasm-plugins/build.sh: %s\n' "$@" >&2
    exit 1
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

command -v rustc >/dev/null || fail 'needs Rust: see https://rustup.rs'
sysroot=$(rustc --print sysroot)
has_target() { [ -d "$sysroot/lib/rustlib/$target/lib" ]; }

# That rustup could not fetch the target is remembered beside the build, so that it costs its
# time-out once.
mkdir -p "$CARGO_TARGET_DIR"
if ! has_target && [ ! -e "$CARGO_TARGET_DIR/no-rustup-target" ]; then
    timeout 60 rustup target add $target >/dev/null 2>&1 || touch "$CARGO_TARGET_DIR/no-rustup-target"
fi

cargo=(cargo)
build_std=()
flags=("--remap-path-prefix=$PWD/=")
if ! has_target; then
    for needed in /usr/bin/rustc /usr/bin/cargo /usr/lib/rustlib/src/rust/library/std; do
        [ -e $needed ] && continue
        { as_root apt-get update -q && as_root apt-get install -qy rustc-web cargo-web rust-web-src; } >&2 ||
            fail "needs the target $target: run \`rustup target add $target\`," \
                'or install the packages rustc-web, cargo-web and rust-web-src (Debian)'
        break
    done
    linker=$sysroot/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
    [ -x "$linker/rust-lld" ] || fail "needs rust-lld of rustup's toolchain in $linker"
    export PATH=$linker:$linker/gcc-ld:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
    cargo=(/usr/bin/cargo)
    build_std=(-Zbuild-std=std,panic_abort)
    std=/usr/lib/rustlib/src/rust
    flags+=("--remap-path-prefix=$std=/rust" "--remap-path-prefix=$(realpath $std)=/rust")
fi

# Fetched first, for its folders to be known.
"${cargo[@]}" fetch -q --locked --target $target
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    flags+=("--remap-path-prefix=${registry%/}=/crates")
done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS

build() { "${cargo[@]}" build -q --lib --target $target "${build_std[@]}" "$@"; }

# Leaves the file alone where nothing changed, so that who embeds it is not built anew.
deliver() {
    local name=$1 profile=$2 to=$3/$1.wasm
    local built=$CARGO_TARGET_DIR/$target/$profile/${name//-/_}.wasm
    mkdir -p "$3"
    cmp -s "$built" "$to" || install -m 644 "$built" "$to"
}

if [ $# = 0 ]; then
    names=()
    for manifest in wasm-plugins/*/Cargo.toml; do names+=("$(basename "$(dirname "$manifest")")"); done
    build --locked --profile guest "${names[@]/#/-p=}"
    for name in "${names[@]}"; do deliver "$name" guest target/guests; done
fi
for folder in "${folders[@]}"; do
    build --release --manifest-path "$folder/Cargo.toml"
    deliver "$(basename "$folder")" release "$folder/target"
done
