import { Link } from "wouter";
import type { Endpoint, Upstream } from "../api";
import { useTitle } from "../app";
import { count, leftOut, until } from "../format";
import { Answered, useAnswer } from "../parts/answer";
import { Empty, Head } from "../parts/basics";
import { latency, Reasons, Table } from "../parts/table";

export function Upstreams() {
  useTitle("Upstreams");
  const answer = useAnswer<{ upstreams: Upstream[] }>("upstreams", { every: 3000 });
  return (
    <Answered title="Upstreams" of={answer}>
      {({ upstreams }) => (
        <div className="stack">
          <Head title="Upstreams" note={summary(upstreams)} />
          {upstreams.length === 0 && (
            <Empty title="No upstream is configured">
              <p>Requests have nowhere to go. Name one, and a route that leads to it, in the configuration.</p>
              <pre className="code" tabIndex={0}>{'upstreams:\n  api:\n    endpoints: ["http://127.0.0.1:9000"]'}</pre>
            </Empty>
          )}
          {upstreams.length > 0 && <Calls upstreams={upstreams} />}
          {upstreams.length > 0 && <Endpoints upstreams={upstreams} />}
        </div>
      )}
    </Answered>
  );
}

function summary(upstreams: Upstream[]): string {
  const endpoints = upstreams.flatMap((upstream) => upstream.endpoints);
  const out = endpoints.filter((endpoint) => endpoint.state !== "ok").length;
  return out === 0 ? "" : leftOut(out, endpoints.length);
}

function Calls({ upstreams }: { upstreams: Upstream[] }) {
  return (
    <section className="panel" aria-label="Calls">
      <Table
        headed
        rows={upstreams}
        rowKey={(upstream) => upstream.name}
        columns={[
          { name: "Upstream", className: "nowrap", cell: (upstream) => upstream.name },
          {
            name: "Routes",
            cell: (upstream) => (
              <span className="chips">
                {upstream.routes.map((route) => (
                  <Link key={route} className="chip" href={`/traces?route=${encodeURIComponent(route)}`}>
                    {route}
                  </Link>
                ))}
                {upstream.routes.length === 0 && <span className="quiet">none</span>}
              </span>
            ),
          },
          ...latency<Upstream>("Calls", (upstream) => upstream.metrics?.duration),
          {
            name: "Under way",
            number: true,
            cell: (upstream) => (
              <>
                {count(upstream.metrics?.active ?? 0)} <span className="quiet">of {count(upstream.max_requests)}</span>
              </>
            ),
          },
          { name: "Connections made", number: true, cell: (upstream) => count(upstream.metrics?.connects ?? 0) },
          { name: "Failures", cell: (upstream) => <Reasons of={upstream.metrics?.failures ?? []} /> },
        ]}
      />
    </section>
  );
}

function Endpoints({ upstreams }: { upstreams: Upstream[] }) {
  const rows = upstreams.flatMap((upstream) => upstream.endpoints.map((endpoint) => ({ upstream, endpoint })));
  return (
    <section className="panel">
      <h2>Endpoints</h2>
      <Table
        label="Endpoints"
        headed
        rows={rows}
        rowKey={({ upstream, endpoint }) => `${upstream.name} ${endpoint.endpoint}`}
        columns={[
          { name: "Endpoint", className: "mono nowrap", cell: ({ endpoint }) => endpoint.endpoint },
          { name: "Upstream", className: "nowrap", cell: ({ upstream }) => upstream.name },
          { name: "State", cell: ({ endpoint }) => <State endpoint={endpoint} /> },
          { name: "Ejections", number: true, cell: ({ endpoint }) => count(endpoint.ejections) },
          { name: "Certificate", className: "nowrap", cell: ({ endpoint }) => <Certificate endpoint={endpoint} /> },
          { name: "Last check", className: "wrap quiet", cell: ({ endpoint }) => endpoint.message ?? "" },
        ]}
      />
    </section>
  );
}

function State({ endpoint }: { endpoint: Endpoint }) {
  const [look, text] = {
    ok: ["good", "Gets requests"],
    ejected: ["warn", "Left out: kept failing"],
    unhealthy: ["bad", "Left out: unhealthy"],
  }[endpoint.state] as [string, string];
  return <span className={`state ${look}`}>{text}</span>;
}

function Certificate({ endpoint }: { endpoint: Endpoint }) {
  if (!endpoint.tls) return <span className="quiet">plain HTTP</span>;
  if (endpoint.certificate_expires === null) return <span className="quiet">not seen yet</span>;
  const seconds = endpoint.certificate_expires - Date.now() / 1000;
  const soon = seconds < 14 * 86400;
  return <span className={soon ? "state bad" : undefined}>{until(seconds)}</span>;
}
