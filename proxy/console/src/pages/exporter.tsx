import { useState } from "react";
import { Link } from "wouter";
import { type Edit, type Exporter as Fares, type Page, post } from "../api";
import { useOverview, useTitle } from "../app";
import { ago, bytes, count, listed, sum } from "../format";
import { Unanswered, useAnswer } from "../parts/answer";
import { Figure, Head, Toggle } from "../parts/basics";
import { State } from "../parts/exporter";
import { Fields, type Group, locked, useForm } from "../parts/form";
import { Message } from "../parts/message";
import { Tracing } from "../parts/tracing";

const GROUPS: Group[] = [
  {
    title: "Connection",
    note: "where messages go, and what they are",
    open: true,
    has: (key) => ["brokers", "topic", "format", "auto_create_topic"].includes(key),
  },
  {
    title: "TLS and SASL",
    note: "secrets as env.NAME: they are read from the environment, and never shown",
    open: true,
    has: (key) => /^(tls_|ca_cert|client_|sasl)/.test(key),
  },
  {
    title: "What is sent",
    note: "filters of this exporter alone",
    open: true,
    has: (key) =>
      /^(disable_content|excluded_|request_headers|redact_|sampling)/.test(key),
  },
  {
    title: "Batches",
    note: "how messages are gathered",
    open: true,
    has: (key) => ["compression", "batch_size", "flush_interval_ms", "buffer_bytes"].includes(key),
  },
  { title: "Producer", note: "librdkafka’s settings, for those who know them", open: false, has: (key) => key.startsWith("producer.") },
  { title: "More", note: "", open: true, has: () => true },
];

export function Exporter({ name }: { name: string }) {
  useTitle(`Kafka ${name}`);
  const overview = useOverview();
  const exporter = overview.data?.exporters.find((exporter) => exporter.name === name);
  const form = useForm(["exporters", name, "kafka"]);
  const [tracing, setTracing] = useState(false);
  if (exporter && exporter.kind !== "kafka") {
    return (
      <div className="stack">
        <Head title={name} note={<State exporter={exporter} />} />
        <p className="notice">This exporter sends by {exporter.kind}: it has no form here. Its keys are in the file.</p>
        <Delivery exporter={exporter} spool={overview.data?.spool ?? null} />
      </div>
    );
  }
  if (!form.form) return <Unanswered title={name} error={form.error} />;

  const { fields, read_only } = form.form;
  const enabled = fields.find((field) => field.key === "enabled");
  const on = (form.draft.enabled ?? enabled?.value ?? enabled?.default ?? true) === true;
  return (
    <div className="stack">
      <Head title={name} note={exporter ? <State exporter={exporter} /> : "not configured yet"}>
        <button type="button" onClick={() => setTracing(true)}>
          Configure Plugin Tracing
        </button>
        {enabled && (
          <Toggle
            label="Enabled"
            checked={on}
            disabled={locked(enabled) !== null}
            onChange={(value) => form.change(enabled, value)}
          />
        )}
      </Head>
      {read_only && <p className="notice">{read_only}. Save shows the YAML to copy.</p>}
      {exporter && <Delivery exporter={exporter} spool={overview.data?.spool ?? null} />}
      {exporter && overview.data?.store && <Latest exporter={exporter} />}
      <Fields
        of={form}
        groups={GROUPS}
        without={["enabled", "plugin_span_filter.mode", "plugin_span_filter.plugins"]}
        action="Save Kafka Configuration"
      >
        <Test name={name} edits={form.edits} configured={exporter !== undefined} />
      </Fields>
      {tracing && (
        <Tracing
          form={form.form}
          plugins={overview.data?.plugins ?? []}
          onClose={() => setTracing(false)}
          onSave={(edits) => {
            setTracing(false);
            form.save(edits);
          }}
        />
      )}
    </div>
  );
}

/** One message before and after the filters: that of the latest trace. */
function Latest({ exporter }: { exporter: Fares }) {
  const [open, setOpen] = useState(false);
  const { data } = useAnswer<Page>("traces", { query: { limit: "1" }, enabled: open });
  const trace = data?.traces[0];
  return (
    <details className="panel group" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <h2>One message</h2> <span className="quiet">what the latest trace is before this exporter’s filters, and after</span>
      </summary>
      {open && trace && (
        <Message key={trace.id} trace={trace.trace_id} request={String(trace.id)} exporter={exporter}>
          <Link href={`/traces/${trace.trace_id}?request=${trace.id}`}>
            {trace.method} {trace.path}
          </Link>
        </Message>
      )}
      {open && data && !trace && <p className="quiet">There is no trace yet: send a request through Weir.</p>}
    </details>
  );
}

function Delivery({ exporter, spool }: { exporter: Fares; spool: { bytes: number; max_bytes: number } | null }) {
  return (
    <>
      {exporter.message && (
        <p className="notice bad" role="status">
          {exporter.message}
        </p>
      )}
      <dl className="figures">
        <Figure label="Acknowledged" value={count(exporter.delivered ?? 0)} note={`of ${count(exporter.taken ?? 0)} taken`} />
        <Figure
          label="Dropped"
          value={count(sum(exporter.dropped))}
          note={listed(exporter.dropped) || "none"}
        />
        <Figure
          label="Dead letters"
          value={count(sum(exporter.dead_letters))}
          note={listed(exporter.dead_letters) || "none refused for good"}
        />
        <Figure label="Sampled out" value={count(exporter.sampled_out ?? 0)} />
        <Figure label="In memory" value={bytes(exporter.queue_bytes ?? 0)} note="waiting, or not acknowledged" />
        <Figure
          label="Oldest waits"
          value={exporter.oldest_s ? ago(exporter.oldest_s) : "–"}
          note={spool ? `spool ${bytes(spool.bytes)}` : "no spool: data_dir is not set"}
        />
      </dl>
    </>
  );
}

function Test({ name, edits, configured }: { name: string; edits: Edit[]; configured: boolean }) {
  const [state, setState] = useState<{ ok?: boolean; text: string } | null>(null);
  const test = async () => {
    setState({ text: "Connecting…" });
    try {
      const answer = await post<{ ok: boolean; message?: string; faults?: { path: string; message: string }[] }>(
        "exporters/test",
        { exporter: name, edits },
      );
      const faults = answer.faults?.map((fault) => `${fault.path} ${fault.message}`).join("; ");
      setState({ ok: answer.ok, text: answer.message ?? faults ?? "" });
    } catch (error) {
      setState({ ok: false, text: (error as Error).message });
    }
  };
  return (
    <>
      {state && (
        <span role="status" className={`state ${state.ok === undefined ? "off" : state.ok ? "good" : "bad"}`} style={{ whiteSpace: "normal" }}>
          {state.text}
        </span>
      )}
      <button type="button" onClick={() => void test()} disabled={!configured && edits.length === 0}>
        Test connection
      </button>
    </>
  );
}
