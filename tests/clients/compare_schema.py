#!/usr/bin/env python3
"""Compares Weir's tables of OTLP with the descriptors of opentelemetry-proto.

Reads {"traces": 0, ..., "messages": [[FIELD, ...], ...]}: the number of each request's message, and of each message
its fields as [number, name, camel, kind, label, names or message or null]. Exits 1, with the difference, where
one is not as it should be; prints how many messages there were.
"""

import json
import sys

from google.protobuf.descriptor import FieldDescriptor

from compare_json import REQUESTS

KINDS = {getattr(FieldDescriptor, name): name[5:].lower() for name in dir(FieldDescriptor) if name.startswith("TYPE_")}


def label(field):
    if field.is_repeated:
        return "repeated"
    if field.containing_oneof and not field.containing_oneof.name.startswith("_"):
        return "oneof"
    return "optional" if field.has_presence else "plain"


def names(field):
    """Of an enum, which counts from zero."""
    values = sorted(field.enum_type.values, key=lambda value: value.number)
    assert [value.number for value in values] == list(range(len(values))), field.full_name
    return [value.name for value in values]


def compare(descriptor, number, messages, seen):
    if number in seen:
        assert seen[number] is descriptor, f"{descriptor.full_name} and {seen[number].full_name} are one message"
        return
    seen[number] = descriptor
    others = {field[0]: field for field in messages[number]}
    for field in descriptor.fields:
        expected = [field.number, field.name, field.camelcase_name, KINDS[field.type], label(field)]
        actual = others.pop(field.number, None)
        if actual is None or actual[:5] != expected:
            sys.exit(f"{field.full_name}: {actual}, expected {expected}")
        if field.message_type:
            compare(field.message_type, actual[5], messages, seen)
        elif field.enum_type and actual[5] != names(field):
            sys.exit(f"{field.full_name}: {actual[5]}, expected {names(field)}")
    if others:
        sys.exit(f"{descriptor.full_name} has no {others}")


def main():
    tables = json.load(sys.stdin)
    seen = {}
    for signal, request in REQUESTS.items():
        compare(request.DESCRIPTOR, tables[signal], tables["messages"], seen)
    print(len(seen))


main()
