"""What the document of the admin API cannot say: names, ids and digests of the Weir that is asked.

Loaded by schemathesis. Some calls that could mean something that is there are made to mean it, so that
answers are checked and not refusals alone; the others stay as they were generated. Which statuses each
operation was answered with is left in WEIR_ANSWERED.
"""

import atexit
import itertools
import json
import os
from collections import defaultdict

import requests
import schemathesis

ADMIN, PROXY = os.environ["WEIR_ADMIN"], os.environ["WEIR_PROXY"]
KNOWN = json.loads(os.environ["WEIR_KNOWN"])
TURNS = defaultdict(itertools.count)
# Of how many calls one is made so: of some fewer, for they reload, connect to Kafka, or wait for a trace.
OF = defaultdict(lambda: 2, Save=8, TestExporter=8, Tail=16)
ANSWERED = defaultdict(set)


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    real = next(TURNS[operation]) % OF[operation] == 0
    if real:
        make_real(operation, case)
    if operation == "Tail":
        kwargs["hooks"] = {"response": begin_and_event if real else begin_only}


@schemathesis.hook
def after_call(context, case, response):
    ANSWERED[case.operation.definition.raw["operationId"]].add(response.status_code)


@atexit.register
def tell():
    with open(os.environ["WEIR_ANSWERED"], "w") as file:
        json.dump({operation: sorted(statuses) for operation, statuses in ANSWERED.items()}, file)


def make_real(operation, case):
    if operation in ("Trace", "Message"):
        case.path_parameters = {"id": KNOWN["trace"]}
        case.query = {"exporter": KNOWN["exporter"]} if operation == "Message" else {}
    elif operation == "PluginLogs":
        case.path_parameters = {"name": KNOWN["plugin"]}
    elif operation == "TestRoute":
        case.query = {"url": "http://any.test/hello", "header": ["x-tenant: acme"]}
    elif operation == "Tail":
        case.query = {}
    elif operation == "Form":
        case.query = {"at": ["plugins", KNOWN["plugin"]]}
    elif operation == "Send":
        json_body(case, {"url": "/sent", "headers": {"x-tenant": "acme"}})
    elif operation == "TestExporter":
        json_body(case, {"exporter": KNOWN["exporter"], "edits": []})
    elif operation in ("Preview", "Save"):
        digest = requests.get(f"{ADMIN}/api/configuration/form", timeout=60).json()["digest"]
        value = ["continue", "reject", "a fault"][next(TURNS["values"]) % 3]
        edit = {"path": ["plugins", KNOWN["plugin"], "on_error"], "value": value}
        json_body(case, {"digest": digest, "edits": [edit]})


def json_body(case, body):
    case.body, case.media_type = body, "application/json"


def begin_only(response, **_):
    """A tail does not end: how it begins is all that is read."""
    read_pieces(response, 1)


def begin_and_event(response, **_):
    """Of a tail that follows all, an event too."""
    read_pieces(response, 2)


def read_pieces(response, count):
    if response.headers["content-type"] != "text/event-stream":
        return
    pieces = []
    for number in range(count):
        if number > 0:
            # It is refused, which is a trace as well.
            requests.get(f"{PROXY}/followed", timeout=60)
        pieces.append(response.raw.read1(65536))
    rest = iter([*pieces, b""])
    response.raw.read1 = lambda *_, **__: next(rest)
