#!/usr/bin/env python3
"""An application with OpenTelemetry's SDK and its exporters: `sdk.py grpc|http ENDPOINT NoCompression|Gzip|Deflate`.

Sends a span, a counter and a log record, each named after the protocol; exits 1 where an export fails.
"""

import logging
import sys

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

protocol, endpoint, compression = sys.argv[1:]
if protocol == "grpc":
    from grpc import Compression
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    options = {"insecure": True, "compression": Compression[compression]}
    spans, points, records = (
        exporter(endpoint=endpoint, **options)
        for exporter in (OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter)
    )
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    options = {"compression": Compression[compression]}
    spans = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", **options)
    points = OTLPMetricExporter(endpoint=f"{endpoint}/v1/metrics", **options)
    records = OTLPLogExporter(endpoint=f"{endpoint}/v1/logs", **options)

failures = []


class Failures(logging.Handler):
    def emit(self, record):
        failures.append(record.getMessage())


logging.getLogger("opentelemetry").addHandler(Failures(level=logging.WARNING))

resource = Resource.create({"service.name": f"python-{protocol}"})
tracing = TracerProvider(resource=resource)
tracing.add_span_processor(BatchSpanProcessor(spans))
trace.set_tracer_provider(tracing)
metering = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(points)])
metrics.set_meter_provider(metering)
logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(records))
set_logger_provider(logs)

with trace.get_tracer(__name__).start_as_current_span(f"span-{protocol}"):
    metrics.get_meter(__name__).create_counter(f"counter-{protocol}").add(1, {"kind": "test"})
    logger = logging.getLogger("app")
    logger.addHandler(LoggingHandler(logger_provider=logs))
    logger.warning(f"record-{protocol}")

for provider in (tracing, metering, logs):
    provider.shutdown()
if failures:
    sys.exit("\n".join(failures))
