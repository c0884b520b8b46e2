import { type ReactNode, useMemo, useState } from "react";
import type { Exporter, Json } from "../api";
import { count } from "../format";
import { useAnswer } from "./answer";
import { Copy, Failure, Loading } from "./basics";

interface Answer {
  message?: Json;
  sampled_out?: boolean;
  /** What an exporter without filters would send. */
  whole: Json;
}

type View = "sent" | "removed" | "whole";

/** The message that an exporter makes of a trace: as it is sent, and what its filters took from it. */
export function Message(props: { trace: string; request?: string | null; exporter: Exporter; children?: ReactNode }) {
  const { trace, request, exporter } = props;
  const [view, setView] = useState<View>("sent");
  const answer = useAnswer<Answer>(`traces/${trace}/message`, {
    query: { exporter: exporter.name, ...(request ? { request } : {}) },
  });
  const data = answer.data;
  const sent = useMemo(() => text(data?.message), [data]);
  const whole = useMemo(() => text(data?.whole), [data]);
  const lines = useMemo(() => (view === "removed" ? near(difference(whole, sent)) : []), [view, whole, sent]);
  return (
    <div className="message">
      <div className="toolbar">
        {props.children}
        <span className="segments" role="group" aria-label="What is shown">
          {(
            [
              ["sent", "After the filters"],
              ["removed", "What they took"],
              ["whole", "Before"],
            ] as [View, string][]
          ).map(([id, name]) => (
            <button key={id} type="button" aria-pressed={view === id} onClick={() => setView(id)}>
              {name}
            </button>
          ))}
        </span>
        <span className="quiet">
          {size(sent)} of {size(whole)} lines, {exporter.kind === "kafka" ? `to topic ${exporter.topic}` : "by OTLP"}
        </span>
        <span className="end">
          <Copy text={view === "whole" ? whole : sent} />
        </span>
      </div>
      {answer.error && <Failure error={answer.error} />}
      {!data && !answer.error && <Loading />}
      {data?.sampled_out && view !== "whole" ? (
        <p className="notice">This exporter’s sampling leaves the trace out: it sends no message for it.</p>
      ) : view === "removed" && data && sent === whole ? (
        <p className="notice">The filters take nothing from this trace.</p>
      ) : view === "removed" ? (
        <div className="diff" role="region" aria-label="What the filters took" tabIndex={0}>
          {lines.map((line, index) =>
            line === null ? (
              <div key={index} className="skip">
                <span>⋯</span>
              </div>
            ) : (
              <div key={index} className={{ "": undefined, "−": "del", "+": "add" }[line.sign]}>
                <span>{line.number}</span>
                <span>{line.sign}</span>
                <span>{line.text}</span>
              </div>
            ),
          )}
        </div>
      ) : (
        data && (
          <pre className="code" tabIndex={0} aria-label="Message">
            {view === "whole" ? whole : sent}
          </pre>
        )
      )}
    </div>
  );
}

function text(message: Json | undefined): string {
  return message === undefined ? "" : JSON.stringify(message, null, 2);
}

function size(text: string): string {
  return count(text === "" ? 0 : text.split("\n").length);
}

interface Line {
  sign: "" | "−" | "+";
  text: string;
}

/** How many lines around a change are shown. */
const AROUND = 3;

/** Changes with what is around them; null stands for what is left out. */
function near(lines: Line[]): ({ number: number } & Line | null)[] {
  const close = lines.map(() => false);
  lines.forEach((line, index) => {
    if (line.sign !== "") close.fill(true, Math.max(index - AROUND, 0), index + AROUND + 1);
  });
  return lines.flatMap((line, index) => {
    if (close[index]) return [{ ...line, number: index + 1 }];
    return index === 0 || close[index - 1] ? [null] : [];
  });
}

/** Most pairs of lines that are compared: more take too long for somebody who waits. */
const PAIRS = 4e6;

/** Lines that were taken away or changed, among those that stayed. */
function difference(before: string, after: string): Line[] {
  const [old, left] = [before.split("\n"), after.split("\n")];
  const plain = (line: string | undefined) => line?.replace(/,$/, "");
  const same = (i: number, j: number) => plain(old[i]) === plain(left[j]);
  let start = 0;
  while (start < old.length && start < left.length && same(start, start)) start += 1;
  let end = 0;
  while (end < old.length - start && end < left.length - start && same(old.length - 1 - end, left.length - 1 - end)) end += 1;
  const [rows, columns] = [old.length - start - end, left.length - start - end];
  const lengths = common(rows, columns, (i, j) => same(start + i, start + j));
  const lines: Line[] = old.slice(0, start).map((text) => ({ sign: "", text }));
  let [i, j] = [0, 0];
  while (i < rows || j < columns) {
    if (i < rows && j < columns && same(start + i, start + j)) {
      lines.push({ sign: "", text: old[start + i]! });
      i += 1;
      j += 1;
    } else if (j === columns || (i < rows && lengths(i + 1, j) >= lengths(i, j + 1))) {
      lines.push({ sign: "−", text: old[start + i]! });
      i += 1;
    } else {
      lines.push({ sign: "+", text: left[start + j]! });
      j += 1;
    }
  }
  return [...lines, ...old.slice(old.length - end).map((text): Line => ({ sign: "", text }))];
}

/** Lengths of the longest common subsequences of what follows two places. */
function common(rows: number, columns: number, same: (i: number, j: number) => boolean) {
  if (rows * columns > PAIRS) return () => 0;
  const width = columns + 1;
  const lengths = new Uint32Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i -= 1) {
    for (let j = columns - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = same(i, j)
        ? lengths[(i + 1) * width + j + 1]! + 1
        : Math.max(lengths[(i + 1) * width + j]!, lengths[i * width + j + 1]!);
    }
  }
  return (i: number, j: number) => lengths[i * width + j]!;
}
