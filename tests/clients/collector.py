#!/usr/bin/env python3
"""A collector by grpcio: `collector.py PORT`. Prints `listening PORT`, and then for each request of
traces its metadata and spans as a line of JSON. Ends when its standard input does."""

import json
import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as stubs


class Traces(stubs.TraceServiceServicer):
    def Export(self, request, context):
        spans = [
            {
                "name": span.name,
                "trace_id": span.trace_id.hex(),
                "attributes": {of.key: of.value.string_value for of in span.attributes},
            }
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        line = {"metadata": dict(context.invocation_metadata()), "spans": spans}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        return service.ExportTraceServiceResponse()


server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
stubs.add_TraceServiceServicer_to_server(Traces(), server)
port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
print("listening", port, flush=True)
sys.stdin.read()
server.stop(0)
