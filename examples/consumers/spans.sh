#!/bin/sh
# Prints the spans of a topic that Weir's OTLP receiver writes as `otlp_json`, one a line, with kcat
# and jq.
#
#   spans.sh [BROKERS] [TOPIC] [KCAT OPTIONS…]
#
# It reads from the topic's beginning and waits for more; `-e` ends it at the topic's end,
# `-c 5` after five messages.
set -eu

brokers=${1:-localhost:9092}
topic=${2:-otlp-traces}
[ $# -gt 2 ] && shift 2 || set --

kcat -C -q -u -b "$brokers" -t "$topic" -o beginning -f '%s\n' "$@" | jq --unbuffered -r '
  # 64-bit integers are texts, and longer than what a number of jq has.
  def milliseconds:
    ((.endTimeUnixNano[:-9] | tonumber) - (.startTimeUnixNano[:-9] | tonumber)) * 1000000
      + ((.endTimeUnixNano[-9:] | tonumber) - (.startTimeUnixNano[-9:] | tonumber)) / 1000
    | round / 1000;

  .resourceSpans[]
  | ([(.resource.attributes // [])[] | select(.key == "service.name") | .value.stringValue][0] // "-") as $service
  | .scopeSpans[].spans[]
  | "\($service)  \(.name)  \(milliseconds) ms"
    + if .status.code == 2 then "  error: \(.status.message // "")" else "" end
'
