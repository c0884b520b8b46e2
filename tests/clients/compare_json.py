#!/usr/bin/env python3
"""Compares Weir's JSON of OTLP requests with what protobuf's own printer makes of them.

Reads lines of JSON: {"signal": "traces", "protobuf": BASE64, "snake": TEXT, "otlp": TEXT}.
Exits 1, with the difference, where one is not what it should be; prints how many there were.
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

REQUESTS = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
IDS = {"traceId", "spanId", "parentSpanId"}


def hexadecimal(value):
    """OTLP/JSON differs from protobuf's in the ids."""
    if isinstance(value, list):
        return [hexadecimal(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base64.b64decode(item).hex() if key in IDS else hexadecimal(item)
            for key, item in value.items()
        }
    return value


# What came after OTLP 1.0, whose tables Conduktor's connector has: in snake case it is there only where it is set.
NEWER = {
    "opentelemetry.proto.trace.v1.Span.flags",
    "opentelemetry.proto.trace.v1.Span.Link.flags",
    "opentelemetry.proto.metrics.v1.Metric.metadata",
    "opentelemetry.proto.logs.v1.LogRecord.event_name",
    "opentelemetry.proto.resource.v1.Resource.entity_refs",
    "opentelemetry.proto.common.v1.KeyValue.key_strindex",
}


def without_newer(descriptor, value):
    """A message as it would be without newer fields that have their defaults."""
    if isinstance(value, list):
        return [without_newer(descriptor, item) for item in value]
    kept = {}
    for name, item in value.items():
        field = descriptor.fields_by_name[name]
        if field.full_name in NEWER and item in (0, "", []):
            continue
        kept[name] = without_newer(field.message_type, item) if field.message_type else item
    return kept


def compare(what, actual, expected):
    # NaN is a text in both.
    if actual != expected:
        print(f"{what}:\n{json.dumps(actual, indent=1)}\n\nexpected:\n{json.dumps(expected, indent=1)}")
        sys.exit(1)


def main():
    count = 0
    for line in sys.stdin:
        case = json.loads(line)
        message = REQUESTS[case["signal"]].FromString(base64.b64decode(case["protobuf"]))
        snake = json_format.MessageToJson(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        snake = without_newer(message.DESCRIPTOR, json.loads(snake))
        compare("snake case", json.loads(case["snake"]), snake)
        camel = json_format.MessageToDict(message, use_integers_for_enums=True)
        compare("OTLP/JSON", json.loads(case["otlp"]), hexadecimal(json.loads(json.dumps(camel))))
        count += 1
    print(count)


if __name__ == "__main__":
    main()
