import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { type Exporter, get, type Latency, type Overview as Fares, type Page, type Quantiles, type Upstream } from "../api";
import { useOverview, useTitle } from "../app";
import { ago, bytes, count, duration, leftOut, rate, several } from "../format";
import { Unanswered, useAnswer } from "../parts/answer";
import { Chart } from "../parts/chart";
import { Empty, Figure, Head } from "../parts/basics";
import { delivered, named, stated } from "../parts/exporter";
import { now, useRates } from "../parts/history";
import { Send } from "../parts/send";
import { latency, Reasons, Table } from "../parts/table";
import { Rows, SOON } from "./traces";

/** Requests, those that failed, and those under way, over all routes. */
function totals(overview: Fares) {
  const routes = overview.metrics.routes;
  const sum = (of: (route: (typeof routes)[number]) => number) => routes.reduce((total, route) => total + of(route), 0);
  return {
    requests: sum((route) => route.duration.count),
    failed: sum((route) => (route.responses[4] ?? 0) + route.aborted),
    active: sum((route) => route.active),
  };
}

export function Overview() {
  useTitle("Overview");
  const { data, error, dataUpdatedAt } = useOverview();
  const all = data && totals(data);
  const rates = useRates("overview", all && [all.requests, all.failed], dataUpdatedAt);
  if (!data || !all) return <Unanswered title="Overview" error={error} />;
  const { requests, failed, active } = all;
  const { recent } = data;
  return (
    <div className="stack">
      <Head title="Overview" note={`up ${ago(data.uptime_s)}`} />
      {data.spool?.full && <p className="notice bad">The spool is full: new traces are dropped until exporters deliver.</p>}
      {data.spool?.problem && <p className="notice bad">{data.spool.problem}</p>}
      <LeftOut />
      {data.store?.problem && <p className="notice warn">Recent traces: {data.store.problem}</p>}
      <dl className="figures">
        <Figure label="Requests a second" value={rate(now(rates, 0))} note={`${count(requests)} since the start`} />
        <Figure
          label="Errors a second"
          value={rate(now(rates, 1))}
          note={requests === 0 ? "no request yet" : `${((failed / requests) * 100).toFixed(2)} % since the start`}
        />
        <Time label="Duration, p50" of={recent.total} />
        <Time label="Weir’s own time, p50" of={recent.overhead} />
        <Time label="Upstream’s time, p50" of={recent.upstream} />
        <Figure label="Under way" value={count(active)} note={several(data.metrics.connections_open, "connection")} />
      </dl>
      <Chart title="Requests a second" lines={["All", "Failed"]} rates={rates} />
      <div className="columns">
        <Health exporters={data.exporters} spool={data.spool} />
        <section className="panel">
          <header>
            <h2>Plugins and upstreams</h2>
            <span className="chart-key">
              <Link href="/plugins">Plugins</Link>
              <Link href="/upstreams">Upstreams</Link>
            </span>
          </header>
          <Slow overview={data} />
        </section>
      </div>
      {data.no_send === null ? (
        <Send kept={data.store !== null} />
      ) : (
        <section className="panel" aria-label="Send a request">
          <h2>Send a request</h2>
          <p className="notice">{data.no_send}</p>
        </section>
      )}
      <Latest overview={data} />
    </div>
  );
}

/** Of recent traces. */
function Time({ label, of }: { label: string; of: Quantiles }) {
  return (
    <Figure
      label={label}
      value={of.p50_ns === null ? "–" : duration(of.p50_ns)}
      note={of.p99_ns === null ? "of recent traces" : `p99 ${duration(of.p99_ns)}`}
    />
  );
}

/** Endpoints that get no requests. */
function LeftOut() {
  const { data } = useAnswer<{ upstreams: Upstream[] }>("upstreams", { every: 5000 });
  return data?.upstreams.map((upstream) => {
    const out = upstream.endpoints.filter((endpoint) => endpoint.state !== "ok");
    return (
      out.length > 0 && (
        <p key={upstream.name} className="notice warn" role="status">
          <Link href="/upstreams">{upstream.name}</Link>: {leftOut(out.length, upstream.endpoints.length)} ({out.map((endpoint) => endpoint.endpoint).join(", ")}).
        </p>
      )
    );
  });
}

function Health({ exporters, spool }: { exporters: Exporter[]; spool: Fares["spool"] }) {
  return (
    <section className="panel">
      <header>
        <h2>Kafka</h2>
        <Link href="/exporters">Exporters</Link>
      </header>
      {exporters.length === 0 ? (
        <Empty title="Traces go nowhere yet">
          <p>
            <Link href="/exporters">Add a Kafka exporter</Link>: broker, topic, save.
          </p>
        </Empty>
      ) : (
        <Table headed label="Exporters" rows={exporters} rowKey={(exporter) => exporter.name} columns={[named, stated, ...delivered]} />
      )}
      {spool && (
        <p className="quiet">
          Spool: {bytes(spool.bytes)} of {bytes(spool.max_bytes)} on the disk
        </p>
      )}
    </section>
  );
}

function Slow({ overview }: { overview: Fares }) {
  const parts = [
    ...overview.metrics.hooks.map((hook) => ({
      name: hook.plugin,
      what: hook.hook,
      to: `/plugins/${encodeURIComponent(hook.plugin)}`,
      duration: hook.duration,
      failures: hook.failures,
    })),
    ...overview.metrics.upstreams.map((upstream) => ({
      name: upstream.name,
      what: "upstream",
      to: "/upstreams",
      duration: upstream.duration,
      failures: upstream.failures,
    })),
  ]
    .filter((part) => part.duration.count > 0 || part.failures.length > 0)
    .sort((a, b) => b.failures.length - a.failures.length || b.duration.p99_ms - a.duration.p99_ms)
    .slice(0, 6);
  if (parts.length === 0) return <p className="quiet">Nothing was called yet.</p>;
  return (
    <Table
      headed
      label="Plugins and upstreams"
      rows={parts}
      rowKey={(part) => `${part.name} ${part.what}`}
      columns={[
        {
          name: "Part",
          className: "nowrap",
          cell: (part) => (
            <Link href={part.to}>
              {part.name} <span className="part">{part.what}</span>
            </Link>
          ),
        },
        ...latency<{ duration: Latency }>("Calls", (part) => part.duration),
        { name: "Failures", cell: (part) => <Reasons of={part.failures} /> },
      ]}
    />
  );
}

function Latest({ overview }: { overview: Fares }) {
  const { data } = useQuery({
    queryKey: ["latest"],
    enabled: overview.store !== null,
    refetchInterval: SOON,
    queryFn: () => get<Page>("traces", new URLSearchParams({ limit: "8" })),
  });
  const rows = data?.traces ?? [];
  return (
    <section className="stack" aria-label="Latest traces">
      <header className="head" style={{ marginBottom: 0 }}>
        <h2>Latest traces</h2>
        <Link href="/traces">All traces</Link>
      </header>
      {overview.store === null ? (
        <Empty title="Recent traces are not kept">
          <p>
            Add <code>store: {"{}"}</code> to the configuration to see them here. <Link href="/traces">More about it</Link>
          </p>
        </Empty>
      ) : rows.length > 0 ? (
        <Rows rows={rows} />
      ) : (
        <Empty title="No traces yet">
          <p>Send a request through Weir; its trace shows here within a second.</p>
        </Empty>
      )}
    </section>
  );
}
