import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { get, type Upstream } from "../api";
import { useTitle } from "../app";
import { count, milliseconds } from "../format";
import { Empty, Failure, Head, Loading } from "../parts/basics";

export function Upstreams() {
  useTitle("Upstreams");
  const { data, error } = useQuery({
    queryKey: ["upstreams"],
    queryFn: () => get<{ upstreams: Upstream[] }>("upstreams"),
    refetchInterval: 3000,
  });
  if (!data) return error ? <Failure error={error} /> : <Loading />;
  return (
    <div className="stack">
      <Head title="Upstreams" />
      {data.upstreams.length === 0 ? (
        <Empty title="No upstream is configured">
          <p>Requests have nowhere to go. Name one, and a route that leads to it, in the configuration.</p>
          <pre className="code" tabIndex={0}>{'upstreams:\n  api:\n    endpoints: ["http://127.0.0.1:9000"]'}</pre>
        </Empty>
      ) : (
        <div className="panel scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Upstream</th>
                <th scope="col">Endpoints</th>
                <th scope="col">Routes</th>
                <th scope="col" className="number">
                  Calls
                </th>
                <th scope="col" className="number">
                  Under way
                </th>
                <th scope="col" className="number">
                  p50
                </th>
                <th scope="col" className="number">
                  p99
                </th>
                <th scope="col" className="number">
                  Connections made
                </th>
                <th scope="col">Failures</th>
              </tr>
            </thead>
            <tbody>
              {data.upstreams.map((upstream) => {
                const metrics = upstream.metrics;
                const called = (metrics?.duration.count ?? 0) > 0;
                return (
                  <tr key={upstream.name}>
                    <th scope="row">{upstream.name}</th>
                    <td>
                      {upstream.endpoints.map((endpoint) => (
                        <div key={endpoint}>
                          <code>{endpoint}</code>
                        </div>
                      ))}
                    </td>
                    <td>
                      {upstream.routes.map((route) => (
                        <div key={route}>
                          <Link href={`/traces?route=${encodeURIComponent(route)}`}>{route}</Link>
                        </div>
                      ))}
                    </td>
                    <td className="number">{count(metrics?.duration.count ?? 0)}</td>
                    <td className="number">
                      {count(metrics?.active ?? 0)} <span className="quiet">of {count(upstream.max_requests)}</span>
                    </td>
                    <td className="number">{called ? milliseconds(metrics!.duration.p50_ms) : "–"}</td>
                    <td className="number">{called ? milliseconds(metrics!.duration.p99_ms) : "–"}</td>
                    <td className="number">{count(metrics?.connects ?? 0)}</td>
                    <td>
                      <span className="chips">
                        {metrics?.failures.map(([reason, failures]) => (
                          <span className="badge bad" key={reason}>
                            {reason} {count(failures)}
                          </span>
                        ))}
                        {!metrics?.failures.length && <span className="quiet">none</span>}
                      </span>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}
