#!/usr/bin/env python3
"""Writes OTLP requests as the JSON that many writers make of them.

Reads lines of JSON: {"signal": "traces", "protobuf": BASE64}. Prints a line for each:
{"signal": "traces", "json": TEXT, "protobuf": BASE64}, where the text says the same in one of the ways
that readers have to know, and the bytes have no unknown fields.
"""

import base64
import json
import sys

from google.protobuf import json_format

from compare_json import REQUESTS, hexadecimal

# 64-bit integers, which are texts in protobuf's JSON.
INTEGERS = {
    "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "observedTimeUnixNano", "intValue", "asInt", "count",
    "zeroCount", "bucketCounts",
}


def plain(message):
    return json_format.MessageToDict(message, use_integers_for_enums=True)


def with_names(message):
    """Enums by their names, and integers as numbers."""
    return numbers(json_format.MessageToDict(message))


def with_defaults(message):
    return json_format.MessageToDict(message, use_integers_for_enums=True, always_print_fields_with_no_presence=True)


def of_the_future(message):
    return strangers(plain(message))


def numbers(value, key=None):
    if isinstance(value, list):
        return [numbers(item, key) for item in value]
    if isinstance(value, dict):
        return {name: numbers(item, name) for name, item in value.items()}
    return int(value) if key in INTEGERS and isinstance(value, str) else value


def strangers(value):
    """Names that nobody knows yet, in every object, and null where something might be."""
    if isinstance(value, list):
        return [strangers(item) for item in value]
    if isinstance(value, dict):
        return {"new": {"deep": [1, None, {"er": "\u2713"}]}, **{name: strangers(item) for name, item in value.items()},
                "newer": None, "schemaUrl": value.get("schemaUrl")}
    return value


WAYS = [(plain, None), (with_names, 1), (with_defaults, None), (of_the_future, 2)]


def main():
    for number, line in enumerate(sys.stdin):
        case = json.loads(line)
        message = REQUESTS[case["signal"]].FromString(base64.b64decode(case["protobuf"]))
        message.DiscardUnknownFields()
        way, indent = WAYS[number % len(WAYS)]
        text = json.dumps(hexadecimal(way(message)), indent=indent, ensure_ascii=number % 3 == 0)
        written = {"signal": case["signal"], "json": text, "way": way.__name__,
                   "protobuf": base64.b64encode(message.SerializeToString()).decode()}
        print(json.dumps(written))


main()
