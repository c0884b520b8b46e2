// A trace as a tree of spans, in the order of its rows.

import type { PluginLog, Span, Trace } from "../api";
import { nanoseconds } from "../format";

export interface Node {
  span: Span;
  /** Nanoseconds after the root's start. */
  start: number;
  end: number;
  depth: number;
  children: Node[];
  kind: string;
}

export function tree(trace: Trace): Node[] {
  const from = trace.RootSpan.StartTime;
  const nodes = trace.Spans.map(
    (span): Node => ({
      span,
      start: nanoseconds(span.StartTime, from),
      end: nanoseconds(span.EndTime, from),
      depth: 0,
      children: [],
      kind: kind(span.Kind),
    }),
  );
  const byId = new Map(nodes.map((node) => [node.span.SpanID, node]));
  const roots: Node[] = [];
  for (const node of nodes) {
    const parent = byId.get(node.span.ParentID);
    if (parent && parent !== node) parent.children.push(node);
    else roots.push(node);
  }
  for (const node of nodes) node.children.sort((a, b) => a.start - b.start);
  // Without recursion: a chain of ten thousand is deep.
  const pending = roots.map((node) => ({ node, depth: 0 }));
  while (pending.length > 0) {
    const { node, depth } = pending.pop()!;
    node.depth = depth;
    for (const child of node.children) pending.push({ node: child, depth: depth + 1 });
  }
  return roots;
}

/** The rows to show, without what is below a folded one. */
export function rows(roots: Node[], folded: ReadonlySet<string>): Node[] {
  const out: Node[] = [];
  const pending = [...roots].reverse();
  while (pending.length > 0) {
    const node = pending.pop()!;
    out.push(node);
    if (!folded.has(node.span.SpanID)) {
      for (let index = node.children.length - 1; index >= 0; index -= 1) pending.push(node.children[index]!);
    }
  }
  return out;
}

/** Time of a span in which nothing below it ran, however deep: a hook's span ends before what it led to begins. */
export function own(node: Node): number {
  const below = [...node.children];
  for (let index = 0; index < below.length; index += 1) {
    for (const child of below[index]!.children) below.push(child);
  }
  below.sort((a, b) => a.start - b.start);
  let covered = 0;
  let until = node.start;
  for (const span of below) {
    const start = Math.max(span.start, until);
    const end = Math.min(span.end, node.end);
    if (end > start) {
      covered += end - start;
      until = end;
    }
  }
  return node.end - node.start - covered;
}

function kind(kind: string): string {
  switch (kind) {
    case "http.request":
      return "request";
    case "http.client":
      return "client";
    case "llm.call":
      return "llm";
    case "retry":
      return "retry";
    default:
      return "plugin";
  }
}

/** Spans that say a text somewhere, in the order of their rows; of no text, those that failed. */
export function matching(nodes: Node[], text: string): Node[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return nodes.filter((node) => node.span.Status === "error");
  return nodes.filter(({ span }) => {
    const attributes = Object.entries(span.Attributes).map(([key, value]) => `${key}=${value}`);
    return [span.Name, span.StatusMsg, span.SpanID, ...attributes].some((said) => said.toLowerCase().includes(wanted));
  });
}

/** The plugin of a hook's span. */
export function plugin(span: Span): string | null {
  return span.Kind === "plugin" ? (span.Name.split(".")[1] ?? null) : null;
}

/** Lines that a hook's plugin wrote while it ran: times of lines are in whole milliseconds. */
export function logs(trace: Trace, span: Span): PluginLog[] {
  const name = plugin(span);
  const from = Math.floor(Date.parse(span.StartTime));
  const to = Math.ceil(Date.parse(span.EndTime)) + 1;
  return (trace.PluginLogs ?? []).filter(
    (line) => line.plugin_name === name && line.timestamp >= from - 1 && line.timestamp <= to,
  );
}
