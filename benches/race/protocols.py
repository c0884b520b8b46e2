#!/usr/bin/env python3
"""What TLS and HTTP/2 cost in Weir, in nginx and in Envoy, in one run on the same cores.

Each proxy is one process with one worker, and serves all ways at once: HTTP/1.1 and HTTP/2, with and
without TLS. CPU a request by h2load; CPU a full handshake, with the connection and one request; memory
of idle connections. See README.md beside this file.
"""

import argparse
import json
import resource
import socket
import ssl
import statistics
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import contestants
import measure
import report
from measure import Failure, progress
from race import installed_envoy, start_upstream

# Name, port, whether it is HTTP/2, whether it has TLS.
WAYS = [("h1", "plain", False, False), ("h1 TLS", "tls", False, True),
        ("h2", "plain2", True, False), ("h2 TLS", "tls", True, True)]
STREAMS = 10
# What is measured against whom, at most how many times as much.
TARGETS = [("h1 TLS", "nginx", 1.2), ("h2", "envoy", 1.0), ("h2 TLS", "envoy", 1.0), ("idle", "envoy", 1.0)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["nginx", "envoy", "weir"], metavar="NAMES")
    parser.add_argument("--requests", type=int, default=50_000, help="in a round, each way (default %(default)s)")
    parser.add_argument("--handshakes", type=int, default=2_000, help="in a round (default %(default)s)")
    parser.add_argument("--idle", type=int, default=10_000, help="connections, once (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="of HTTP/1.1; a quarter of HTTP/2 (default %(default)s)")
    measure.add_common(parser, "race-protocols")
    parser.add_argument("--envoy", type=Path, default=installed_envoy(), metavar="FILE")
    args = measure.parse(parser)
    for name, path in (("weir", args.weir), ("envoy", args.envoy)):
        if name in args.only and not path.exists():
            parser.error(f"{path} is missing; `make race` builds and installs what is needed")
    return args


@dataclass
class Entry:
    name: str
    pid: int
    ports: dict
    rounds: list = field(default_factory=list)
    idle: dict = field(default_factory=dict)


def main():
    args = arguments()
    # Both ends of what is idle.
    files = args.idle + 4096
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, hard)))
    measure.run("race", args, lambda: race(args), table)


def race(args):
    with measure.folder("weir-race-") as folder, ExitStack() as running:
        place = contestants.Place(weir=args.weir.resolve(), envoy=args.envoy, guests=folder, folder=folder)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", "/CN=race", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem",
             "-out", folder / "cert.pem"], check=True, capture_output=True)
        upstream = start_upstream(place, args, running)
        with ExitStack() as contest:
            entries = [start(name, place, args, upstream, contest) for name in args.only]
            for number in range(args.rounds + 1):
                for entry in entries if number % 2 else reversed(entries):
                    figures = one_round(entry, args, warm_up=number == 0)
                    if number:
                        entry.rounds.append(figures)
                        said = "  ".join(f"{name} {value:.1f}" for name, value in figures.items())
                        progress(f"round {number}/{args.rounds}  {entry.name:6} {said}")
        for entry in entries:
            for kind, tls in (("idle", False), ("idle TLS", True)):
                # A process of its own each time: what another load has freed would hide what this takes.
                with ExitStack() as alone:
                    entry.idle[kind] = idle(start(entry.name, place, args, upstream, alone), args.idle, tls)
                progress(f"{entry.name:6} {kind} {entry.idle[kind]:.1f} KiB a connection")
        return result_of(args, place, entries)


def start(name, place, args, upstream, running):
    ports = {kind: measure.free_port() for kind in ("plain", "tls", "plain2")}
    make = {"nginx": nginx, "envoy": envoy, "weir": weir}[name]
    log = place.folder / f"{name}.log"
    child = running.enter_context(measure.process(make(place, ports, upstream), args.cores[0], log))
    for port in ports.values():
        measure.wait_for_port(child, port, log)
    return Entry(name, child.pid, ports)


def one_round(entry, args, warm_up):
    figures = {}
    for name, port, http2, tls in WAYS:
        requests = max(2_000, args.requests // 10) if warm_up else args.requests
        connections = max(1, args.connections // 4) if http2 else args.connections
        way = measure.Way("https" if tls else "http", STREAMS if http2 else None)
        before = measure.cpu_seconds(entry.pid)
        measure.burst(entry.ports[port], requests, connections, args.cores[1], way=way)
        figures[name] = (measure.cpu_seconds(entry.pid) - before) / requests * 1e6
    count = 200 if warm_up else args.handshakes
    before = measure.cpu_seconds(entry.pid)
    for _ in range(count):
        ask(connect(entry.ports["tls"], True)).close()
    figures["handshake"] = (measure.cpu_seconds(entry.pid) - before) / count * 1e6
    return figures


def connect(port, tls):
    """A connection; each with TLS is a full handshake of TLS 1.3, since no session is kept."""
    stream = socket.create_connection(("127.0.0.1", port), timeout=30)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not tls:
        return stream
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(stream)


def ask(stream):
    """One request of HTTP/1.1, after which the connection is kept."""
    stream.sendall(b"GET /hello HTTP/1.1\r\nhost: race\r\n\r\n")
    got = b""
    while not got.endswith(contestants.UPSTREAM_BODY.encode()):
        piece = stream.recv(4096)
        if not piece:
            raise Failure(f"a connection ended: {got!r}")
        got += piece
    return stream


def idle(entry, count, tls):
    """KiB that each of so many connections costs once it had its request and waits for the next."""
    for _ in range(50):
        ask(connect(entry.ports["tls" if tls else "plain"], tls)).close()
    before = resident(entry.pid)
    held = [ask(connect(entry.ports["tls" if tls else "plain"], tls)) for _ in range(count)]
    time.sleep(1)
    used = (resident(entry.pid) - before) / count / 1024
    # All of them are there still, or the figure would not stand.
    for stream in held[:: max(1, count // 100)]:
        ask(stream)
    for stream in held:
        stream.close()
    return used


def resident(pid):
    """Bytes that a process tree has resident now (VmRSS)."""
    total = 0
    for each in measure.tree(pid):
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def nginx(place, ports, upstream):
    proxy = """
            location / {
                proxy_pass http://api;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
            }"""
    return contestants.nginx_command(place, "nginx", f"""
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
        upstream api {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
        server {{ listen 127.0.0.1:{ports["plain"]} reuseport; {proxy} }}
        server {{ listen 127.0.0.1:{ports["plain2"]} reuseport http2; {proxy} }}
        server {{
            listen 127.0.0.1:{ports["tls"]} reuseport ssl http2;
            ssl_certificate {place.folder}/cert.pem;
            ssl_certificate_key {place.folder}/key.pem;
            ssl_protocols TLSv1.2 TLSv1.3;
            {proxy}
        }}""", connections=32768)


def envoy(place, ports, upstream):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "race", "generate_request_id": False,
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api"}}]}]},
    }
    tls = {"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": {"filename": f"{place.folder}/cert.pem"},
                                  "private_key": {"filename": f"{place.folder}/key.pem"}}],
        }}}
    config = {"static_resources": {
        "listeners": [{
            "name": kind, "address": contestants.address(port),
            "filter_chains": [{
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
                **({"transport_socket": tls} if kind == "tls" else {}),
            }],
        } for kind, port in ports.items()],
        "clusters": [{
            "name": "api", "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "api", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": contestants.address(upstream)}}]}]},
        }],
    }}
    path = place.write("envoy.json", json.dumps(config, indent=2))
    return [place.envoy, "-c", path, "--concurrency", 1, "--disable-hot-restart", "--log-level", "warning"]


def weir(place, ports, upstream):
    listener = {"timeouts": {"head": "1h"}}
    tls = {"certificates": [{"cert": str(place.folder / "cert.pem"), "key": str(place.folder / "key.pem")}]}
    return contestants.weir_command("weir", place, {
        "workers": 1,
        "listeners": [{"address": f"127.0.0.1:{port}", **listener, **({"tls": tls} if kind == "tls" else {})}
                      for kind, port in ports.items()],
        "admin": {"address": f"127.0.0.1:{measure.free_port()}"},
        "upstreams": {"api": {"endpoints": [f"http://127.0.0.1:{upstream}"]}},
        "routes": [{"upstream": "api"}],
    })


def result_of(args, place, entries):
    rows = []
    for entry in entries:
        median = {name: statistics.median(each[name] for each in entry.rounds) for name in entry.rounds[0]}
        rows.append({"name": entry.name, "median": {**median, **entry.idle}, "rounds": entry.rounds})
    values = {row["name"]: row for row in rows}
    targets = []
    for what, peer, limit in TARGETS:
        if {"weir", peer} <= set(values):
            ratio = of(values["weir"], values[peer], what)
            targets.append({"what": f"{what}: Weir / {peer}", "value": ratio, "limit": limit, "reached": ratio <= limit})
    return {"machine": report.machine(place), "requests": args.requests, "handshakes": args.handshakes,
            "idle": args.idle, "rounds": args.rounds, "connections": args.connections, "cores": args.cores,
            "contestants": rows, "targets": targets}


def of(own, other, what):
    """Worked out in each round where there are rounds of it."""
    if what not in own["rounds"][0]:
        return own["median"][what] / max(other["median"][what], 0.01)
    return statistics.median(mine[what] / theirs[what] for mine, theirs in zip(own["rounds"], other["rounds"]))


def table(result):
    names = list(result["contestants"][0]["median"])
    lines = [f"{result['machine']['cpu']}, {result['rounds']} rounds of {result['requests']} requests and "
             f"{result['handshakes']} handshakes; {result['idle']} idle connections",
             "CPU µs a request by way, CPU µs a handshake, KiB an idle connection; medians of the rounds", "",
             f"{'':8}" + "".join(f"{name:>12}" for name in names)]
    for row in result["contestants"]:
        lines.append(f"{row['name']:8}" + "".join(f"{row['median'][name]:12.1f}" for name in names))
    lines.append("")
    return "\n".join(lines + [report.verdict(target, 32) for target in result["targets"]])


if __name__ == "__main__":
    main()
