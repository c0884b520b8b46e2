// What Weir's API says, and how it is asked.

export interface Summary {
  id: number;
  trace_id: string;
  request_id: string;
  start_us: number;
  duration_ns: number;
  upstream_ns: number;
  method: string;
  path: string;
  route: string;
  status: number | null;
  failed: boolean;
  error: string;
  short_circuit: string;
  plugins: string[];
  model: string;
  spans: number;
  bytes: number;
}

export interface Page {
  traces: Summary[];
  next: number | null;
  scanned: number;
}

export type AttributeValue = string | number | boolean | string[];

export interface SpanEvent {
  Name: string;
  Timestamp: string;
  Attributes: Record<string, AttributeValue>;
}

export interface Span {
  SpanID: string;
  ParentID: string;
  TraceID: string;
  Name: string;
  Kind: string;
  StartTime: string;
  EndTime: string;
  Status: "unset" | "ok" | "error";
  StatusMsg: string;
  Attributes: Record<string, AttributeValue>;
  Events: SpanEvent[];
}

export interface PluginLog {
  plugin_name: string;
  level: string;
  message: string;
  timestamp: number;
}

export interface Trace {
  RequestID: string;
  TraceID: string;
  ParentID: string;
  RootSpan: Span;
  Spans: Span[];
  StartTime: string;
  EndTime: string;
  Attributes: Record<string, AttributeValue>;
  RequestHeaders: Record<string, string> | null;
  PluginLogs: PluginLog[] | null;
}

export interface Latency {
  count: number;
  sum_ms: number;
  p50_ms: number;
  p99_ms: number;
}

export interface RouteMetrics {
  name: string;
  duration: Latency;
  responses: number[];
  aborted: number;
  active: number;
  last_us: number | null;
}

export interface HookMetrics {
  plugin: string;
  hook: string;
  duration: Latency;
  failures: [string, number][];
}

export interface UpstreamMetrics {
  name: string;
  duration: Latency;
  connects: number;
  active: number;
  failures: [string, number][];
}

export interface SpanFilter {
  mode: "include" | "exclude";
  plugins: string[];
}

export interface Exporter {
  name: string;
  kind: string;
  enabled: boolean;
  state: "ok" | "starting" | "degraded" | "disabled";
  message: string | null;
  /** Where it sends to; of an exporter for OTLP, its endpoint. */
  brokers: string[];
  /** Of an exporter for OTLP, its protocol. */
  topic: string;
  plugin_span_filter: SpanFilter | null;
  queue_bytes: number | null;
  oldest_s: number | null;
  taken: number | null;
  sampled_out: number | null;
  delivered: number | null;
  dropped: Record<string, number>;
  dead_letters: Record<string, number>;
}

export interface Quantiles {
  p50_ns: number | null;
  p99_ns: number | null;
}

export interface Overview {
  version: string;
  generation: number;
  uptime_s: number;
  draining: boolean;
  read_only: string | null;
  /** Why no request can be sent from here. */
  no_send: string | null;
  listeners: string[];
  metrics: {
    connections: number;
    connections_open: number;
    bad_requests: number;
    routes: RouteMetrics[];
    hooks: HookMetrics[];
    upstreams: UpstreamMetrics[];
  };
  recent: {
    count: number;
    total: Quantiles;
    overhead: Quantiles;
    upstream: Quantiles;
  };
  exporters: Exporter[];
  plugins: string[];
  upstreams: string[];
  spool: { bytes: number; max_bytes: number; full: boolean; problem: string | null } | null;
  store: {
    traces: number;
    bytes: number;
    max_bytes: number;
    skipped: number;
    durable: boolean;
    problem: string | null;
  } | null;
}

export interface RouteMatch {
  host: string | null;
  path: string;
  methods: string[];
}

export interface Route {
  name: string;
  match: RouteMatch;
  upstream: string;
  plugins: string[];
  metrics: RouteMetrics | null;
}

export interface Tried {
  answer: { status: number | null; route: string | null; allowed?: string[]; why?: string };
  routes: {
    name: string;
    match: RouteMatch;
    host: boolean;
    path: boolean;
    method: boolean;
    header?: boolean;
    query?: boolean;
    result: string;
  }[];
}

export interface Endpoint {
  endpoint: string;
  state: "ok" | "unhealthy" | "ejected";
  /** What the last check found wrong. */
  message: string | null;
  ejections: number;
  tls: boolean;
  /** When the certificate it showed last expires: seconds since 1970. */
  certificate_expires: number | null;
}

export interface Upstream {
  name: string;
  endpoints: Endpoint[];
  max_requests: number;
  routes: string[];
  metrics: UpstreamMetrics | null;
}

export interface Plugin {
  key: string;
  name: string;
  module: string;
  digest: string;
  pinned: boolean;
  on_error: string;
  limits: { memory: number; cpu_ms: number; wall_ms: number };
  hooks: string[];
  metrics: HookMetrics[];
  routes: string[];
  listeners: string[];
  /** By which ABI it is called. */
  kind: "component" | "module";
  isolation: "shared" | "request";
  /** Those that chains give it, and its own where that is in use. */
  configurations: number;
  /** Over all workers, with the memory that they take. */
  instances: number;
  memory: number;
  breaker: { failures: number; pause_ms: number; open: number };
  workers: number;
}

/** A line that a plugin wrote while it handled a request. */
export interface LogLine {
  trace_id: string;
  at_us: number;
  level: string;
  message: string;
}

/** What came of a request that was sent from here. */
export interface Sent {
  status: number;
  trace_id: string;
  duration_ms: number;
}

/** A start or a reload. */
export interface Load {
  generation: number;
  at_us: number;
  /** Why nothing changed, where nothing did. */
  refused: string | null;
}

export interface Received {
  protocol: string;
  requests: number;
  bytes: number;
  items: number;
  acknowledged: number;
  messages: number;
  rejected: number;
  refused: Record<string, number>;
}

export interface Lane {
  signal: string;
  topic: string;
  state: "ok" | "starting" | "degraded";
  message: string | null;
  queue: { requests: number; bytes: number; max_requests: number | null; max_bytes: number };
  spool: { bytes: number; max_bytes: number; full: boolean } | null;
  produced: number;
  dropped: Record<string, number>;
  protocols: Received[];
}

export interface Otlp {
  receiver: {
    grpc: string | null;
    http: string | null;
    token: boolean;
    format: string;
    brokers: string[];
  } | null;
  signals: Lane[];
}

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export type Origin =
  | { kind: "default" }
  | { kind: "file"; line: number }
  | { kind: "override"; name: string }
  | { kind: "environment"; name: string };

export interface Field {
  path: string[];
  key: string;
  kind: "choice" | "boolean" | "integer" | "number" | "list" | "map" | "string" | "other";
  options: string[];
  unit: string | null;
  description: string;
  required: boolean;
  secret: boolean;
  default: Json;
  value: Json;
  hidden: boolean;
  origin: Origin;
}

export interface Form {
  digest: string;
  read_only: string | null;
  fields: Field[];
}

export interface Edit {
  path: string[];
  value: Json;
}

export interface Fault {
  code: string;
  severity: string;
  path: string;
  line: number;
  message: string;
  hint: string | null;
}

export interface DiffLine {
  sign: string;
  number: number;
  text: string;
}

export interface Preview {
  conflict: boolean;
  digest: string;
  difference: DiffLine[];
  /** Whether anything changes, be it a secret that is not shown. */
  changes: boolean;
  faults: Fault[];
  warnings: Fault[];
  read_only: string | null;
}

/** What the server says is wrong. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly faults: Fault[] = [],
  ) {
    super(message);
  }
}

async function answer<T>(response: Response): Promise<T> {
  if (response.status === 401) {
    // The session is over: the server shows the form.
    location.reload();
  }
  const text = await response.text();
  let body: unknown = null;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Problem(response.status, text || response.statusText);
  }
  if (!response.ok) {
    const problem = body as { detail?: string; faults?: Fault[] };
    throw new Problem(response.status, problem.detail ?? "the configuration has faults", problem.faults);
  }
  return body as T;
}

async function ask<T>(path: string, request?: RequestInit): Promise<T> {
  // Why there is no answer, browsers do not tell, and each says that in words of its own.
  const gone = () => Promise.reject(new Error("Weir does not answer"));
  return answer(await fetch(path, request).catch(gone));
}

export function get<T>(path: string, parameters?: URLSearchParams): Promise<T> {
  const query = parameters && parameters.size > 0 ? `?${parameters}` : "";
  return ask(`api/${path}${query}`);
}

/** Reads the configuration's file anew. */
export function reload(): Promise<{ generation: number }> {
  return ask("reload", { method: "POST" });
}

export function post<T>(path: string, body: unknown): Promise<T> {
  return ask(`api/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}
