#!/usr/bin/env bash
# Builds `weir` guided by a profile (PGO): once so that it counts how it runs, then through the races, then anew by what
# was counted. What is counted is requests with and without plugins, by HTTP/1.1, HTTP/2 and TLS, traces that go to
# the spool and to Kafka, and OTLP that is received. C libraries and plugins are as ever.
#
# It leaves target/profiled/weir, and the profile beside it; the races take either as WEIR_BINARY.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
# Of LLVM: a profile is read by the release that wrote it, and by later ones.
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
out=$target/profiled
counts=$out/counts
profile=$out/weir.profdata

fail() {
    printf 'benches/profiled.sh: %s\n' "$@" >&2
    exit 1
}

merger() {
    local tool major
    for tool in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" /usr/lib/llvm-*/bin/llvm-profdata \
        "$(command -v llvm-profdata)"; do
        [ -x "$tool" ] || continue
        major=$("$tool" --version 2>/dev/null | sed -n 's/.*LLVM version \([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge "$llvm" ]; then
            echo "$tool"
            return
        fi
    done
    return 1
}
merge=$(merger) || fail "llvm-profdata of LLVM $llvm or later is missing:" \
    "\`rustup component add llvm-tools\` brings it, or Debian's package llvm-$llvm"

# build FLAG: with a host named, what runs in the build itself is not counted.
build() {
    RUSTFLAGS="${RUSTFLAGS-} $1" CARGO_TARGET_DIR=$out/build \
        "$cargo" build --release --locked --workspace --bin weir --target "$host"
}
built=$out/build/$host/release/weir

mkdir -p "$out"
echo 'building what counts how it runs' >&2
build "-Cprofile-generate=$counts"
cp "$built" "$out/counting"

rm -rf "$counts" "$profile"
python=$target/services/race/bin/python
races=(
    "race.py --only weir,weir-five,weir-kafka,weir-otlp,weir-spool --rounds 1 --requests 20000"
    "protocols.py --only weir --rounds 1 --requests 10000 --handshakes 500 --idle 500"
    "otlp.py --only weir,weir-keyed,weir-json --rounds 1 --requests 500"
)
for race in "${races[@]}"; do
    echo "$race" >&2
    # shellcheck disable=SC2086 # its words
    "$python" benches/race/$race --weir "$out/counting" --json "$out/counted.json" >/dev/null
done
"$merge" merge --sparse --output "$profile" "$counts"

echo 'building by what was counted' >&2
build "-Cprofile-use=$profile"
cp "$built" "$out/weir"
rm -rf "$counts" "$out/counting" "$out/counted.json"
echo "$out/weir"
