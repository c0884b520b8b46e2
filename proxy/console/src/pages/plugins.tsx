import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { get, type HookMetrics, type Page, type Plugin as Configured } from "../api";
import { useTitle } from "../app";
import { bytes, count, milliseconds } from "../format";
import { Empty, Failure, Figure, Head, Loading } from "../parts/basics";
import { Rows } from "./traces";

function usePlugins() {
  return useQuery({
    queryKey: ["plugins"],
    queryFn: () => get<{ plugins: Configured[] }>("plugins"),
    refetchInterval: 3000,
  });
}

export function Plugins() {
  useTitle("Plugins");
  const { data, error } = usePlugins();
  if (!data) return error ? <Failure error={error} /> : <Loading />;
  return (
    <div className="stack">
      <Head title="Plugins" />
      {data.plugins.length === 0 ? (
        <Empty title="No plugin is configured">
          <p>Plugins are sandboxed WebAssembly; each of their hooks is a span in every trace. Three come with Weir:</p>
          <pre className="code" tabIndex={0}>{"plugins:\n  request-id: { module: builtin:request-id }\nroutes:\n  - upstream: api\n    plugins: [request-id]"}</pre>
        </Empty>
      ) : (
        <div className="panel scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Plugin</th>
                <th scope="col">Module</th>
                <th scope="col">Hook</th>
                <th scope="col" className="number">
                  Calls
                </th>
                <th scope="col" className="number">
                  p50
                </th>
                <th scope="col" className="number">
                  p99
                </th>
                <th scope="col">Failures</th>
              </tr>
            </thead>
            <tbody>
              {data.plugins.flatMap((plugin) => {
                const hooks = plugin.hooks.length > 0 ? plugin.hooks : [""];
                return hooks.map((hook, index) => {
                  const metrics = plugin.metrics.find((of) => of.hook === hook);
                  return (
                    <tr key={`${plugin.key} ${hook}`}>
                      {index === 0 && (
                        <>
                          <th scope="row" rowSpan={hooks.length}>
                            <Link href={`/plugins/${encodeURIComponent(plugin.name)}`}>{plugin.key}</Link>
                          </th>
                          <td rowSpan={hooks.length} className="clip">
                            <code>{plugin.module}</code>
                          </td>
                        </>
                      )}
                      <td>{hook || <span className="quiet">none</span>}</td>
                      <Measured metrics={metrics} />
                    </tr>
                  );
                });
              })}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

function Measured({ metrics }: { metrics?: HookMetrics }) {
  return (
    <>
      <td className="number">{count(metrics?.duration.count ?? 0)}</td>
      <td className="number">{metrics ? milliseconds(metrics.duration.p50_ms) : "–"}</td>
      <td className="number">{metrics ? milliseconds(metrics.duration.p99_ms) : "–"}</td>
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
    </>
  );
}

export function Plugin({ name }: { name: string }) {
  useTitle(`Plugin ${name}`);
  const { data, error } = usePlugins();
  const traces = useQuery({
    queryKey: ["traces of", name],
    queryFn: () => get<Page>("traces", new URLSearchParams({ plugin: name, limit: "20" })),
    refetchInterval: 3000,
  });
  if (!data) return error ? <Failure error={error} /> : <Loading />;
  const plugin = data.plugins.find((plugin) => plugin.name === name || plugin.key === name);
  if (!plugin) {
    return (
      <Empty title={`No plugin is called ${name}`}>
        <p>
          <Link href="/plugins">See those that are configured</Link>
        </p>
      </Empty>
    );
  }
  return (
    <div className="stack">
      <Head title={plugin.key} note={<code>{plugin.module}</code>} />
      <dl className="figures">
        <Figure label="When it fails" value={plugin.on_error === "reject" ? "Reject, 500" : "Continue without"} />
        <Figure label="Memory limit" value={bytes(plugin.limits.memory)} note="an instance" />
        <Figure label="CPU limit" value={milliseconds(plugin.limits.cpu_ms)} note="a hook" />
        <Figure label="Time limit" value={milliseconds(plugin.limits.wall_ms)} note="a hook, waiting included" />
      </dl>
      <section className="panel">
        <h2>Hooks</h2>
        <div className="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Hook</th>
                <th scope="col" className="number">
                  Calls
                </th>
                <th scope="col" className="number">
                  p50
                </th>
                <th scope="col" className="number">
                  p99
                </th>
                <th scope="col">Failures</th>
              </tr>
            </thead>
            <tbody>
              {plugin.hooks.map((hook) => (
                <tr key={hook}>
                  <th scope="row">{hook}</th>
                  <Measured metrics={plugin.metrics.find((of) => of.hook === hook)} />
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        <p className="quiet wrap">
          Runs on {plugin.listeners.length > 0 && `every request of ${plugin.listeners.join(", ")}`}
          {plugin.listeners.length > 0 && plugin.routes.length > 0 && " and "}
          {plugin.routes.length > 0 && `the routes ${plugin.routes.join(", ")}`}
          {plugin.listeners.length + plugin.routes.length === 0 && "nothing: no listener and no route names it"}.
          <br />
          Module digest <code>{plugin.digest}</code>
          {plugin.pinned ? ", pinned in the configuration" : ""}
        </p>
      </section>
      <section className="stack">
        <header className="head" style={{ marginBottom: 0 }}>
          <h2>Its latest traces</h2>
          <Link href={`/traces?plugin=${encodeURIComponent(plugin.name)}`}>All</Link>
        </header>
        {traces.data && traces.data.traces.length > 0 ? (
          <Rows rows={traces.data.traces} />
        ) : (
          <p className="quiet">None that is kept here.</p>
        )}
      </section>
    </div>
  );
}
