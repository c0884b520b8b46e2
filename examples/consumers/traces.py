#!/usr/bin/env python3
"""Prints the traces of a topic as trees. Needs `pip install confluent-kafka`.

    traces.py [--brokers localhost:9092] [--topic weir-traces] [--count N]

It reads from the topic's beginning; without --count it waits for more. A large trace comes in several
messages, and is printed once all of them are there.
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
    root = trace["RootSpan"]["SpanID"]
    # The root's parent, if it has one, is the caller's: it is not in this trace.
    others = [span for span in trace["Spans"] if span["SpanID"] != root]
    known = {root} | {span["SpanID"] for span in others}
    children = {}
    for span in others:
        # A parent may be missing where a part of a large trace is.
        parent = span["ParentID"] if span["ParentID"] in known else root
        children.setdefault(parent, []).append(span)
    # A trace's hooks form one chain, which may be deep: no recursion.
    stack = [(1, trace["RootSpan"])]
    while stack:
        depth, span = stack.pop()
        print("  " * depth + line(span), flush=True)
        below = children.get(span["SpanID"], [])
        stack.extend((depth + 1, child) for child in reversed(below))


class Whole:
    """Joins the messages of large traces: their header `weir-part` says `2/5`."""

    # Traces that wait for parts. Where there are more, the oldest is given as far as it is known: that
    # others never come may be, as where the topic has lost its beginning.
    WAITING = 1000

    def __init__(self):
        self.waiting = {}

    def add(self, message):
        """The traces that are to be shown now."""
        trace = json.loads(message.value())
        part = dict(message.headers() or []).get("weir-part")
        if part is None:
            return [trace]
        number, count = map(int, part.decode().split("/"))
        # Several requests may have one trace id, and what was split anew has other parts.
        key = (trace["TraceID"], trace["RootSpan"]["SpanID"], count)
        # A part that comes twice counts once.
        parts = self.waiting.setdefault(key, {})
        parts[number] = trace
        if len(parts) == count:
            return [joined(self.waiting.pop(key))]
        if len(self.waiting) > self.WAITING:
            return [joined(self.waiting.pop(next(iter(self.waiting))))]
        return []


def joined(parts):
    """The first part has what is said once a trace; of the others there are the spans alone."""
    parts = [parts[number] for number in sorted(parts)]
    return {**parts[0], "Spans": [span for part in parts for span in part["Spans"]]}


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
    whole = Whole()
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
            for trace in whole.add(message):
                show(trace)
                seen += 1
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
