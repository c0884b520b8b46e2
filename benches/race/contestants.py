"""Who races: how each is configured and started.

All proxy the same path to the same upstream on one core. Configurations are written as files, so
that what was measured can be read and run by hand.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from measure import free_port

UPSTREAM_BODY = "x" * 128
PLUGINS = 5


@dataclass(frozen=True)
class Contestant:
    name: str
    what: str
    program: str
    hooks: int = 0
    # Of the traces it produces to Kafka, if any.
    format: str | None = None
    # Whether traces wait in the spool instead of in memory.
    spool: bool = False
    # Whether recent traces are kept for the console, and whether somebody follows them live.
    store: bool = False
    tail: bool = False
    # Whether its own spans go through OpenTelemetry's collector to Kafka.
    collector: bool = False


ALL = [
    Contestant("nginx", "nginx", "nginx"),
    Contestant("envoy", "Envoy", "envoy"),
    Contestant("envoy-one", "Envoy, 1 proxy-wasm filter", "envoy", hooks=2),
    Contestant("envoy-five", "Envoy, 5 proxy-wasm filters", "envoy", hooks=10),
    Contestant("envoy-traced", "Envoy, 5 filters, collector", "envoy", hooks=10, collector=True),
    Contestant("weir", "Weir", "weir"),
    Contestant("weir-five", "Weir, 5 plugins", "weir", hooks=10),
    Contestant("weir-kafka", "Weir, 5 plugins, JSON to Kafka", "weir", hooks=10, format="json"),
    Contestant("weir-otlp", "Weir, 5 plugins, OTLP to Kafka", "weir", hooks=10, format="otlp_protobuf"),
    Contestant("weir-store", "Weir, 5 plugins, JSON, console", "weir", hooks=10, format="json", store=True),
    Contestant("weir-tail", "Weir, 5 plugins, JSON, live tail", "weir", hooks=10, format="json", store=True, tail=True),
    Contestant("weir-spool", "Weir, 5 plugins, spool, JSON", "weir", hooks=10, format="json", spool=True),
]


@dataclass(frozen=True)
class Place:
    """Where programs are found and where files go."""

    weir: Path
    envoy: Path
    guests: Path
    folder: Path
    collector: Path | None = None

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path


def plugin_names(contestant):
    return [f"bench-{number}" for number in range(1, contestant.hooks // 2 + 1)]


def upstream_command(place, port):
    """nginx with one small answer, and one that tells what headers the hooks have set."""
    seen = ",".join(f"$http_x_bench_{number}" for number in range(1, PLUGINS + 1))
    return nginx_command(place, "upstream", f"""
        keepalive_requests 1000000000;
        server {{
            listen 127.0.0.1:{port} reuseport;
            default_type text/plain;
            location /hello {{ return 200 {UPSTREAM_BODY}; }}
            location /seen {{ return 200 {seen}; }}
        }}""")


def command(contestant, place, port, upstream, brokers, collector=None):
    """The command line of a contestant that listens on `port`, and sends spans to a collector's port."""
    if contestant.program == "nginx":
        return nginx_proxy(place, port, upstream)
    if contestant.program == "envoy":
        return envoy_proxy(contestant, place, port, upstream, collector)
    return weir_proxy(contestant, place, port, upstream, brokers)


def nginx_proxy(place, port, upstream):
    return nginx_command(place, "nginx", f"""
        keepalive_requests 1000000000;
        upstream api {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
        server {{
            listen 127.0.0.1:{port} reuseport;
            location / {{
                proxy_pass http://api;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
            }}
        }}""")


def nginx_command(place, name, http, connections=4096):
    # Started by root, workers would change to a user who cannot write in a temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    scratch = " ".join(
        f"{kind}_temp_path {place.folder}/{name}-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = place.write(f"{name}.conf", f"""
    {user}
    daemon off;
    worker_processes 1;
    pid {place.folder}/{name}.pid;
    error_log stderr warn;
    events {{ worker_connections {connections}; }}
    http {{
        access_log off;
        {scratch}
        {http}
    }}
    """)
    return ["nginx", "-p", place.folder, "-c", config]


def envoy_proxy(contestant, place, port, upstream, collector):
    filters = [envoy_wasm_filter(name, place) for name in plugin_names(contestant)]
    filters.append({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    })
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "race",
        "generate_request_id": False,
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "api"}}],
        }]},
    }
    config = {"static_resources": {
        "listeners": [{
            "name": "race", "address": address(port),
            "filter_chains": [{"filters": [
                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
            ]}],
        }],
        "clusters": [envoy_cluster("api", upstream)],
    }}
    if collector:
        # Its tracer gives no span to a request without an id.
        manager["generate_request_id"] = True
        manager["tracing"] = {"random_sampling": {"value": 100}, "provider": {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": "envoy", "grpc_service": {"envoy_grpc": {"cluster_name": "collector"}, "timeout": "5s"},
            },
        }}
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        config["static_resources"]["clusters"].append({
            **envoy_cluster("collector", collector),
            "typed_extension_protocol_options": {options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }},
        })
    path = place.write(f"{contestant.name}.json", json.dumps(config, indent=2))
    return [place.envoy, "-c", path, "--concurrency", 1, "--disable-hot-restart", "--log-level", "warning"]


def envoy_cluster(name, port):
    return {
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(port)}}]},
        ]},
    }


def collector_command(contestant, place, port, brokers):
    """OpenTelemetry's collector between a contestant and its topic; it loses nothing where Kafka is slower."""
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "processors": {"batch": {"send_batch_size": 512, "send_batch_max_size": 512}},
        "exporters": {"kafka": {
            "brokers": [brokers], "traces": {"topic": contestant.name, "encoding": "otlp_proto"},
            "producer": {"required_acks": -1}, "sending_queue": {"block_on_overflow": True},
        }},
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["kafka"]}},
        },
    }
    path = place.write(f"{contestant.name}-collector.yaml", json.dumps(config, indent=2))
    return ["env", "GOMAXPROCS=1", place.collector, "--config", path]


def envoy_wasm_filter(name, place):
    return {
        "name": name,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": name,
                "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": f"x-{name}"},
                # An id of its own is a sandbox of its own, as every plugin of Weir has.
                "vm_config": {
                    "vm_id": name, "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": str(place.guests / "bench-header-proxy-wasm.wasm")}},
                },
            },
        },
    }


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def weir_proxy(contestant, place, port, upstream, brokers):
    return weir_command(contestant.name, place, weir_config(contestant, place, port, upstream, brokers))


def weir_command(name, place, config):
    path = place.write(f"{name}.yaml", json.dumps(config, indent=2))
    return [place.weir, "run", "--config", path]


def weir_config(contestant, place, port, upstream, brokers):
    names = plugin_names(contestant)
    config = {
        "workers": 1,
        "listeners": [{"address": f"127.0.0.1:{port}"}],
        "admin": {"address": f"127.0.0.1:{free_port()}"},
        "upstreams": {"api": {"endpoints": [f"http://127.0.0.1:{upstream}"]}},
        "plugins": {
            name: {
                "module": str(place.guests / "bench-header.wasm"),
                "config": {
                    "request": {"read": "user-agent", "set": f"x-{name}"},
                    "response": {"read": "content-type", "set": f"x-{name}"},
                },
            }
            for name in names
        },
        "routes": [{"match": {"path": "/*"}, "upstream": "api", "plugins": names}],
    }
    if contestant.format:
        if contestant.spool:
            config["data_dir"] = f"{contestant.name}-data"
        config["exporters"] = {"traces": {"kafka": {
            "brokers": [brokers], "topic": contestant.name, "format": contestant.format,
        }}}
    if contestant.store:
        config["store"] = {}
    return config


def tail_command(contestant, place):
    """Follows all traces live, as the console's page does."""
    config = json.loads((place.folder / f"{contestant.name}.yaml").read_text())
    tail = f"http://{config['admin']['address']}/api/traces/tail"
    return ["curl", "--silent", "--no-buffer", "--output", tail_file(contestant, place), tail]


def tail_file(contestant, place):
    """What came live."""
    return place.folder / f"{contestant.name}.tail"
