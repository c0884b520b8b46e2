import { useId } from "react";
import type { Field, Json } from "../api";
import { Toggle } from "./basics";

/** One key of the configuration: its name, what it is for, and a control that fits its type. */
export function FieldRow(props: {
  field: Field;
  /** What somebody entered; undefined where nothing was. */
  value: Json | undefined;
  fault?: string;
  locked: string | null;
  onChange: (value: Json) => void;
}) {
  const { field, fault, locked } = props;
  const id = useId();
  const value = props.value === undefined ? field.value : props.value;
  const hint = `${id}-hint`;
  const common = {
    id,
    disabled: locked !== null,
    "aria-describedby": hint,
    "aria-invalid": fault ? true : undefined,
    "aria-required": field.required || undefined,
  };
  return (
    <div className="field">
      {field.kind === "boolean" || isElsewhere(field) ? (
        <span className="label">{field.key}</span>
      ) : (
        <label htmlFor={id}>
          {field.key}
          {field.required && <small> required</small>}
        </label>
      )}
      <div className="control">
        <Control {...props} value={value} common={common} />
        {fault && <p className="error">{fault}</p>}
        <p className="hint" id={hint}>
          {locked ?? <Described text={field.description} />}
          {!locked && field.origin.kind === "file" && props.value === undefined && ` Line ${field.origin.line} of the file.`}
        </p>
      </div>
    </div>
  );
}

/** Whether it is no single control, but a part of the file. */
function isElsewhere(field: Field): boolean {
  return field.kind === "other" && field.unit === null;
}

/** What stands between backticks is code. */
function Described({ text }: { text: string }) {
  return text.split("`").map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part));
}

function Control(props: {
  field: Field;
  value: Json;
  onChange: (value: Json) => void;
  common: { id: string; disabled: boolean };
}) {
  const { field, value, onChange, common } = props;
  const standard = typeof field.default === "object" ? "" : String(field.default);
  switch (field.kind) {
    case "boolean":
      return (
        <Toggle
          label={field.key}
          hideLabel
          checked={(value ?? field.default) === true}
          disabled={common.disabled}
          onChange={onChange}
        />
      );
    case "choice":
      return (
        <select {...common} value={typeof value === "string" ? value : ""} onChange={(event) => onChange(event.target.value)}>
          <option value="">{standard ? `${standard} (default)` : "none"}</option>
          {field.options
            .filter((option) => option !== standard || value === option)
            .map((option) => (
              <option key={option}>{option}</option>
            ))}
        </select>
      );
    case "integer":
    case "number":
      return (
        <input
          {...common}
          type="number"
          step={field.kind === "integer" ? 1 : "any"}
          placeholder={standard}
          value={typeof value === "number" ? value : ""}
          onChange={(event) => onChange(event.target.value === "" ? "" : event.target.valueAsNumber)}
        />
      );
    case "list": {
      const items = Array.isArray(value) ? value.map(String) : [];
      return (
        <textarea
          {...common}
          rows={Math.min(Math.max(items.length, 1) + 1, 8)}
          spellCheck={false}
          placeholder={field.hidden ? "written in the file, not shown; what you enter replaces it" : "one on each line"}
          defaultValue={items.join("\n")}
          onChange={(event) => {
            const lines = event.target.value.split("\n").map((line) => line.trim());
            onChange(lines.filter((line) => line !== ""));
          }}
        />
      );
    }
    case "map":
      return (
        <textarea
          {...common}
          rows={3}
          spellCheck={false}
          placeholder={field.hidden ? "written in the file, not shown; what you enter replaces it" : "name=value, one on each line"}
          defaultValue={Object.entries((value as Record<string, Json> | null) ?? {})
            .map(([key, value]) => `${key}=${String(value)}`)
            .join("\n")}
          onChange={(event) => {
            const pairs = event.target.value.split("\n").filter((line) => line.includes("="));
            onChange(
              pairs.length === 0
                ? ""
                : Object.fromEntries(pairs.map((line) => [line.split("=")[0]!.trim(), line.slice(line.indexOf("=") + 1).trim()])),
            );
          }}
        />
      );
    case "other":
      if (isElsewhere(field)) {
        return (
          <p className="quiet">
            {field.hidden || field.value !== null ? "Written in the file, and changed there: it is more than one value." : "To be written in the file: it is more than one value."}
          </p>
        );
      }
    // Falls through: a value with a unit is one line.
    default:
      return (
        <input
          {...common}
          type="text"
          autoComplete="off"
          spellCheck={false}
          placeholder={field.hidden ? "written in the file, not shown" : field.secret ? "env.NAME" : standard}
          value={typeof value === "string" ? value : ""}
          onChange={(event) => onChange(event.target.value)}
        />
      );
  }
}
