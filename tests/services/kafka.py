#!/usr/bin/env python3
"""A real Kafka broker for tests and the race: one KRaft node, in the foreground.

    kafka.py fetch                  get the jars from Maven Central, once
    kafka.py run --dir DIR          serve until SIGTERM (or, with --stop-on-eof, until stdin closes)

`run` prints one line of JSON when the broker serves, and nothing else on stdout:

    {"pid": 4711, "bootstrap": {"PLAINTEXT": "127.0.0.1:40001", "SASL_SSL": "localhost:40002"},
     "ca": "DIR/tls/ca.pem", "client_cert": "DIR/tls/client.pem", "client_key": "DIR/tls/client.key"}

`pid` is the broker's own, for tests that pause or kill it. Started again on the same DIR and ports,
it has the topics it had. Its log is DIR/kafka.log. It does not create topics: clients do.
"""

import argparse
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent.parent / "target") / "services" / "kafka"
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"

# A listener's name -> its security protocol. PLAINTEXT is always there: the broker talks to itself on it.
LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "LINKED": "PLAINTEXT",  # for clients that come by another address: see --advertise
    "SSL": "SSL",
    "MTLS": "SSL",
    "SASL_PLAINTEXT": "SASL_PLAINTEXT",
    "SASL_SSL": "SASL_SSL",
}


def main():
    args = arguments()
    if args.command == "fetch":
        fetch()
    else:
        sys.exit(run(args))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="get the jars, once")
    serve = commands.add_parser("run", help="serve in the foreground")
    serve.add_argument("--dir", required=True, type=Path, help="folder of its data, keys and log; made if missing")
    serve.add_argument("--port", type=int, default=0, help="of PLAINTEXT; 0, the default, takes a free one")
    serve.add_argument("--listener", action="append", default=[], metavar="NAME[:PORT]",
                       help="a further listener: LINKED, SSL, MTLS (client certificate required), SASL_PLAINTEXT, SASL_SSL")
    serve.add_argument("--advertise", action="append", default=[], metavar="NAME=HOST:PORT",
                       help="where clients find a listener, where that is not its own address")
    serve.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD",
                       help="a user of the SASL listeners, by PLAIN and by SCRAM (default weir:weir-secret)")
    serve.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any property of the broker")
    serve.add_argument("--heap", default="768m", help="most memory of the JVM's heap (default %(default)s)")
    serve.add_argument("--stop-on-eof", action="store_true", help="stop when stdin closes, so when the starter ends")
    return parser.parse_args()


def fetch():
    """Puts the jars into CACHE; where another process does so already, waits for it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    pom = HERE / "kafka.pom.xml"
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fetched_by = CACHE / "fetched-by.pom.xml"
        if fetched_by.exists() and fetched_by.read_bytes() == pom.read_bytes():
            return
        if not shutil.which("mvn"):
            sys.exit("kafka.py: Maven (mvn) is missing; `make services` installs it")
        print("fetching Kafka from Maven Central", file=sys.stderr)
        shutil.rmtree(CACHE / "jars", ignore_errors=True)
        subprocess.run(
            ["mvn", "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={CACHE / 'jars'}"],
            check=True, stdout=sys.stderr,
        )
        shutil.copy(pom, fetched_by)


def run(args):
    fetch()
    java = java_command()
    args.dir = args.dir.resolve()
    args.dir.mkdir(parents=True, exist_ok=True)
    listeners = {"PLAINTEXT": args.port}
    for given in args.listener:
        name, _, port = given.partition(":")
        if name not in LISTENERS:
            sys.exit(f"kafka.py: no listener {name}; there are {', '.join(LISTENERS)}")
        listeners[name] = int(port or 0)
    if any("SSL" in LISTENERS[name] for name in listeners):
        make_certificates(args.dir / "tls")

    *ports, controller = free_ports([*listeners.values(), 0])
    listeners = dict(zip(listeners, ports))
    users = dict(user.split(":", 1) for user in args.user or ["weir:weir-secret"])
    properties = args.dir / "server.properties"
    advertised = dict(pair.split("=", 1) for pair in args.advertise)
    settings = server_properties(args.dir, listeners, advertised, controller, users)
    settings.update(pair.split("=", 1) for pair in args.set)
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    with open(args.dir / "kafka.log", "ab") as log:
        if not (args.dir / "data" / "meta.properties").exists():
            scram = [
                f"--add-scram={mechanism}=[name={name},password={password}]"
                for name, password in users.items()
                for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            ]
            subprocess.run(
                [*java, "-Xmx128m", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties, *scram],
                check=True, stdout=log, stderr=log, cwd=args.dir,
            )
        return serve(args, java, properties, listeners, log)


def java_command():
    home = os.environ.get("JAVA_HOME")
    java = Path(home, "bin", "java") if home else shutil.which("java")
    if not java:
        sys.exit("kafka.py: Java 17 or newer is missing; `make services` installs it")
    return [
        str(java), "-cp", f"{CACHE / 'jars'}/*", "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    ]


def free_ports(wanted):
    """Each wanted port, a free one where it is 0."""
    held = [socket.socket() for _ in wanted]
    for held_socket, port in zip(held, wanted):
        held_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held_socket.bind(("127.0.0.1", port))
    ports = [held_socket.getsockname()[1] for held_socket in held]
    for held_socket in held:
        held_socket.close()
    return ports


def host(name):
    # The certificate holds both; clients of TLS listeners may be asked to check a name.
    return "localhost" if "SSL" in LISTENERS[name] else "127.0.0.1"


def server_properties(folder, listeners, advertised, controller, users):
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listeners": ",".join(
            [f"{name}://127.0.0.1:{port}" for name, port in listeners.items()]
            + [f"CONTROLLER://127.0.0.1:{controller}"]
        ),
        "advertised.listeners": ",".join(
            f"{name}://{advertised.get(name) or f'{host(name)}:{port}'}" for name, port in listeners.items()
        ),
        "listener.security.protocol.map": ",".join(
            [f"{name}:{protocol}" for name, protocol in LISTENERS.items()] + ["CONTROLLER:PLAINTEXT"]
        ),
        "log.dirs": folder / "data",
        "auto.create.topics.enable": "false",
        "num.partitions": 1,
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    for name in listeners:
        prefix = f"listener.name.{name.lower()}"
        if "SSL" in LISTENERS[name]:
            settings |= {
                f"{prefix}.ssl.keystore.type": "PEM",
                f"{prefix}.ssl.keystore.location": folder / "tls" / "server.pem",
                f"{prefix}.ssl.truststore.type": "PEM",
                f"{prefix}.ssl.truststore.location": folder / "tls" / "ca.pem",
                f"{prefix}.ssl.client.auth": "required" if name == "MTLS" else "none",
            }
        if "SASL" in LISTENERS[name]:
            known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
            login = "org.apache.kafka.common.security"
            settings |= {
                f"{prefix}.sasl.enabled.mechanisms": MECHANISMS,
                f"{prefix}.plain.sasl.jaas.config": f"{login}.plain.PlainLoginModule required {known};",
                f"{prefix}.scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
                f"{prefix}.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
            }
    return settings


def make_certificates(folder):
    """A private CA, a certificate of `localhost`, and one of a client."""
    if (folder / "client.pem").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"]
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Weir test CA")
    for name, subject, names in (
        ("server", "localhost", "DNS:localhost,IP:127.0.0.1"),
        ("client", "weir-client", "DNS:weir-client"),
    ):
        openssl("req", "-x509", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={subject}",
                "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName={names}",
                "-addext", "basicConstraints=critical,CA:FALSE")
    server = folder / "server.pem"
    server.write_text((folder / "server.key").read_text() + server.read_text())


def serve(args, java, properties, listeners, log):
    die_with_parent = ctypes.CDLL(None).prctl
    broker = subprocess.Popen(
        [*java, f"-Xmx{args.heap}", "kafka.Kafka", properties],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=args.dir,
        start_new_session=True,  # Ctrl-C is for this script, which then ends the broker
        preexec_fn=lambda: die_with_parent(1, signal.SIGKILL),  # PR_SET_PDEATHSIG
    )

    def stop(*_):
        broker.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if args.stop_on_eof:
        threading.Thread(target=stop_on_eof, args=[stop], daemon=True).start()

    for line in broker.stdout:
        log.write(line)
        log.flush()
        if b"Kafka Server started" in line:
            print(json.dumps(description(args.dir, broker.pid, listeners)), flush=True)
    code = broker.wait()
    stopped = code in (0, 128 + signal.SIGTERM)
    if not stopped:
        print(f"kafka.py: the broker ended ({code}); its log is {args.dir / 'kafka.log'}", file=sys.stderr)
    return 0 if stopped else 1


def stop_on_eof(stop):
    while os.read(0, 4096):
        pass
    stop()


def description(folder, pid, listeners):
    tls = folder / "tls"
    secured = {
        "ca": str(tls / "ca.pem"),
        "client_cert": str(tls / "client.pem"),
        "client_key": str(tls / "client.key"),
    }
    return {
        "pid": pid,
        "bootstrap": {name: f"{host(name)}:{port}" for name, port in listeners.items()},
        **(secured if tls.exists() else {}),
    }


if __name__ == "__main__":
    main()
