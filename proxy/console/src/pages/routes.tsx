import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "wouter";
import { get, type Route, type RouteMatch, type Tried } from "../api";
import { useTitle } from "../app";
import { ago, count, rate } from "../format";
import { Answered, useAnswer } from "../parts/answer";
import { Failure, Head } from "../parts/basics";
import { now, useRates } from "../parts/history";
import { type Entered, lines, RequestFields } from "../parts/request";
import { type Column, latency, Table } from "../parts/table";

interface Answer {
  routes: Route[];
  listeners: { address: string; plugins: string[] }[];
}

export function Routes() {
  useTitle("Routes");
  const answer = useAnswer<Answer>("routes", { every: 2000 });
  const counts = answer.data?.routes.map((route) => route.metrics?.duration.count ?? 0);
  const rates = useRates("routes", counts, answer.dataUpdatedAt);
  return (
    <Answered title="Routes" of={answer}>
      {({ routes, listeners }) => (
        <div className="stack">
          <Head title="Routes" note="tried in this order; the first that fits takes the request" />
          <p className="listeners">
            {listeners.map((listener) => (
              <span key={listener.address}>
                <span className="quiet">Listener</span> <code>{listener.address}</code>{" "}
                <Chain before={[]} own={listener.plugins} />
              </span>
            ))}
          </p>
          <section className="panel" aria-label="Routes">
            <Table
              headed
              rows={routes}
              rowKey={(route) => route.name}
              columns={[
                {
                  name: "Route",
                  cell: (route) => <Link href={`/traces?route=${encodeURIComponent(route.name)}`}>{route.name}</Link>,
                },
                { name: "Match", cell: (route) => <Match match={route.match} /> },
                {
                  name: "Plugins, in order",
                  cell: (route) => <Chain before={common(listeners)} own={route.plugins} none={listeners.some((of) => of.plugins.length > 0) ? "its listener’s" : "none"} />,
                },
                { name: "Leads to", className: "nowrap", cell: (route) => route.upstream },
                { name: "A second", number: true, cell: (_, index) => rate(now(rates, index)) },
                ...latency<Route>("Requests", (route) => route.metrics?.duration),
                { name: "5xx", number: true, cell: (route) => count(route.metrics?.responses[4] ?? 0) },
                { name: "Last hit", number: true, cell: (route) => <Last route={route} /> },
              ]}
            />
          </section>
          <Tester />
        </div>
      )}
    </Answered>
  );
}

/** What every listener runs; what only some run stands beside those, above the table. */
function common(listeners: Answer["listeners"]): string[] {
  const all = new Set(listeners[0]?.plugins);
  return [...all].filter((plugin) => listeners.every((listener) => listener.plugins.includes(plugin)));
}

function Chain({ before, own, none = "none" }: { before: string[]; own: string[]; none?: string }) {
  if (before.length + own.length === 0) return <span className="quiet">{none}</span>;
  return (
    <span className="chips">
      {before.map((plugin) => (
        <Link className="chip" key={`listener ${plugin}`} href={`/plugins/${encodeURIComponent(plugin)}`}>
          {plugin} <span className="quiet">listener</span>
        </Link>
      ))}
      {own.map((plugin) => (
        <Link className="chip" key={plugin} href={`/plugins/${encodeURIComponent(plugin)}`}>
          {plugin}
        </Link>
      ))}
    </span>
  );
}

function Last({ route }: { route: Route }) {
  const last = route.metrics?.last_us ?? null;
  if (last === null) return <span className="quiet">none yet</span>;
  return `${ago(Math.max(Date.now() / 1000 - last / 1e6, 0))} ago`;
}

function Match({ match }: { match: RouteMatch }) {
  return (
    <code>
      {match.methods.length > 0 && `${match.methods.join(", ")} `}
      {match.host}
      {match.path}
    </code>
  );
}

function Tester() {
  const [search, setSearch] = useSearchParams();
  const [request, setRequest] = useState<Entered>({
    method: search.get("method") ?? "GET",
    url: search.get("url") ?? "/",
    headers: search.getAll("header").join("\n"),
  });
  const { data, error } = useQuery({
    queryKey: ["test", search.toString()],
    enabled: search.has("url"),
    queryFn: () => get<Tried>("routes/test", search),
  });
  return (
    <section className="panel">
      <h2>Which route does a request take?</h2>
      <form
        className="filters"
        style={{ padding: "10px 12px 0" }}
        onSubmit={(event) => {
          event.preventDefault();
          const { method, url, headers } = request;
          setSearch([["method", method], ["url", url], ...lines(headers).map((line) => ["header", line])], { replace: true });
        }}
      >
        <RequestFields request={request} onChange={setRequest} />
        <button type="submit" className="primary" style={{ alignSelf: "end" }}>
          Test
        </button>
      </form>
      {error && <Failure error={error} />}
      {data && (
        <div role="status">
          <p style={{ padding: "0 12px 8px" }}>
            {data.answer.route !== null ? (
              <>
                It takes <b>{data.answer.route}</b>.
              </>
            ) : data.answer.why ? (
              <>
                No route: Weir answers {data.answer.status}, for {data.answer.why}.
              </>
            ) : data.answer.status === 405 ? (
              <>No route: Weir answers 405, for the path is served with {data.answer.allowed?.join(", ")} only.</>
            ) : (
              <>No route: Weir answers {data.answer.status}.</>
            )}
          </p>
          {data.routes.length > 0 && (
            <Table
              headed
              rows={data.routes}
              rowKey={(route) => route.name}
              columns={[
                { name: "Route", cell: (route) => route.name },
                { name: "Match", cell: (route) => <Match match={route.match} /> },
                fits("Host", (route) => route.host),
                fits("Path", (route) => route.path),
                fits("Headers, query", (route) => route.header !== false && route.query !== false),
                fits("Method", (route) => route.method),
                {
                  name: "Result",
                  cell: (route) => <span className={route.result === "taken" ? "badge good" : "quiet"}>{route.result}</span>,
                },
              ]}
            />
          )}
        </div>
      )}
    </section>
  );
}

type Candidate = Tried["routes"][number];

function fits(name: string, of: (route: Candidate) => boolean): Column<Candidate> {
  const said = (route: Candidate) => (of(route) ? "fits" : "differs");
  return { name, cell: (route) => (route.result === "not tried" ? "" : said(route)) };
}
