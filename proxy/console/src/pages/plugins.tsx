import { Link } from "wouter";
import type { HookMetrics, LogLine, Page, Plugin as Configured } from "../api";
import { useTitle } from "../app";
import { bytes, clock, count, milliseconds, several } from "../format";
import { Answered, useAnswer } from "../parts/answer";
import { Empty, Figure, Head, Level } from "../parts/basics";
import { Fields, type Group, useForm } from "../parts/form";
import { latency, Reasons, Table } from "../parts/table";
import { Rows } from "./traces";

function usePlugins() {
  return useAnswer<{ plugins: Configured[] }>("plugins", { every: 3000 });
}

export function Plugins() {
  useTitle("Plugins");
  return (
    <Answered title="Plugins" of={usePlugins()}>
      {({ plugins }) => (
        <div className="stack">
          <Head title="Plugins" note="sandboxed WebAssembly; each of their hooks is a span in every trace" />
          {plugins.length === 0 ? (
            <Empty title="No plugin is configured">
              <p>Some come with Weir; name one, and a route or listener that runs it.</p>
              <pre className="code" tabIndex={0}>{"plugins:\n  request-id: { module: builtin:request-id }\nroutes:\n  - upstream: api\n    plugins: [request-id]"}</pre>
            </Empty>
          ) : (
            <section className="panel" aria-label="Hooks of all plugins">
              <Table
                headed
                rows={plugins.flatMap((plugin) => hooks(plugin).map((hook, index) => ({ plugin, hook, first: index === 0 })))}
                rowKey={({ plugin, hook }) => `${plugin.key} ${hook?.hook}`}
                columns={[
                  {
                    name: "Plugin",
                    cell: ({ plugin, first }) =>
                      first ? (
                        <Link href={`/plugins/${encodeURIComponent(plugin.name)}`}>{plugin.key}</Link>
                      ) : (
                        <span className="visually-hidden">{plugin.key}</span>
                      ),
                  },
                  { name: "Hook", cell: ({ hook }) => hook?.hook ?? <span className="quiet">none</span> },
                  { name: "Module", className: "clip mono quiet", less: true, cell: ({ plugin, first }) => first && plugin.module },
                  { name: "Runs on", className: "clip quiet", less: true, cell: ({ plugin, first }) => first && ([...plugin.listeners, ...plugin.routes].join(", ") || "nothing") },
                  ...latency<{ hook?: Hook }>("Calls", ({ hook }) => hook?.metrics?.duration),
                  { name: "Failures", cell: ({ hook }) => <Reasons of={hook?.metrics?.failures ?? []} /> },
                  {
                    name: "Breaker",
                    cell: ({ plugin, first }) =>
                      first && (plugin.breaker.open > 0 ? <span className="badge bad">open</span> : <span className="quiet">closed</span>),
                  },
                ]}
              />
            </section>
          )}
        </div>
      )}
    </Answered>
  );
}

interface Hook {
  hook: string;
  metrics?: HookMetrics;
}

/** At least one row for each plugin. */
function hooks(plugin: Configured): (Hook | undefined)[] {
  const all = plugin.hooks.map((hook) => ({ hook, metrics: plugin.metrics.find((of) => of.hook === hook) }));
  return all.length > 0 ? all : [undefined];
}

export function Plugin({ name }: { name: string }) {
  useTitle(`Plugin ${name}`);
  return (
    <Answered title={name} of={usePlugins()}>
      {({ plugins }) => {
        const plugin = plugins.find((plugin) => plugin.name === name || plugin.key === name);
        return plugin ? (
          <One plugin={plugin} />
        ) : (
          <Empty title={`No plugin is called ${name}`}>
            <p>
              <Link href="/plugins">See those that are configured</Link>
            </p>
          </Empty>
        );
      }}
    </Answered>
  );
}

function One({ plugin }: { plugin: Configured }) {
  const runs = [
    ...plugin.listeners.map((listener) => `every request of ${listener}`),
    ...plugin.routes.map((route) => `route ${route}`),
  ];
  return (
    <div className="stack">
      <Head title={plugin.key} note={<code>{plugin.module}</code>} />
      {plugin.breaker.open > 0 && (
        <p className="notice bad" role="alert">
          Its breaker is open in {plugin.breaker.open} of {several(plugin.workers, "worker")}: after{" "}
          {several(plugin.breaker.failures, "failure")} in a row its hooks are not called, but for one each {milliseconds(plugin.breaker.pause_ms)} to try.
        </p>
      )}
      <dl className="figures">
        <Figure
          label="Instances"
          value={count(plugin.instances)}
          note={
            (plugin.isolation === "shared" ? "warm, over all workers" : "a fresh one for each request") +
            (plugin.configurations > 1 ? `; of ${several(plugin.configurations, "configuration")}` : "")
          }
        />
        <Figure label="Memory" value={bytes(plugin.memory)} note={`at most ${bytes(plugin.limits.memory)} an instance`} />
        <Figure
          label="Breaker"
          value={plugin.breaker.failures === 0 ? "Off" : plugin.breaker.open > 0 ? "Open" : "Closed"}
          note={plugin.breaker.failures === 0 ? "it is always called" : `opens after ${several(plugin.breaker.failures, "failure")} in a row`}
        />
        <Figure
          label="When a hook fails"
          value={plugin.on_error === "reject" ? "Reject" : "Go on"}
          note={plugin.on_error === "reject" ? "the request gets a 500" : "as if the hook were not there"}
        />
        <Figure
          label="Limits of a hook"
          value={milliseconds(plugin.limits.cpu_ms)}
          note={`of CPU; ${milliseconds(plugin.limits.wall_ms)} with waiting`}
        />
      </dl>
      <section className="panel">
        <h2>Hooks</h2>
        <Table
          label="Hooks"
          headed
          rows={hooks(plugin)}
          rowKey={(hook) => hook?.hook ?? ""}
          columns={[
            { name: "Hook", cell: (hook) => hook?.hook ?? "none" },
            ...latency<Hook | undefined>("Calls", (hook) => hook?.metrics?.duration),
            { name: "Failures", cell: (hook) => <Reasons of={hook?.metrics?.failures ?? []} /> },
          ]}
        />
        <p className="quiet wrap">
          Runs on {runs.join(", ") || "nothing: no listener and no route names it"}.
          <br />
          {plugin.kind === "module" ? "Core module" : "Component"}, SHA-256 <code>{plugin.digest}</code>
          {plugin.pinned ? ", pinned in the configuration" : ""}
        </p>
      </section>
      <Logs plugin={plugin} />
      <Traces plugin={plugin} />
      <Form key={plugin.key} name={plugin.key} />
    </div>
  );
}

function Logs({ plugin }: { plugin: Configured }) {
  const { data, error } = useAnswer<{ lines: LogLine[] }>(`plugins/${encodeURIComponent(plugin.key)}/logs`, { every: 3000 });
  const lines = data?.lines ?? [];
  return (
    <section className="panel">
      <h2>Log</h2>
      {error ? (
        <p className="quiet">Lines show here where recent traces are kept.</p>
      ) : lines.length === 0 ? (
        <p className="quiet">It wrote no line during recent requests.</p>
      ) : (
        <div className="log" tabIndex={0} role="region" aria-label="Log">
          <Table
            label="Lines"
            rows={lines}
            rowKey={(_, index) => index}
            columns={[
              { name: "Time", className: "mono nowrap", cell: (line) => clock(line.at_us) },
              { name: "Level", cell: (line) => <Level level={line.level} /> },
              { name: "Message", className: "wrap", cell: (line) => line.message },
              { name: "Trace", className: "mono nowrap", cell: (line) => <Link href={`/traces/${line.trace_id}`}>{line.trace_id.slice(0, 8)}</Link> },
            ]}
          />
        </div>
      )}
    </section>
  );
}

function Traces({ plugin }: { plugin: Configured }) {
  const traces = useAnswer<Page>("traces", { query: { plugin: plugin.name, limit: "8" }, every: 3000 });
  return (
    <section className="stack" aria-label="Traces of the plugin">
      <header className="head">
        <h2>Its latest traces</h2>
        <Link href={`/traces?plugin=${encodeURIComponent(plugin.name)}`}>All of them</Link>
      </header>
      {traces.data && traces.data.traces.length > 0 ? (
        <Rows rows={traces.data.traces} />
      ) : (
        <p className="quiet">None that is kept here.</p>
      )}
    </section>
  );
}

const GROUPS: Group[] = [
  {
    title: "Its own configuration",
    note: "by the schema that the plugin has; what may be a secret is not shown",
    open: true,
    has: (key) => key === "config" || key.startsWith("config."),
  },
  {
    title: "How Weir runs it",
    note: "module, failures and limits",
    open: false,
    has: () => true,
  },
];

function Form({ name }: { name: string }) {
  const form = useForm(["plugins", name]);
  if (!form.form) return null;
  return (
    <>
      {form.form.read_only && <p className="notice">{form.form.read_only}. Save shows the YAML to copy.</p>}
      <Fields of={form} groups={GROUPS} action="Save plugin" />
    </>
  );
}
