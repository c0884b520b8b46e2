#!/usr/bin/env python3
"""Writes the descriptors of OTLP's three services, as grpcurl takes them: `protoset.py FILE`."""

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

files = {}


def add(file):
    """What a file needs comes before it."""
    if file.name not in files:
        for needed in file.dependencies:
            add(needed)
        files[file.name] = file


for service in (trace_service_pb2, metrics_service_pb2, logs_service_pb2):
    add(service.DESCRIPTOR)
everything = FileDescriptorSet()
for file in files.values():
    file.CopyToProto(everything.file.add())
Path(sys.argv[1]).write_bytes(everything.SerializeToString())
