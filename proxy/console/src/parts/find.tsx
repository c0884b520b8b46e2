import type { RefObject } from "react";
import { count } from "../format";
import type { Node } from "./spans";

/** Finds spans by what they say, and goes from one to the next; of no text, from error to error. */
export function Find(props: {
  input: RefObject<HTMLInputElement | null>;
  text: string;
  found: Node[];
  chosen: string | null;
  onChange: (text: string) => void;
  onStep: (by: 1 | -1) => void;
  /** Back to the spans. */
  onLeave: () => void;
}) {
  const { text, found, chosen, onChange, onStep } = props;
  const at = found.findIndex((node) => node.span.SpanID === chosen) + 1;
  const what = text.trim() === "" ? "in error" : "found";
  const says = found.length === 0 ? (what === "found" ? "none found" : "") : `${at > 0 ? `${count(at)} of ` : ""}${count(found.length)} ${what}`;
  return (
    <div className="find" role="search" aria-label="Find spans">
      <input
        ref={props.input}
        type="search"
        aria-label="Find in spans"
        placeholder="Find in names, attributes, ids"
        spellCheck={false}
        value={text}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter") onStep(event.shiftKey ? -1 : 1);
          if (event.key === "Escape") {
            onChange("");
            props.onLeave();
          }
        }}
      />
      <button type="button" className="small" aria-label="Previous" disabled={found.length === 0} onClick={() => onStep(-1)}>
        ↑
      </button>
      <button type="button" className="small" aria-label="Next" disabled={found.length === 0} onClick={() => onStep(1)}>
        ↓
      </button>
      <span className="quiet" role="status">
        {says}
      </span>
    </div>
  );
}
