#!/usr/bin/env bash
# Builds the pages into dist, which the binary embeds. Quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")"
inputs() {
    find src public index.html package.json package-lock.json tsconfig.json vite.config.ts -type f -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
}
now=$(inputs)
if [ "$(cat dist/.made-of 2>/dev/null)" = "$now" ] && [ -d node_modules ]; then
    exit 0
fi
if ! command -v npm >/dev/null; then
    echo "npm is not installed: install Node 20 or later, for the console's pages are built with it" >&2
    exit 1
fi
npm ci --no-fund --no-audit --loglevel=error
npm run --silent build
echo "$now" >dist/.made-of
# Cargo cannot watch for what was not there.
touch unbuilt/index.html
