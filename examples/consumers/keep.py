#!/usr/bin/env python3
"""Copies the spans that matter from a topic of OTLP/JSON to another, for a sink that is paid by volume.
Needs `pip install confluent-kafka`.

    keep.py [--brokers localhost:9092] [--from otlp-traces] [--to otlp-traces-kept]
            [--slower-than 500] [--group keep] [--count N]

Spans that failed are kept, and those that took longer. What is written is OTLP/JSON again, so whatever
reads the one topic reads the other. Without --count it waits for more; with it, it ends after so many
messages. Offsets are committed once what was kept is acknowledged: nothing is lost by a restart. The
topic of --to must exist.
"""

import argparse
import json

from confluent_kafka import Consumer, KafkaException, Producer

FAILED = 2  # STATUS_CODE_ERROR


def matters(span, slower_than):
    nanoseconds = int(span.get("endTimeUnixNano", 0)) - int(span.get("startTimeUnixNano", 0))
    return span.get("status", {}).get("code") == FAILED or nanoseconds > slower_than * 1_000_000


def keep(request, slower_than):
    """The request with nothing but what matters, and how many spans there were and are."""
    seen = kept = 0
    for resource in request["resourceSpans"]:
        for scope in resource.get("scopeSpans", []):
            spans = scope.get("spans", [])
            scope["spans"] = [span for span in spans if matters(span, slower_than)]
            seen += len(spans)
            kept += len(scope["spans"])
        resource["scopeSpans"] = [scope for scope in resource.get("scopeSpans", []) if scope["spans"]]
    request["resourceSpans"] = [resource for resource in request["resourceSpans"] if resource["scopeSpans"]]
    return seen, kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--from", dest="source", default="otlp-traces")
    parser.add_argument("--to", default="otlp-traces-kept")
    parser.add_argument("--slower-than", type=float, default=500, metavar="MILLISECONDS")
    parser.add_argument("--group", default="keep")
    parser.add_argument("--count", type=int, help="messages to read")
    args = parser.parse_args()
    consumer = Consumer({
        "bootstrap.servers": args.brokers, "group.id": args.group, "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    producer = Producer({"bootstrap.servers": args.brokers, "linger.ms": 20})
    consumer.subscribe([args.source])
    failures = []
    read = seen = kept = 0
    while args.count is None or read < args.count:
        messages = consumer.consume(100 if args.count is None else min(100, args.count - read), timeout=1)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
            request = json.loads(message.value())
            spans = keep(request, args.slower_than)
            read, seen, kept = read + 1, seen + spans[0], kept + spans[1]
            if spans[1]:
                value = json.dumps(request, separators=(",", ":"))
                producer.produce(args.to, value, message.key(), headers=message.headers(),
                                 on_delivery=lambda error, _: failures.append(error) if error else None)
        if producer.flush(30) or failures:
            raise SystemExit(f"not everything was written: {failures[:1]}")
        if messages:
            consumer.commit(asynchronous=False)
    consumer.close()
    print(f"{kept} of {seen} spans kept")


if __name__ == "__main__":
    main()
