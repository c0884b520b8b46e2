#!/usr/bin/env python3
"""How long requests wait beside hooks that compute for just under their limit.

One core has Weir with one worker; the other has the load and the upstream (nginx). Clients ask for a route whose
plugin burns 20 ms of its 25 in each hook, all the time; another asks, at random moments, for a route without
plugins. See README.md beside this file.
"""

import argparse
import http.client
import random
import subprocess
import time
from contextlib import ExitStack, contextmanager

import contestants
import measure
import overload
import report
from measure import ROOT, Failure, progress

# What may be between others and their turn.
WAIT_MS = 5.0
# A second, of those that wait.
RATE = 100


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="of each part (default %(default)s)")
    parser.add_argument("--burners", type=int, default=4, metavar="N",
                        help="clients that ask for hooks that compute (default %(default)s)")
    measure.add_common(parser, "race-burners")
    args = measure.parse(parser)
    if not args.weir.exists():
        parser.error(f"{args.weir} is missing; `make burners` builds it")
    return args


def main():
    args = arguments()
    measure.run("burners", args, lambda: race(args), text)


def race(args):
    with measure.folder("weir-burners-") as folder, ExitStack() as running:
        place = contestants.Place(weir=args.weir.resolve(), envoy="envoy", guests=ROOT / "target/guests", folder=folder)
        port = start(args, place, running)
        progress(f"alone for {args.seconds:g} s")
        alone = ask(port, args.seconds)
        progress(f"beside {args.burners} that burn, for {args.seconds:g} s")
        log = folder / "burners.tsv"
        with burning(args, port, log):
            beside = ask(port, args.seconds)
        hooks = burnt(log)
        progress(f"the same by the plugin that burns, for {args.seconds:g} s")
        with burning(args, port, log):
            same = ask(port, args.seconds, "/hello?same")
        return {
            "machine": report.machine(place), "cores": args.cores, "burners": args.burners,
            "burnt": hooks, "alone_ms": spread(alone), "beside_ms": spread(beside), "same_ms": spread(same),
            "targets": [{
                "what": "p99 of others, ms", "value": spread(beside)["p99"], "limit": WAIT_MS,
                "reached": spread(beside)["p99"] <= WAIT_MS,
            }],
        }


def start(args, place, running):
    """Weir with a plugin that burns where it is asked to."""
    place.write("hello", "hello")

    def change(config):
        config["plugins"] = {"burner": {
            "module": str(place.guests / "hostile.wasm"),
            "config": {"mode": "burn", "in": "on-request", "header": "x-harm"},
            "limits": {"cpu_time": "25ms", "wall_time": "1m"},
        }}
        config["routes"] = [
            {"match": {"path": "/hello", "headers": {"x-harm": "yes"}}, "upstream": "api", "plugins": ["burner"]},
            {"match": {"path": "/hello", "query": {"same": "*"}}, "upstream": "api", "plugins": ["burner"]},
            {"match": {"path": "/*"}, "upstream": "api"},
        ]

    port, _ = overload.serve("burners", args, place, running, change)
    return port


def ask(port, seconds, target="/hello"):
    """Milliseconds that each request took, from when it was due."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took, due = [], time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        connection.request("GET", target)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise Failure(f"a request was answered {answer.status} beside hooks that burn")
        took.append((time.monotonic() - due) * 1e3)
        due += random.expovariate(RATE)
    return took


@contextmanager
def burning(args, port, log):
    """Clients that each ask for a hook that computes, again and again, for as long as others ask and a second more."""
    child = subprocess.Popen(
        ["h2load", "--h1", f"--clients={args.burners}", f"--duration={args.seconds + 1:g}", "--header=x-harm: yes",
         f"--log-file={log}", f"http://127.0.0.1:{port}/hello"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        child.wait()


def burnt(log):
    """How many hooks computed, each to its end."""
    statuses = [line.split("\t")[1] for line in log.read_text().splitlines()]
    if not statuses or any(status != "200" for status in statuses):
        raise Failure(f"hooks that compute were answered {sorted(set(statuses))}")
    return len(statuses)


def spread(took):
    p50, p99 = (overload.quantile(took, of) for of in (0.5, 0.99))
    return {"p50": p50, "p99": p99, "max": max(took), "asked": len(took)}


def text(result):
    def times(of):
        return f"p50 {of['p50']:.2f}, p99 {of['p99']:.2f}, max {of['max']:.2f} ms of {of['asked']} requests"

    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, Linux {machine['kernel']}; Weir on core {result['cores'][0]}, load and upstream on core "
        f"{result['cores'][1]}",
        "",
        f"{'alone':28}{times(result['alone_ms'])}",
        f"{'beside ' + str(result['burners']) + ' that burn':28}{times(result['beside_ms'])}; {result['burnt']} hooks burnt",
        f"{'hooks of it that do not':28}{times(result['same_ms'])}",
        "",
    ]
    return "\n".join(lines + [report.verdict(target, 40, "at most ") for target in result["targets"]])


if __name__ == "__main__":
    main()
