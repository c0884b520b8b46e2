import { useState } from "react";
import type { Edit, Form } from "../api";
import { Empty, Sheet, Toggle } from "./basics";

/** Which plugins' spans this exporter sends, as a switch each. An existing include list stays one. */
export function Tracing(props: {
  form: Form;
  plugins: string[];
  onClose: () => void;
  onSave: (edits: Edit[]) => void;
}) {
  const field = (key: string) => props.form.fields.find((field) => field.key === `plugin_span_filter.${key}`);
  const [modeField, listField] = [field("mode"), field("plugins")];
  const written = Array.isArray(listField?.value) ? listField.value.map(String) : null;
  const includes = modeField?.value === "include";
  const listed = new Set((written ?? []).map(normalised));
  const names = props.plugins.map(normalised);
  const [sent, setSent] = useState(() => new Set(names.filter((name) => listed.has(name) === includes)));
  const lock = [modeField, listField].find((field) => field && ["override", "environment"].includes(field.origin.kind));

  const save = () => {
    if (!modeField || !listField) return;
    // Names of plugins that are not configured now stay as they are.
    const others = (written ?? []).filter((name) => !names.includes(normalised(name)));
    const now = names.filter((name) => sent.has(name) === includes);
    const list = [...others, ...now];
    if (!includes && list.length === 0) {
      props.onSave(written === null ? [] : [{ path: modeField.path.slice(0, -1), value: null }]);
      return;
    }
    if (written === null) {
      props.onSave([{ path: modeField.path.slice(0, -1), value: { mode: "exclude", plugins: list } }]);
      return;
    }
    props.onSave([{ path: listField.path, value: list }]);
  };
  return (
    <Sheet
      title="Configure Plugin Tracing"
      onClose={props.onClose}
      footer={
        <>
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="button" className="primary" onClick={save} disabled={lock !== undefined}>
            Save
          </button>
        </>
      }
    >
      <div className="stack">
        <p className="quiet">
          A plugin that is switched off runs as before; only its spans are left out of this exporter’s messages.{" "}
          {includes
            ? "This exporter lists the plugins to include, so a new plugin starts switched off."
            : "A new plugin starts switched on."}
        </p>
        {lock && <p className="notice">The filter is set outside of the file, and cannot be changed here.</p>}
        {names.length === 0 ? (
          <Empty title="No plugin is configured" />
        ) : (
          <ul className="switches">
            {names.map((name) => (
              <li key={name}>
                <span aria-hidden="true">{name}</span>
                <Toggle
                  label={name}
                  hideLabel
                  checked={sent.has(name)}
                  disabled={lock !== undefined}
                  onChange={(on) =>
                    setSent((before) => {
                      const next = new Set(before);
                      if (on) next.add(name);
                      else next.delete(name);
                      return next;
                    })
                  }
                />
              </li>
            ))}
          </ul>
        )}
      </div>
    </Sheet>
  );
}

/** As names stand in spans. */
function normalised(name: string): string {
  return name.toLowerCase().replaceAll(" ", "-");
}
