#!/bin/sh
# Prints the traces of a topic as trees, with kcat and jq.
#
#   traces.sh [BROKERS] [TOPIC] [KCAT OPTIONS…]
#
# It reads from the topic's beginning and waits for more; `-e` ends it at the topic's end,
# `-c 5` after five messages. A large trace comes in several messages, which it does not join: it prints
# the spans of each, the root with the first.
set -eu

brokers=${1:-localhost:9092}
topic=${2:-weir-traces}
[ $# -gt 2 ] && shift 2 || set --

kcat -C -q -u -b "$brokers" -t "$topic" -o beginning -f '%s\n' "$@" | jq --unbuffered -r '
  def seconds: .[:19] + "Z" | fromdate;
  def fraction: "0" + .[19:-1] | tonumber;
  def milliseconds:
    ((.EndTime | seconds) - (.StartTime | seconds)
      + (.EndTime | fraction) - (.StartTime | fraction)) * 1000000
    | round / 1000;
  def line($depth):
    "  " * $depth + .Name + "  \(milliseconds) ms"
    + if .Status == "error" then "  error: \(.StatusMsg)"
      elif .StatusMsg != "" then "  \(.StatusMsg)"
      else "" end;
  def tree($children; $depth):
    line($depth + 1), (($children[.SpanID] // [])[] | tree($children; $depth + 1));

  .RootSpan.SpanID as $root
  | (.Spans | map(.SpanID)) as $known
  | [.Spans[] | select(.SpanID != $root)
      | .ParentID as $parent
      | if $known | index($parent) then . else .ParentID = $root end] as $others
  | ($others | group_by(.ParentID) | map({key: .[0].ParentID, value: .}) | from_entries) as $children
  | (.Spans[0].SpanID == $root) as $is_first
  | "trace \(.TraceID)  request \(.RequestID)" + if $is_first then "" else "  a further part" end,
    if $is_first then .RootSpan | tree($children; 0) else ($children[$root] // [])[] | tree($children; 1) end
'
