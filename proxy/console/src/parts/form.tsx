import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useMemo, useState } from "react";
import { type Edit, type Field, type Form, get, type Json } from "../api";
import { several } from "../format";
import { FieldRow } from "./field";
import { Save } from "./save";

export interface Group {
  title: string;
  note: string;
  open: boolean;
  has: (key: string) => boolean;
}

/** A part of the configuration, what somebody entered, and what that would change. */
export function useForm(at: string[]) {
  const client = useQueryClient();
  const key = ["form", ...at];
  const { data: form, error } = useQuery({
    queryKey: key,
    queryFn: () => get<Form>("configuration/form", new URLSearchParams(at.map((key) => ["at", key]))),
    // A form that somebody fills in does not change below their hands.
    staleTime: Number.POSITIVE_INFINITY,
  });
  const [draft, setDraft] = useState<Record<string, Json>>({});
  const [saving, setSaving] = useState<Edit[] | null>(null);
  const [faults, setFaults] = useState<Record<string, string>>({});
  const [saved, setSaved] = useState(false);
  // Controls begin anew with each.
  const [version, setVersion] = useState(0);
  const edits = useMemo(() => (form ? changes(form.fields, draft) : []), [form, draft]);
  const discard = () => {
    setDraft({});
    setVersion((before) => before + 1);
  };
  const reload = async () => {
    await client.invalidateQueries({ queryKey: key });
    await client.invalidateQueries({ queryKey: ["overview"] });
  };
  return {
    at,
    form,
    error,
    draft,
    edits,
    saving,
    faults,
    saved,
    version,
    discard,
    save: setSaving,
    change(field: Field, value: Json) {
      setSaved(false);
      setFaults(({ [field.key]: _, ...others }) => others);
      setDraft((before) => ({ ...before, [field.key]: value }));
    },
    dialog: form && saving && (
      <Save
        digest={form.digest}
        edits={saving}
        onFaults={(found) => {
          const prefix = `${at.join(".")}.`;
          const own = found.filter((fault) => fault.path.startsWith(prefix));
          setFaults(Object.fromEntries(own.map((fault) => [fault.path.slice(prefix.length).replace(/\[\d+\]$/, ""), fault.message])));
        }}
        onClose={() => setSaving(null)}
        onReload={() => void reload()}
        onSaved={async () => {
          setSaving(null);
          setFaults({});
          await reload();
          discard();
          setSaved(true);
        }}
      />
    ),
  };
}

/** The form itself: keys in groups, each in the first that has it, and what can be done. */
export function Fields(props: {
  of: ReturnType<typeof useForm>;
  groups: Group[];
  /** Keys that are shown elsewhere. */
  without?: string[];
  action: string;
  children?: ReactNode;
}) {
  const { form, draft, edits, faults, saved, version, change, discard, save, dialog } = props.of;
  if (!form) return null;
  const known = new Set(props.without);
  const groups = props.groups.map((group) => {
    const fields = form.fields.filter((field) => !known.has(field.key) && group.has(field.key));
    for (const field of fields) known.add(field.key);
    return { ...group, fields };
  });
  return (
    <form
      className="form"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        save(edits);
      }}
    >
      {groups
        .filter((group) => group.fields.length > 0)
        .map((group) => (
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
              : several(edits.length, "change")}
        </span>
        {edits.length > 0 && (
          <button type="button" onClick={discard}>
            Discard
          </button>
        )}
        {props.children}
        <button type="submit" className="primary" disabled={edits.length === 0}>
          {props.action}
        </button>
      </div>
      {dialog}
    </form>
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
