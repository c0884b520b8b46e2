import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { type Edit, type Exporter as Fares, type Field, type Form, get, type Json, post } from "../api";
import { useOverview, useTitle } from "../app";
import { ago, bytes, count } from "../format";
import { Failure, Figure, Head, Loading, Toggle } from "../parts/basics";
import { FieldRow } from "../parts/field";
import { Save } from "../parts/save";
import { Tracing } from "../parts/tracing";
import { State } from "./overview";

const GROUPS: { title: string; note: string; open: boolean; has: (key: string) => boolean }[] = [
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
  const client = useQueryClient();
  const overview = useOverview();
  const exporter = overview.data?.exporters.find((exporter) => exporter.name === name);
  const at = ["exporters", name, "kafka"];
  const { data: form, error } = useQuery({
    queryKey: ["form", name],
    queryFn: () => get<Form>("configuration/form", new URLSearchParams(at.map((key) => ["at", key]))),
    // A form that somebody fills in does not change below their hands.
    staleTime: Number.POSITIVE_INFINITY,
  });
  const [draft, setDraft] = useState<Record<string, Json>>({});
  const [saving, setSaving] = useState<Edit[] | null>(null);
  const [tracing, setTracing] = useState(false);
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [saved, setSaved] = useState(false);
  // Controls begin anew with each.
  const [version, setVersion] = useState(0);

  const edits = useMemo(() => (form ? changes(form.fields, draft) : []), [form, draft]);
  if (!form) return error ? <Failure error={error} /> : <Loading />;
  if (exporter && exporter.kind !== "kafka") {
    return (
      <div className="stack">
        <Head title={name} note={<State exporter={exporter} />} />
        <p className="notice">This exporter sends by {exporter.kind}: it has no form here. Its keys are in the file.</p>
        <Delivery exporter={exporter} spool={overview.data?.spool ?? null} />
      </div>
    );
  }

  const enabled = form.fields.find((field) => field.key === "enabled");
  const on = (draft.enabled ?? enabled?.value ?? enabled?.default ?? true) === true;
  const known = new Set<string>(["enabled", "plugin_span_filter.mode", "plugin_span_filter.plugins"]);
  const groups = GROUPS.map((group) => {
    const fields = form.fields.filter((field) => !known.has(field.key) && group.has(field.key));
    for (const field of fields) known.add(field.key);
    return { ...group, fields };
  }).filter((group) => group.fields.length > 0);
  const change = (field: Field, value: Json) => {
    setSaved(false);
    setFaults(({ [field.key]: _, ...others }) => others);
    setDraft((before) => ({ ...before, [field.key]: value }));
  };
  const reload = async () => {
    await client.invalidateQueries({ queryKey: ["form", name] });
    await client.invalidateQueries({ queryKey: ["overview"] });
  };

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
            onChange={(value) => change(enabled, value)}
          />
        )}
      </Head>
      {form.read_only && <p className="notice">{form.read_only}. Save shows the YAML to copy.</p>}
      {exporter && <Delivery exporter={exporter} spool={overview.data?.spool ?? null} />}
      <form
        className="form"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setSaving(edits);
        }}
      >
        {groups.map((group) => (
          <details key={group.title} className="panel group" open={group.open || group.fields.some((field) => faults[field.key])}>
            <summary>
              <h2>{group.title}</h2> <span className="quiet">{group.note}</span>
            </summary>
            {group.fields.map((field) => (
              <FieldRow
                key={`${field.key} ${version}`}
                field={field}
                value={draft[field.key]}
                fault={faults[field.key]}
                locked={locked(field)}
                onChange={(value) => change(field, value)}
              />
            ))}
          </details>
        ))}
        <div className="save-bar">
          <span className="note quiet" role="status">
            {saved && edits.length === 0
              ? "Saved and reloaded"
              : edits.length === 0
                ? "Nothing changed"
                : edits.length === 1
                  ? "1 change"
                  : `${edits.length} changes`}
          </span>
          {edits.length > 0 && (
            <button
              type="button"
              onClick={() => {
                setDraft({});
                setVersion(version + 1);
              }}
            >
              Discard
            </button>
          )}
          <Test name={name} edits={edits} configured={exporter !== undefined} />
          <button type="submit" className="primary" disabled={edits.length === 0}>
            Save Kafka Configuration
          </button>
        </div>
      </form>
      {tracing && (
        <Tracing
          form={form}
          plugins={overview.data?.plugins ?? []}
          onClose={() => setTracing(false)}
          onSave={(edits) => {
            setTracing(false);
            setSaving(edits);
          }}
        />
      )}
      {saving && (
        <Save
          digest={form.digest}
          edits={saving}
          onFaults={(found) => {
            const prefix = `exporters.${name}.kafka.`;
            const own = found.filter((fault) => fault.path.startsWith(prefix));
            setFaults(Object.fromEntries(own.map((fault) => [fault.path.slice(prefix.length).replace(/\[\d+\]$/, ""), fault.message])));
          }}
          onClose={() => setSaving(null)}
          onReload={() => void reload()}
          onSaved={async () => {
            setSaving(null);
            setFaults({});
            await reload();
            setDraft({});
            setVersion(version + 1);
            setSaved(true);
          }}
        />
      )}
    </div>
  );
}

/** Why a value cannot be changed in the file. */
export function locked(field: Field): string | null {
  const { origin } = field;
  if (origin.kind === "override") return `Set by --set ${origin.name}, which rules over the file`;
  if (origin.kind === "environment") return `Set by the variable ${origin.name}, which rules over the file`;
  return null;
}

/** What was changed, as edits; nothing and the default are no value. */
function changes(fields: Field[], draft: Record<string, Json>): Edit[] {
  return fields.flatMap((field) => {
    const value = draft[field.key];
    if (value === undefined) return [];
    const nothing = value === "" || (Array.isArray(value) && value.length === 0);
    const wanted = nothing ? null : value;
    const unwritten = field.value === null && !field.hidden;
    if (JSON.stringify(wanted) === JSON.stringify(field.value) && !field.hidden) return [];
    if (wanted === null && unwritten) return [];
    if (unwritten && JSON.stringify(wanted) === JSON.stringify(field.default)) return [];
    return [{ path: field.path, value: wanted }];
  });
}

function Delivery({ exporter, spool }: { exporter: Fares; spool: { bytes: number; max_bytes: number } | null }) {
  const dropped = Object.entries(exporter.dropped);
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
          value={count(dropped.reduce((sum, [, dropped]) => sum + dropped, 0))}
          note={dropped.map(([reason, dropped]) => `${reason} ${dropped}`).join(", ") || "none"}
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
