import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { type Exporter, type Overview as Fares, get, type Page } from "../api";
import { useQuery } from "@tanstack/react-query";
import { useOverview, useTitle } from "../app";
import { ago, bytes, count, duration, milliseconds, rate } from "../format";
import { Copy, Empty, Failure, Figure, Head, Loading } from "../parts/basics";
import { Rows } from "./traces";

interface Sample {
  at: number;
  requests: number;
  failed: number;
}

/** The last two minutes, kept while one goes from page to page. */
const samples: Sample[] = [];
const MOST = 60;

function sample(overview: Fares): Sample {
  const routes = overview.metrics.routes;
  const sum = (of: (route: (typeof routes)[number]) => number) => routes.reduce((total, route) => total + of(route), 0);
  return {
    at: Date.now(),
    requests: sum((route) => route.duration.count),
    failed: sum((route) => (route.responses[4] ?? 0) + route.aborted),
  };
}

function useRates(overview: Fares | undefined, updated: number) {
  const seen = useRef(0);
  if (overview && updated !== seen.current) {
    seen.current = updated;
    const next = sample(overview);
    const last = samples.at(-1);
    // Another process counts from nothing.
    if (last && next.requests < last.requests) samples.length = 0;
    if (!last || next.at - last.at > 500) samples.push(next);
    if (samples.length > MOST) samples.shift();
  }
  return samples.slice(1).map((after, index) => {
    const before = samples[index]!;
    const seconds = Math.max((after.at - before.at) / 1000, 0.001);
    return {
      at: after.at,
      rate: (after.requests - before.requests) / seconds,
      failed: (after.failed - before.failed) / seconds,
    };
  });
}

export function Overview() {
  useTitle("Overview");
  const { data, error, dataUpdatedAt } = useOverview();
  const rates = useRates(data, dataUpdatedAt);
  if (!data) return error ? <Failure error={error} /> : <Loading />;
  const now = rates.slice(-3);
  const mean = (of: (rate: (typeof rates)[number]) => number) =>
    now.length === 0 ? 0 : now.reduce((sum, rate) => sum + of(rate), 0) / now.length;
  const requests = data.metrics.routes.reduce((sum, route) => sum + route.duration.count, 0);
  const failures = data.metrics.routes.reduce((sum, route) => sum + (route.responses[4] ?? 0) + route.aborted, 0);
  const active = data.metrics.routes.reduce((sum, route) => sum + route.active, 0);
  const { recent } = data;
  const busiest = [...data.metrics.routes].sort((a, b) => b.duration.count - a.duration.count)[0];
  return (
    <div className="stack">
      <Head title="Overview" note={`up ${ago(data.uptime_s)}`} />
      {data.spool?.full && <p className="notice bad">The spool is full: new traces are dropped until exporters deliver.</p>}
      {data.spool?.problem && <p className="notice bad">{data.spool.problem}</p>}
      {data.store?.problem && <p className="notice warn">Recent traces: {data.store.problem}</p>}
      <dl className="figures">
        <Figure label="Requests a second" value={rate(mean((of) => of.rate))} note={`${count(requests)} since the start`} />
        <Figure
          label="Errors a second"
          value={rate(mean((of) => of.failed))}
          note={requests === 0 ? "no request yet" : `${((failures / requests) * 100).toFixed(2)} % since the start`}
        />
        <Figure
          label="Weir’s own time, p50"
          value={recent.overhead.p50_ns === null ? "–" : duration(recent.overhead.p50_ns)}
          note={recent.overhead.p99_ns === null ? "of recent traces" : `p99 ${duration(recent.overhead.p99_ns)}`}
        />
        <Figure
          label="Upstream’s time, p50"
          value={recent.upstream.p50_ns === null ? "–" : duration(recent.upstream.p50_ns)}
          note={recent.upstream.p99_ns === null ? "of recent traces" : `p99 ${duration(recent.upstream.p99_ns)}`}
        />
        <Figure label="Under way" value={count(active)} note={`${count(data.metrics.connections_open)} connections`} />
      </dl>
      <Rate rates={rates} />
      <div className="columns">
        <Health exporters={data.exporters} spool={data.spool} />
        <section className="panel">
          <header>
            <h2>Slowest parts</h2>
            <Link href="/plugins">Plugins</Link>
          </header>
          <Slow overview={data} />
        </section>
      </div>
      <Latest overview={data} busiest={busiest?.name} />
    </div>
  );
}

function Rate({ rates }: { rates: { at: number; rate: number; failed: number }[] }) {
  const most = Math.max(...rates.map((one) => one.rate), 1);
  const width = 600;
  const height = 60;
  const x = (index: number) => (index / (MOST - 2)) * width;
  const start = MOST - 1 - rates.length;
  const line = (of: (one: (typeof rates)[number]) => number) =>
    rates.map((one, index) => `${index === 0 ? "M" : "L"}${x(start + index)} ${height - (of(one) / most) * (height - 4) - 1}`).join("");
  return (
    <section className="panel">
      <header>
        <h2>Requests a second</h2>
        <span className="quiet">last two minutes, at most {rate(most)}</span>
      </header>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        style={{ display: "block", width: "100%", height: 76, padding: "8px 12px" }}
        role="img"
        aria-label={`Requests a second over the last two minutes, now ${rate(rates.at(-1)?.rate ?? 0)}`}
      >
        <path d={`M0 ${height - 1}H${width}`} stroke="var(--line)" vectorEffect="non-scaling-stroke" />
        {rates.length > 1 && (
          <>
            <path
              d={`${line((one) => one.rate)}L${x(MOST - 2)} ${height}L${x(start)} ${height}Z`}
              fill="var(--accent)"
              fillOpacity="0.12"
            />
            <path d={line((one) => one.rate)} fill="none" stroke="var(--accent)" strokeWidth="1.5" vectorEffect="non-scaling-stroke" />
            <path
              d={line((one) => one.failed)}
              fill="none"
              stroke="var(--bad)"
              strokeWidth="1.5"
              strokeDasharray="4 3"
              vectorEffect="non-scaling-stroke"
            />
          </>
        )}
      </svg>
      <details style={{ padding: "0 12px 8px" }}>
        <summary>As a table</summary>
        <table>
          <thead>
            <tr>
              <th scope="col">Time</th>
              <th scope="col" className="number">
                Requests a second
              </th>
              <th scope="col" className="number">
                Errors a second
              </th>
            </tr>
          </thead>
          <tbody>
            {rates.slice(-12).map((one) => (
              <tr key={one.at}>
                <td>{new Date(one.at).toLocaleTimeString("en-GB")}</td>
                <td className="number">{rate(one.rate)}</td>
                <td className="number">{rate(one.failed)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </section>
  );
}

export function State({ exporter }: { exporter: Exporter }) {
  const [look, text] = {
    ok: ["good", "Delivering"],
    starting: ["warn", "Connecting"],
    degraded: ["bad", "Not delivering"],
    disabled: ["off", "Disabled"],
  }[exporter.state] as [string, string];
  return <span className={`state ${look}`}>{text}</span>;
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
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Exporter</th>
                <th scope="col">State</th>
                <th scope="col" className="number">
                  Delivered
                </th>
                <th scope="col" className="number">
                  Dropped
                </th>
              </tr>
            </thead>
            <tbody>
              {exporters.map((exporter) => (
                <tr key={exporter.name}>
                  <th scope="row">
                    <Link href={`/exporters/${encodeURIComponent(exporter.name)}`}>{exporter.name}</Link>
                  </th>
                  <td>
                    <State exporter={exporter} />
                    {exporter.message && <div className="quiet wrap">{exporter.message}</div>}
                  </td>
                  <td className="number">{count(exporter.delivered ?? 0)}</td>
                  <td className="number">
                    {count(Object.values(exporter.dropped).reduce((sum, dropped) => sum + dropped, 0))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
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
    })),
    ...overview.metrics.upstreams.map((upstream) => ({
      name: upstream.name,
      what: "upstream",
      to: "/upstreams",
      duration: upstream.duration,
    })),
  ]
    .filter((part) => part.duration.count > 0)
    .sort((a, b) => b.duration.p99_ms - a.duration.p99_ms)
    .slice(0, 6);
  if (parts.length === 0) return <p className="quiet">Nothing was called yet.</p>;
  return (
    <div className="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Part</th>
            <th scope="col">What</th>
            <th scope="col" className="number">
              p50
            </th>
            <th scope="col" className="number">
              p99
            </th>
          </tr>
        </thead>
        <tbody>
          {parts.map((part) => (
            <tr key={`${part.name} ${part.what}`}>
              <th scope="row">
                <Link href={part.to}>{part.name}</Link>
              </th>
              <td className="quiet">{part.what}</td>
              <td className="number">{milliseconds(part.duration.p50_ms)}</td>
              <td className="number">{milliseconds(part.duration.p99_ms)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Latest({ overview }: { overview: Fares; busiest?: string }) {
  const { data } = useQuery({
    queryKey: ["latest"],
    enabled: overview.store !== null,
    refetchInterval: 1000,
    queryFn: () => get<Page>("traces", new URLSearchParams({ limit: "8" })),
  });
  const rows = data?.traces ?? [];
  // A request that was sent from here opens its trace.
  const [sent, setSent] = useState<number | null>(null);
  const newest = rows[0];
  const arrived = sent !== null && newest !== undefined && newest.id > sent ? newest : null;
  useEffect(() => {
    if (sent === null) return;
    const timer = setTimeout(() => setSent(null), 60_000);
    return () => clearTimeout(timer);
  }, [sent]);
  const address = (overview.listeners[0] ?? "127.0.0.1:8080").replace(/^0\.0\.0\.0|^\[::\]/, "127.0.0.1");
  const command = `curl -i http://${address}/`;
  return (
    <section className="stack" aria-label="Latest traces">
      <header className="head" style={{ marginBottom: 0 }}>
        <h2>Latest traces</h2>
        <Link href="/traces">All traces</Link>
        <div className="actions">
          <span className="quiet">Send a request</span>
          <code>{command}</code>
          <span onClickCapture={() => setSent(newest?.id ?? 0)}>
            <Copy text={command} />
          </span>
          {sent !== null && (
            <span role="status">
              {arrived ? <Link href={`/traces/${arrived.trace_id}`}>Open its trace</Link> : "waiting for it…"}
            </span>
          )}
        </div>
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
