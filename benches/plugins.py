#!/usr/bin/env python3
"""What each bundled plugin costs: `weir plugin bench` on the exchange of its `cases.yaml`, as a table in
Markdown.

A hook's cost is the median of a warm instance, its span included, and nothing of a socket. What a fresh
instance takes is what each request costs beside it with `isolation: request`.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


def measure(weir, name, cases, iterations):
    command = [weir, "plugin", "bench", f"builtin:{name}", "--cases", cases, "--json", "--iterations", str(iterations)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def row(name, figures):
    hooks = figures["hooks"]
    memory = max(hook["memory_bytes"] for hook in hooks)
    return [
        f"`{name}`",
        ", ".join(hook["hook"] for hook in hooks),
        ", ".join(str(hook["median_ns"]) for hook in hooks),
        str(round(memory / 1024)),
        str(round(figures["size_bytes"] / 1024)),
        str(round(figures["fresh_instance_ns"] / 1000)),
        hooks[0]["case"],
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", type=Path, default=os.environ.get("WEIR_BINARY") or TARGET / "release/weir",
                        help="the binary (default %(default)s)")
    parser.add_argument("--iterations", type=int, default=100_000, help="how often each exchange is run")
    args = parser.parse_args()
    print("| plugin | hooks | ns a hook | instance, KiB | module, KiB | fresh, µs | measured |")
    print("|---|---|---:|---:|---:|---:|---|")
    for cases in sorted((ROOT / "wasm-plugins").glob("*/cases.yaml")):
        name = cases.parent.name
        figures = measure(args.weir, name, cases, args.iterations)
        print("|", " | ".join(row(name, figures)), "|", flush=True)


if __name__ == "__main__":
    main()
