"""From rounds to figures: values in, values out."""

import os
import platform
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Medians over the rounds, but for memory.
SUMMARY = ("requests_per_second", "cpu_us", "worker_us", "p50_us", "p99_us")


@dataclass(frozen=True)
class Target:
    """A bound to keep, or where there is none a figure to know. The value is worked out in each round, and the
    median of the rounds counts."""

    what: str
    limit: float | None
    needs: tuple
    value: callable
    aim: float | None = None
    # The figure of a round that it is worked out of.
    of: str = "cpu_us"


TARGETS = [
    Target("Weir / nginx", 1.2, ("weir", "nginx"), lambda weir, nginx: weir / nginx),
    Target("Weir with 5 plugins and JSON to Kafka / Envoy", 1.0, ("weir-kafka", "envoy"),
           lambda weir, envoy: weir / envoy, aim=0.75),
    Target("the same / Envoy with 5 filters, traced to Kafka", 1.0, ("weir-kafka", "envoy-traced"),
           lambda weir, envoy: weir / envoy),
    Target("a hook with its span, µs: (5 plugins - bare) / 10", 0.8, ("weir-five", "weir"),
           lambda five, bare: (five - bare) / 10),
    Target("the same / a hook of Envoy's", 0.33, ("weir-five", "weir", "envoy-five", "envoy"),
           lambda five, bare, envoy_five, envoy: (five - bare) / (envoy_five - envoy)),
    Target("the spool on a request's path, µs of the worker's", 1.5, ("weir-spool", "weir-kafka"),
           lambda spool, memory: spool - memory, of="worker_us"),
    Target("the spool in all, µs: data_dir set - not set", None, ("weir-spool", "weir-kafka"),
           lambda spool, memory: spool - memory),
    Target("recent traces for the console: kept / not kept", 1.02, ("weir-store", "weir-kafka"),
           lambda kept, without: kept / without),
    Target("p99, somebody follows all traces live / nobody does", 1.05, ("weir-tail", "weir-store"),
           lambda followed, alone: followed / alone, of="p99_us"),
]


def result(args, place, rows):
    for row in rows:
        for key in SUMMARY:
            row[key] = statistics.median(each[key] for each in row["rounds"])
        row["cpu_us_min"] = min(each["cpu_us"] for each in row["rounds"])
    figures = {of: {row["name"]: [each[of] for each in row["rounds"]] for row in rows} for of in SUMMARY}
    cpu = figures["cpu_us"]
    for row in rows:
        for peer in ("nginx", "envoy"):
            if peer in cpu:
                row[f"of_{peer}"] = paired(cpu, (row["name"], peer), lambda own, other: own / other)
    return {
        "machine": machine(place),
        "requests": args.requests, "rounds": args.rounds, "connections": args.connections, "cores": args.cores,
        "disturbance": statistics.mean(each["disturbance"] for row in rows for each in row["rounds"]),
        "contestants": rows,
        "targets": [reached(target, figures[target.of]) for target in TARGETS if set(target.needs) <= set(cpu)],
    }


def paired(figures, names, value):
    """Median over rounds of a value worked out within each round: noise that lasts meets both."""
    return statistics.median(value(*each) for each in zip(*(figures[name] for name in names)))


def reached(target, figures):
    value = paired(figures, target.needs, target.value)
    return {"what": target.what, "value": value, "limit": target.limit, "aim": target.aim,
            "reached": target.limit is None or value <= target.limit}


def machine(place):
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    return {
        "cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
        "nginx": version(["nginx", "-v"]), "envoy": version([place.envoy, "--version"]),
        "weir": version([place.weir, "--version"]), "h2load": version(["h2load", "--version"]),
    }


def version(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    return (done.stdout + done.stderr).strip()


def verdict(target, width, bound=""):
    """A target's line: what, its value, and whether that reaches the limit."""
    aim = f", aim {target['aim']}" if target.get("aim") else ""
    reached = "reached" if target["reached"] else "NOT reached"
    return f"{target['what']:{width}}{target['value']:7.2f}  to reach: {bound}{target['limit']}{aim}: {reached}"


def table(result):
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, Linux {machine['kernel']}; proxy on core {result['cores'][0]}, "
        f"load, upstream and Kafka on core {result['cores'][1]}",
        f"{result['rounds']} rounds of {result['requests']} requests over {result['connections']} connections; "
        "medians of the rounds",
        f"other programs and the host took {result['disturbance']:.0%} of the proxy's core meanwhile"
        + (": the machine is too busy for figures to quote" if result["disturbance"] > 0.1 else ""),
        "",
        f"{'':32}{'req/s':>8}{'CPU µs/req':>12}{'(least)':>9}{'p50 ms':>8}{'p99 ms':>8}{'MiB':>7}"
        f"{'x nginx':>9}{'x Envoy':>9}",
    ]
    for row in result["contestants"]:
        ratios = "".join(f"{row[key]:9.2f}" if key in row else f"{'':9}" for key in ("of_nginx", "of_envoy"))
        lines.append(
            f"{row['what']:32}{row['requests_per_second']:8.0f}{row['cpu_us']:12.1f}{row['cpu_us_min']:9.1f}"
            f"{row['p50_us'] / 1e3:8.2f}{row['p99_us'] / 1e3:8.2f}{row['peak_memory_bytes'] / 2**20:7.0f}{ratios}"
        )
    for row in result["contestants"]:
        if "kafka" in row:
            kafka = row["kafka"]
            spans = f"{kafka['hook_spans']} hook spans" if kafka["hook_spans"] else "one span of the whole request alone"
            lines += ["", f"{row['what']}: {kafka['traces']} answered requests, as many traces in the topic, each with "
                      f"{spans}; {kafka['bytes_a_trace']} bytes a trace, "
                      f"acks {kafka['acks']}, data_dir {kafka['data_dir'] or 'not set'}, {kafka['partitions']} partitions"]
    if result["targets"]:
        lines.append("")
    for target in result["targets"]:
        if target["limit"] is None:
            lines.append(f"{target['what']:56}{target['value']:7.2f}")
        else:
            lines.append(verdict(target, 56))
    return "\n".join(lines)
