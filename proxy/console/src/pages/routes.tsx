import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useSearchParams } from "wouter";
import { get, type Route, type RouteMatch, type Tried } from "../api";
import { useTitle } from "../app";
import { count, milliseconds } from "../format";
import { Failure, Head, Loading } from "../parts/basics";

interface Answer {
  routes: Route[];
  listeners: { address: string; plugins: string[] }[];
}

export function Routes() {
  useTitle("Routes");
  const { data, error } = useQuery({
    queryKey: ["routes"],
    queryFn: () => get<Answer>("routes"),
    refetchInterval: 3000,
  });
  if (!data) return error ? <Failure error={error} /> : <Loading />;
  const before = data.listeners.flatMap((listener) => listener.plugins);
  return (
    <div className="stack">
      <Head title="Routes" note="tried in this order; the first that fits takes the request" />
      <div className="panel scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Route</th>
              <th scope="col">Match</th>
              <th scope="col">Plugins, in order</th>
              <th scope="col">Leads to</th>
              <th scope="col" className="number">
                Requests
              </th>
              <th scope="col" className="number">
                5xx
              </th>
              <th scope="col" className="number">
                p50
              </th>
              <th scope="col" className="number">
                p99
              </th>
            </tr>
          </thead>
          <tbody>
            {data.routes.map((route) => (
              <tr key={route.name}>
                <th scope="row">
                  <Link href={`/traces?route=${encodeURIComponent(route.name)}`}>{route.name}</Link>
                </th>
                <td>
                  <Match match={route.match} />
                </td>
                <td>
                  <span className="chips">
                    {[...new Set(before)].map((plugin) => (
                      <span className="chip" key={`listener ${plugin}`} title="of the listener">
                        {plugin} <span className="quiet">listener</span>
                      </span>
                    ))}
                    {route.plugins.map((plugin) => (
                      <Link className="chip" key={plugin} href={`/plugins/${encodeURIComponent(plugin)}`}>
                        {plugin}
                      </Link>
                    ))}
                    {before.length + route.plugins.length === 0 && <span className="quiet">none</span>}
                  </span>
                </td>
                <td>{route.upstream}</td>
                <td className="number">{count(route.metrics?.duration.count ?? 0)}</td>
                <td className="number">{count(route.metrics?.responses[4] ?? 0)}</td>
                <td className="number">{time(route, "p50_ms")}</td>
                <td className="number">{time(route, "p99_ms")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Tester />
    </div>
  );
}

function time(route: Route, which: "p50_ms" | "p99_ms"): string {
  return route.metrics && route.metrics.duration.count > 0 ? milliseconds(route.metrics.duration[which]) : "–";
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
  const [method, setMethod] = useState(search.get("method") ?? "GET");
  const [url, setUrl] = useState(search.get("url") ?? "/");
  const asked = search.get("url");
  const { data, error } = useQuery({
    queryKey: ["test", search.get("method"), asked],
    enabled: asked !== null,
    queryFn: () => get<Tried>("routes/test", new URLSearchParams({ method: search.get("method") ?? "GET", url: asked! })),
  });
  return (
    <section className="panel">
      <h2>Which route does a request take?</h2>
      <form
        className="filters"
        style={{ padding: "10px 12px 0" }}
        onSubmit={(event) => {
          event.preventDefault();
          setSearch({ method, url }, { replace: true });
        }}
      >
        <label>
          Method
          <select value={method} onChange={(event) => setMethod(event.target.value)}>
            {["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label className="wide">
          Path, or URL with host
          <input value={url} onChange={(event) => setUrl(event.target.value)} placeholder="http://api.example.com/v1/users" />
        </label>
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
            ) : data.answer.status === 405 ? (
              <>No route: Weir answers 405, for the path is served with {data.answer.allowed?.join(", ")} only.</>
            ) : (
              <>No route: Weir answers {data.answer.status}.</>
            )}
          </p>
          <div className="scroll">
            <table>
              <thead>
                <tr>
                  <th scope="col">Route</th>
                  <th scope="col">Match</th>
                  <th scope="col">Host</th>
                  <th scope="col">Path</th>
                  <th scope="col">Headers, query</th>
                  <th scope="col">Method</th>
                  <th scope="col">Result</th>
                </tr>
              </thead>
              <tbody>
                {data.routes.map((route) => (
                  <tr key={route.name}>
                    <th scope="row">{route.name}</th>
                    <td>
                      <Match match={route.match} />
                    </td>
                    {[route.host, route.path, route.header !== false && route.query !== false, route.method].map((fits, index) => (
                      <td key={index}>{route.result === "not tried" ? "" : fits ? "fits" : "differs"}</td>
                    ))}
                    <td>
                      <span className={route.result === "taken" ? "badge good" : "quiet"}>{route.result}</span>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </div>
      )}
    </section>
  );
}
