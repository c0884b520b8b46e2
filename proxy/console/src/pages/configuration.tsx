import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type DiffLine, type Fault, type Load, reload } from "../api";
import { useTitle } from "../app";
import { Unanswered, useAnswer } from "../parts/answer";
import { clock, day } from "../format";
import { Failure, Head, Toggle } from "../parts/basics";
import { Difference } from "../parts/save";
import { Table } from "../parts/table";

interface Answer {
  file: string;
  generation: number;
  read_only: string | null;
  /** Why no reload can be asked for; `read_only` says the same then. */
  no_reload: string | null;
  text: string | null;
  faults: Fault[];
  pending: boolean;
  /** From what is served to what the file says now. */
  difference: DiffLine[];
  /** The newest first. */
  loads: Load[];
}

export function Configuration() {
  useTitle("Configuration");
  const [written, setWritten] = useState(false);
  const client = useQueryClient();
  const { data, error } = useAnswer<Answer>("configuration", { every: 5000 });
  const reloading = useMutation({ mutationFn: reload, onSettled: () => client.invalidateQueries() });
  if (!data) return <Unanswered title="Configuration" error={error} />;
  const lines = (data.text ?? "").split("\n").filter((line) => line !== "").map(split);
  const shown = written ? lines.filter((line, index) => line.source !== "default" && !onlyDefaults(lines, index)) : lines;
  return (
    <div className="stack">
      <Head
        title="Configuration"
        note={
          <>
            <code>{data.file}</code>, generation {data.generation}
          </>
        }
      >
        {data.no_reload === null && (
          <button type="button" disabled={reloading.isPending} onClick={() => reloading.mutate()}>
            {reloading.isPending ? "Reloading…" : "Reload"}
          </button>
        )}
      </Head>
      {data.read_only && <p className="notice">{data.read_only}</p>}
      {data.pending && (
        <p className="notice warn">The file says something else than what is served: it was changed and not reloaded.</p>
      )}
      {/* What a reload found wrong with the file is told below. */}
      {reloading.error && data.faults.length === 0 && <Failure error={reloading.error} />}
      {data.faults.map((fault) => (
        <p key={`${fault.path} ${fault.message}`} className="notice bad">
          Line {fault.line}: <code>{fault.path}</code> {fault.message}
          {fault.hint && <span className="quiet"> {fault.hint}</span>}
        </p>
      ))}
      {data.difference.length > 0 && (
        <section className="panel">
          <h2>From what is served to what the file says now</h2>
          <Difference lines={data.difference} changes />
        </section>
      )}
      <Loads loads={data.loads} />
      {data.text !== null && (
        <section className="panel" aria-label="What is in force">
          <header>
            <h2>What is written, and the default of what is not</h2>
            <Toggle label="Only what is written" checked={written} onChange={setWritten} />
          </header>
          <div className="yaml" tabIndex={0} style={{ padding: "8px 0" }}>
            {shown.map((line, index) => (
              <div key={index} className={line.source === "default" || line.source === "" ? "row" : "row set"}>
                <span className="text">{line.text}</span>
                <span className="source" title={line.source}>
                  {short(line.source, data.file)}
                </span>
              </div>
            ))}
          </div>
        </section>
      )}
    </div>
  );
}

function Loads({ loads }: { loads: Load[] }) {
  const today = day(Date.now() * 1000);
  return (
    <section className="panel">
      <h2>Generations</h2>
      <Table
        label="Generations"
        headed
        rows={loads}
        rowKey={(_, index) => loads.length - index}
        columns={[
          { name: "Generation", cell: (load) => load.generation },
          {
            name: "Since",
            className: "mono nowrap",
            cell: (load) => `${day(load.at_us) === today ? "" : `${day(load.at_us)} `}${clock(load.at_us).slice(0, 8)}`,
          },
          {
            name: "What happened",
            className: "wrap",
            cell: (load, index) =>
              load.refused !== null ? (
                <>
                  <span className="state bad">A reload changed nothing</span> <pre className="said">{load.refused}</pre>
                </>
              ) : (
                <span className={index === 0 ? "state good" : "quiet"}>{load.generation === 1 ? "Started" : "Reloaded"}</span>
              ),
          },
        ]}
      />
    </section>
  );
}

interface Line {
  text: string;
  source: string;
  depth: number;
}

/** Sources stand in comments, which a value of ours has none of. */
function split(line: string): Line {
  const at = line.lastIndexOf("  # ");
  const text = at < 0 ? line : line.slice(0, at);
  const source = at < 0 ? "" : line.slice(at + 4).split("; librdkafka")[0]!;
  return { text, source, depth: line.length - line.trimStart().length };
}

/** A heading below which nothing is written. */
function onlyDefaults(lines: Line[], index: number): boolean {
  const line = lines[index]!;
  if (line.source !== "") return false;
  for (let next = index + 1; next < lines.length && lines[next]!.depth > line.depth; next += 1) {
    const { source } = lines[next]!;
    if (source !== "" && source !== "default") return false;
  }
  return true;
}

function short(source: string, file: string): string {
  return source.startsWith(`${file}:`) ? `line ${source.slice(file.length + 1)}` : source;
}
