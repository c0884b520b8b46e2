import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useSearchParams } from "wouter";
import { type AttributeValue, get, Problem, type Summary, type Trace as Whole } from "../api";
import { useOverview, useTitle } from "../app";
import { bytes, clock, count, day, duration, nanoseconds } from "../format";
import { Copy, Empty, Failure, Head, Level, Loading, Status, Tabs } from "../parts/basics";
import { Message } from "../parts/message";
import { logs, type Node, own, plugin, rows, tree } from "../parts/spans";
import { Table } from "../parts/table";
import { Waterfall } from "../parts/waterfall";
import { NotKept } from "./traces";

type Tab = "spans" | "logs" | "headers" | "message";

export function Trace({ id }: { id: string }) {
  useTitle(`Trace ${id.slice(0, 8)}`);
  const [search, setSearch] = useSearchParams();
  const request = search.get("request");
  const tab = (search.get("tab") ?? "spans") as Tab;
  const selected = search.get("span");
  const set = (name: string, value: string | null) =>
    setSearch(
      (before) => {
        const next = new URLSearchParams(before);
        if (value === null) next.delete(name);
        else next.set(name, value);
        return next;
      },
      { replace: true },
    );
  const { data, error } = useQuery({
    queryKey: ["trace", id, request],
    queryFn: () =>
      get<{ requests: Summary[]; trace: Whole }>(
        `traces/${id}`,
        request ? new URLSearchParams({ request }) : undefined,
      ),
    // It may be on its way from the proxy to the store.
    retry: (count, error) => error instanceof Problem && error.status === 404 && count < 3,
    retryDelay: 400,
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (error) {
    return (
      <>
        <Head title="Trace" note={<code>{id}</code>} />
        {error instanceof Problem && error.status === 404 ? (
          <Empty title="This trace is not here">
            <p>It may be older than what is kept, or it was not kept. Exporters have it where they took it.</p>
            <p>
              <Link href="/traces">See the traces that are here</Link>
            </p>
          </Empty>
        ) : error instanceof Problem && error.status === 409 ? (
          <NotKept />
        ) : (
          <Failure error={error} />
        )}
      </>
    );
  }
  if (!data) return <Loading />;
  const { trace, requests } = data;
  const summary = requests.find((other) => String(other.id) === request) ?? requests[0]!;
  const logCount = trace.PluginLogs?.length ?? 0;
  const headerCount = Object.keys(trace.RequestHeaders ?? {}).length;
  return (
    <>
      <Head
        title={
          <>
            {summary.method} {summary.path || summary.route}
          </>
        }
        note={<code>{id}</code>}
      >
        <Copy text={id} label="Copy id" plain />
        <button type="button" onClick={() => download(`trace-${id}.json`, trace)}>
          Download
        </button>
      </Head>
      <div className="trace-head">
        <span>
          <Status status={summary.status} />
        </span>
        <span>
          <b>{duration(summary.duration_ns)}</b> in all
        </span>
        {summary.upstream_ns > 0 && (
          <span>
            <b>{duration(summary.duration_ns - summary.upstream_ns)}</b> Weir, <b>{duration(summary.upstream_ns)}</b>{" "}
            upstream
          </span>
        )}
        <span>
          {day(summary.start_us)} {clock(summary.start_us)}
        </span>
        {summary.route && (
          <span>
            route <b>{summary.route}</b>
          </span>
        )}
        <span>
          request <code>{summary.request_id}</code>
        </span>
        {summary.short_circuit && <span className="badge warn">answered by {summary.short_circuit}</span>}
        {summary.error && <span className="badge bad">{summary.error}</span>}
      </div>
      {requests.length > 1 && (
        <p className="notice" style={{ marginBottom: 12 }}>
          {requests.length} requests have this trace id:{" "}
          {requests.map((other) => (
            <button
              key={other.id}
              type="button"
              className="small"
              aria-pressed={other.id === summary.id}
              onClick={() => set("request", String(other.id))}
            >
              {other.method} {other.path} {clock(other.start_us)}
            </button>
          ))}
        </p>
      )}
      <section className="panel" aria-label="Trace">
        <Tabs<Tab>
          label="Parts of the trace"
          current={tab}
          onChange={(next) => set("tab", next === "spans" ? null : next)}
          tabs={[
            { id: "spans", name: `Spans ${count(trace.Spans.length)}` },
            { id: "logs", name: `Logs ${logCount}` },
            { id: "headers", name: `Headers ${headerCount}` },
            { id: "message", name: "Message as exported" },
          ]}
        >
          {tab === "spans" && (
            <Spans trace={trace} selected={selected} onSelect={(span) => set("span", span)} />
          )}
          {tab === "logs" && <Logs trace={trace} />}
          {tab === "headers" && <Headers trace={trace} />}
          {tab === "message" && <Exported id={id} request={request} />}
        </Tabs>
      </section>
    </>
  );
}

function Spans(props: { trace: Whole; selected: string | null; onSelect: (span: string | null) => void }) {
  const { trace, selected, onSelect } = props;
  // Once a trace: it may have ten thousand.
  const nodes = useMemo(() => rows(tree(trace), new Set()), [trace]);
  const chosen = nodes.find((node) => node.span.SpanID === selected);
  return (
    <div className={chosen ? "trace-body open" : "trace-body"}>
      <Waterfall nodes={nodes} selected={selected} onSelect={onSelect} />
      {chosen && <Drawer trace={trace} node={chosen} onClose={() => onSelect(null)} />}
    </div>
  );
}

function Drawer({ trace, node, onClose }: { trace: Whole; node: Node; onClose: () => void }) {
  const { span } = node;
  const name = plugin(span);
  const lines = name ? logs(trace, span) : [];
  const attributes = Object.entries(span.Attributes);
  const parent = trace.Spans.find((other) => other.SpanID === span.ParentID);
  const alone = useMemo(() => own(node), [node]);
  const [cpu, memory, decision] = ["cpu_ns", "memory_bytes", "decision"].map((key) => span.Attributes[`weir.hook.${key}`]);
  return (
    <aside className="drawer" aria-label="Span">
      <header>
        <h2>{span.Name}</h2>
        <Copy text={location.href} label="Copy link" />
        <button type="button" className="icon" aria-label="Close span" onClick={onClose}>
          ✕
        </button>
      </header>
      <section>
        <dl className="pairs">
          <dt>Status</dt>
          <dd>
            <span className={`state ${span.Status === "error" ? "bad" : span.Status === "ok" ? "good" : "off"}`}>
              {span.Status}
            </span>{" "}
            {span.StatusMsg}
          </dd>
          <dt>Kind</dt>
          <dd>{span.Kind}</dd>
          {name && (
            <>
              <dt>Plugin</dt>
              <dd>
                <Link href={`/plugins/${encodeURIComponent(name)}`}>{name}</Link>
              </dd>
            </>
          )}
          {decision !== undefined && (
            <>
              <dt>Decision</dt>
              <dd>{String(decision)}</dd>
            </>
          )}
          <dt>Start</dt>
          <dd>+{duration(node.start)}</dd>
          <dt>Duration</dt>
          <dd>
            {duration(node.end - node.start)} <span className="quiet">({duration(alone)} of its own)</span>
          </dd>
          {typeof cpu === "number" && (
            <>
              <dt>CPU</dt>
              <dd>{duration(cpu)}</dd>
            </>
          )}
          {typeof memory === "number" && (
            <>
              <dt>Guest memory</dt>
              <dd>{bytes(memory)}</dd>
            </>
          )}
          <dt>Parent</dt>
          <dd>{parent ? parent.Name : span.ParentID ? `the caller’s span ${span.ParentID}` : "none"}</dd>
          <dt>Span id</dt>
          <dd>
            <code>{span.SpanID}</code>
          </dd>
        </dl>
      </section>
      <Attributes entries={attributes} />
      {span.Events.length > 0 && (
        <section>
          <h3>Events</h3>
          {span.Events.map((event, index) => (
            <div key={index}>
              <p>
                {event.Name}{" "}
                <span className="quiet">+{duration(nanoseconds(event.Timestamp, trace.RootSpan.StartTime))}</span>
              </p>
              <Pairs entries={Object.entries(event.Attributes)} />
            </div>
          ))}
        </section>
      )}
      {lines.length > 0 && (
        <section>
          <h3>Log of the plugin</h3>
          {lines.map((line, index) => (
            <p key={index} className="wrap">
              <Level level={line.level} /> {line.message}
            </p>
          ))}
        </section>
      )}
    </aside>
  );
}

function Attributes({ entries }: { entries: [string, AttributeValue][] }) {
  const [wanted, setWanted] = useState("");
  if (entries.length === 0) return null;
  const text = wanted.toLowerCase();
  const found = entries.filter(([key, value]) => `${key} ${value}`.toLowerCase().includes(text));
  return (
    <section>
      <h3>Attributes</h3>
      {entries.length > 12 && (
        <input
          type="search"
          aria-label="Find an attribute"
          placeholder="Find"
          value={wanted}
          onChange={(event) => setWanted(event.target.value)}
          style={{ width: "100%", margin: "2px 0 6px" }}
        />
      )}
      <Pairs entries={found} search />
    </section>
  );
}

/** Names with values, which can be copied; with `search`, other traces that have one are a click away. */
function Pairs({ entries, search }: { entries: [string, AttributeValue][]; search?: boolean }) {
  return (
    <dl className="pairs long">
      {entries.map(([key, value]) => {
        const text = Array.isArray(value) ? value.join(", ") || "[]" : String(value);
        return (
          <div key={key}>
            <dt>{key}</dt>
            <dd>
              {text}
              <span className="does">
                {search && !Array.isArray(value) && (
                  <Link href={`/traces?${new URLSearchParams({ attribute: `${key}=${value}` })}`} aria-label={`Traces with it: ${key}`}>
                    Traces with it
                  </Link>
                )}
                <Copy text={text} name={`Copy ${key}`} />
              </span>
            </dd>
          </div>
        );
      })}
    </dl>
  );
}

function Logs({ trace }: { trace: Whole }) {
  if (!trace.PluginLogs?.length) {
    return (
      <Empty title="No plugin wrote a line">
        <p>Lines that hooks log while they handle a request show here, and at the hook’s span.</p>
      </Empty>
    );
  }
  return (
    <Table
      label="Logs"
      rows={trace.PluginLogs}
      rowKey={(_, index) => index}
      columns={[
        { name: "Time", className: "mono nowrap", cell: (line) => clock(line.timestamp * 1000) },
        { name: "Plugin", cell: (line) => line.plugin_name },
        { name: "Level", cell: (line) => <Level level={line.level} /> },
        { name: "Message", className: "wrap", cell: (line) => line.message },
      ]}
    />
  );
}

function Headers({ trace }: { trace: Whole }) {
  const headers = Object.entries(trace.RequestHeaders ?? {});
  if (headers.length === 0) {
    return (
      <Empty title="No request header was captured">
        <p>
          Headers are kept where an exporter’s <code>request_headers</code> names them, or the store’s own does. Values
          of credentials are kept as <code>REDACTED</code>.
        </p>
        <pre className="code" tabIndex={0}>{'store:\n  request_headers: ["*"]'}</pre>
      </Empty>
    );
  }
  return (
    <Table
      label="Headers"
      rows={headers}
      rowKey={([name]) => name}
      columns={[
        { name: "Request header", className: "mono nowrap", cell: ([name]) => name },
        { name: "Value", className: "mono wrap", cell: ([, value]) => value },
      ]}
    />
  );
}

function Exported({ id, request }: { id: string; request: string | null }) {
  const { data } = useOverview();
  const exporters = data?.exporters ?? [];
  const [chosen, setChosen] = useState<string | null>(null);
  const exporter = exporters.find((other) => other.name === chosen) ?? exporters[0];
  if (!exporter) {
    return (
      <Empty title="No exporter is configured">
        <p>
          <Link href="/exporters">Add a Kafka exporter</Link>, and see here what its messages are.
        </p>
      </Empty>
    );
  }
  return (
    <Message key={`${exporter.name} ${data?.generation}`} trace={id} request={request} exporter={exporter}>
      <label>
        Exporter{" "}
        <select value={exporter.name} onChange={(event) => setChosen(event.target.value)}>
          {exporters.map((other) => (
            <option key={other.name}>{other.name}</option>
          ))}
        </select>
      </label>
    </Message>
  );
}

function download(name: string, what: unknown) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(what, null, 2)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
