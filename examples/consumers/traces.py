#!/usr/bin/env python3
"""Prints the traces of a topic as trees. Needs `pip install confluent-kafka`.

    traces.py [--brokers localhost:9092] [--topic weir-traces] [--count N]

It reads from the topic's beginning; without --count it waits for more.
"""

import argparse
import datetime
import json
import uuid

from confluent_kafka import Consumer, KafkaError


def nanoseconds(time):
    """Since the epoch, of `2026-11-22T05:30:00.123456789Z`; datetime alone has microseconds."""
    second, fraction = time.rstrip("Z").split(".")
    second = datetime.datetime.fromisoformat(second + "+00:00")
    return int(second.timestamp()) * 1_000_000_000 + int(fraction)


def line(span):
    text = f"{span['Name']}  {(nanoseconds(span['EndTime']) - nanoseconds(span['StartTime'])) / 1e6:.3f} ms"
    if span["Status"] == "error":
        return f"{text}  error: {span['StatusMsg']}"
    return f"{text}  {span['StatusMsg']}".rstrip()


def show(trace):
    print(f"trace {trace['TraceID']}  request {trace['RequestID']}")
    children = {}
    # The root's parent, if it has one, is the caller's: it is not in this trace.
    for span in trace["Spans"][1:]:
        children.setdefault(span["ParentID"], []).append(span)
    # A trace's hooks form one chain, which may be deep: no recursion.
    stack = [(1, trace["RootSpan"])]
    while stack:
        depth, span = stack.pop()
        print("  " * depth + line(span), flush=True)
        below = children.get(span["SpanID"], [])
        stack.extend((depth + 1, child) for child in reversed(below))


def main():
    parser = argparse.ArgumentParser(description="Prints the traces of a topic as trees.")
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--topic", default="weir-traces")
    parser.add_argument("--count", type=int, help="end after so many traces")
    arguments = parser.parse_args()

    consumer = Consumer({
        "bootstrap.servers": arguments.brokers,
        # A group of its own, so that every run sees all there is.
        "group.id": f"weir-example-{uuid.uuid4()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    consumer.subscribe([arguments.topic])
    seen = 0
    try:
        while arguments.count is None or seen < arguments.count:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                # A topic that is not there yet may come; the client asks again.
                if message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise SystemExit(message.error())
            show(json.loads(message.value()))
            seen += 1
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
