#!/usr/bin/env python3
"""Writes proxy/src/otlp/tests/conduktor.json: requests, and what Conduktor's connector writes of them.

    mvn -q -B -f tests/services/conduktor/pom.xml dependency:copy-dependencies -DoutputDirectory=JARS
    target/services/otlp/bin/python tests/services/conduktor/requests.py JARS

The requests have every field of OTLP 1.0, which the connector was built with, set and not.
"""

import base64
import json
import subprocess
import sys
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent.parent.parent / "proxy/src/otlp/tests/conduktor.json"

TRACE, SPAN, PARENT = bytes(range(0xF0, 0x100)), bytes(range(0xA8, 0xB0)), bytes(8)
START, END = 1609459200000000000, 2**64 - 1
TEXT = "<a href='x'>&=\"\\/</a> \u0001\u007f\u2028 größer 😀"


def values():
    """A value of each kind, of several where they are printed in several ways."""
    numbers = (0.0, -0.0, 1.5, 1e300, 5e-324, 1e21, 0.1, float("nan"), float("inf"), float("-inf"))
    return [
        AnyValue(), AnyValue(string_value=""), AnyValue(string_value=TEXT),
        AnyValue(bool_value=False), AnyValue(bool_value=True),
        *(AnyValue(int_value=each) for each in (0, -1, 2**53 + 1, 2**63 - 1, -(2**63))),
        *(AnyValue(double_value=each) for each in numbers),
        AnyValue(bytes_value=b""), AnyValue(bytes_value=bytes(range(250, 256)) + b"?>?"),
        AnyValue(array_value={}), AnyValue(array_value={"values": [AnyValue(), AnyValue(int_value=1)]}),
        AnyValue(kvlist_value={}), AnyValue(kvlist_value={"values": [{"key": "in", "value": AnyValue(bool_value=True)},
                                                                     {"key": ""}]}),
    ]


ATTRIBUTES = [{"key": f"k{number}", "value": value} for number, value in enumerate(values())]
FEW = ATTRIBUTES[6:7]
RESOURCE = {"attributes": ATTRIBUTES, "dropped_attributes_count": 2**32 - 1}
SCOPE = {"name": "scope", "version": "1.2", "attributes": FEW, "dropped_attributes_count": 1}
OF = {"resource": RESOURCE, "schema_url": "https://opentelemetry.io/schemas/1.21.0"}
IN = {"scope": SCOPE, "schema_url": "https://opentelemetry.io/schemas/1.21.0"}


def traces():
    span = {
        "trace_id": TRACE, "span_id": SPAN, "parent_span_id": PARENT, "trace_state": "a=1,b=2", "name": TEXT,
        "start_time_unix_nano": START, "end_time_unix_nano": END, "attributes": FEW, "dropped_attributes_count": 1,
        "events": [{"time_unix_nano": START, "name": "event", "attributes": FEW, "dropped_attributes_count": 2}, {}],
        "dropped_events_count": 3,
        "links": [{"trace_id": TRACE, "span_id": SPAN, "trace_state": "c=3", "attributes": FEW,
                   "dropped_attributes_count": 4}, {}],
        "dropped_links_count": 5,
    }
    kinds = [{"kind": kind, "status": {"code": code, "message": "said"}} for kind, code in zip(range(6), [0, 1, 2] * 2)]
    spans = [span, {}, {"kind": 99, "status": {"code": 77}}, {"status": {}}, *kinds]
    return ExportTraceServiceRequest(resource_spans=[
        {**OF, "scope_spans": [{**IN, "spans": spans}, {}]}, {"resource": {}, "scope_spans": [{"scope": {}}]}, {},
    ])


def metrics():
    exemplars = [{"filtered_attributes": FEW, "time_unix_nano": START, "as_double": 1.5, "span_id": SPAN, "trace_id": TRACE},
                 {"as_int": -7}, {}]
    point = {"attributes": FEW, "start_time_unix_nano": START, "time_unix_nano": END, "flags": 1}
    number = [{**point, "as_double": 2.5, "exemplars": exemplars}, {"as_int": 2**53 + 1}, {"as_int": 0}, {"as_double": 0.0}, {}]
    histogram = [
        {**point, "count": 2**63, "sum": 0.0, "bucket_counts": [0, 2**40], "explicit_bounds": [0.0, 1e9], "min": 0.0,
         "max": -0.5, "exemplars": exemplars},
        {},
    ]
    exponential = [
        {**point, "count": 3, "sum": 1.0, "scale": -3, "zero_count": 2**33, "zero_threshold": 0.25, "min": 1.0, "max": 2.0,
         "positive": {"offset": -9, "bucket_counts": [1, 2**34]}, "negative": {}, "exemplars": exemplars},
        {},
    ]
    summary = [{**point, "count": 1, "sum": 9.0, "quantile_values": [{"quantile": 0.99, "value": 1.0}, {}]}, {}]
    of = {"name": "metric", "description": TEXT, "unit": "By"}
    kinds = [
        {"gauge": {"data_points": number}}, {"gauge": {}},
        {"sum": {"data_points": number, "aggregation_temporality": 2, "is_monotonic": True}}, {"sum": {}},
        {"histogram": {"data_points": histogram, "aggregation_temporality": 1}}, {"histogram": {}},
        {"exponential_histogram": {"data_points": exponential, "aggregation_temporality": 55}}, {"exponential_histogram": {}},
        {"summary": {"data_points": summary}}, {"summary": {}}, {},
    ]
    return ExportMetricsServiceRequest(resource_metrics=[
        {**OF, "scope_metrics": [{**IN, "metrics": [{**of, **kind} for kind in kinds] + [{}]}, {}]}, {},
    ])


def logs():
    record = {
        "time_unix_nano": START, "observed_time_unix_nano": END, "severity_number": 9, "severity_text": "INFO",
        "attributes": FEW, "dropped_attributes_count": 1, "flags": 2**31, "trace_id": TRACE, "span_id": SPAN,
    }
    records = [*({**record, "body": body} for body in values()), {}, {"severity_number": 24}, {"severity_number": 66}]
    return ExportLogsServiceRequest(resource_logs=[
        {**OF, "scope_logs": [{**IN, "log_records": records}, {}]}, {},
    ])


def main():
    requests = [("traces", traces()), ("metrics", metrics()), ("logs", logs()),
                *((signal, each()) for signal, each in zip(("traces", "metrics", "logs"), (
                    ExportTraceServiceRequest, ExportMetricsServiceRequest, ExportLogsServiceRequest)))]
    requests = [(signal, base64.b64encode(request.SerializeToString()).decode()) for signal, request in requests]
    lines = "".join(f"{signal} {request}\n" for signal, request in requests)
    done = subprocess.run(["java", "-cp", f"{sys.argv[1]}/*", HERE / "Print.java"], input=lines, text=True, check=True,
                          stdout=subprocess.PIPE, encoding="utf-8")
    golden = [{"signal": signal, "request": request, "written": json.loads(written)}
              for (signal, request), written in zip(requests, done.stdout.splitlines(), strict=True)]
    GOLDEN.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
