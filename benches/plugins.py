#!/usr/bin/env python3
"""What each bundled plugin costs: `weir plugin bench` on the exchange of its `cases.yaml`, as a table in
Markdown.

A hook's cost is the median of a warm instance, its span included, and nothing of a socket. What a fresh
instance takes is what each request costs beside it with `isolation: request`. Both are the median of three
runs. With --strict it fails where a fresh instance takes more than 30 µs, or a hook that takes a field away
and sets one more than 0.8 µs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")

RUNS = 3

# Bounds, in nanoseconds: of every plugin, and of the one whose hooks do just what a hook is for.
FRESH, WARM, PLAIN = 30_000, 800, "header-rewrite"


def measure(weir, name, cases, iterations):
    """The median of some runs."""
    runs = [run(weir, name, cases, iterations) for _ in range(RUNS)]
    figures = runs[0]
    figures["fresh_instance_ns"] = statistics.median(each["fresh_instance_ns"] for each in runs)
    for index, hook in enumerate(figures["hooks"]):
        hook["median_ns"] = statistics.median(each["hooks"][index]["median_ns"] for each in runs)
    return figures


def run(weir, name, cases, iterations):
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


def missed(name, figures):
    """What takes longer than it may."""
    if figures["fresh_instance_ns"] > FRESH:
        yield f"a fresh {name}"
    for hook in figures["hooks"]:
        if name == PLAIN and hook["median_ns"] > WARM:
            yield f"the {hook['hook']} hook of {name}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", type=Path, default=os.environ.get("WEIR_BINARY") or TARGET / "release/weir",
                        help="the binary (default %(default)s)")
    parser.add_argument("--iterations", type=int, default=100_000, help="how often each exchange is run")
    parser.add_argument("--strict", action="store_true", help="fail where a bound is not kept")
    args = parser.parse_args()
    late = []
    print("| plugin | hooks | ns a hook | instance, KiB | module, KiB | fresh, µs | measured |")
    print("|---|---|---:|---:|---:|---:|---|")
    for cases in sorted((ROOT / "wasm-plugins").glob("*/cases.yaml")):
        name = cases.parent.name
        figures = measure(args.weir, name, cases, args.iterations)
        late += missed(name, figures)
        print("|", " | ".join(row(name, figures)), "|", flush=True)
    if args.strict and late:
        sys.exit(f"plugins: too slow: {', '.join(late)}")


if __name__ == "__main__":
    main()
