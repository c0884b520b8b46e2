import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { type DiffLine, type Edit, type Fault, post, type Preview, Problem } from "../api";
import { Copy, Failure, Loading, Sheet } from "./basics";
import { yaml } from "./yaml";

/** What a save would change in the file; nothing is written before somebody has seen it. */
export function Save(props: {
  digest: string;
  edits: Edit[];
  onFaults: (faults: Fault[]) => void;
  onClose: () => void;
  onReload: () => void;
  onSaved: () => void;
}) {
  const { digest, edits, onFaults } = props;
  const { data: preview, error } = useQuery({
    queryKey: ["preview", digest, edits],
    queryFn: () => post<Preview>("configuration/preview", { digest, edits }),
    gcTime: 0,
  });
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Error | null>(null);
  useEffect(() => {
    if (preview) onFaults(preview.faults);
    // Told once a preview, whoever listens.
  }, [preview]);
  const save = async () => {
    setBusy(true);
    setFailure(null);
    try {
      await post("configuration/save", { digest, edits });
      props.onSaved();
    } catch (error) {
      setFailure(error as Error);
      if (error instanceof Problem) onFaults(error.faults);
    } finally {
      setBusy(false);
    }
  };
  const byHand = (preview?.read_only || error) && yaml(edits);
  const conflict = preview?.conflict || (failure instanceof Problem && failure.status === 409);
  const ready = preview && preview.faults.length === 0 && !conflict && !preview.read_only && preview.changes;
  return (
    <Sheet
      wide
      title={byHand ? "What to write into the file" : "Save to the file"}
      onClose={props.onClose}
      footer={
        <>
          <button type="button" onClick={props.onClose}>
            {byHand ? "Close" : "Back"}
          </button>
          {!byHand && (
            <button type="button" className="primary" disabled={!ready || busy} onClick={() => void save()}>
              {busy ? "Saving…" : "Write and reload"}
            </button>
          )}
        </>
      }
    >
      <div className="stack">
        {error && <Failure error={error} />}
        {!preview && !error && <Loading />}
        {failure && !conflict && <Failure error={failure} />}
        {conflict && (
          <div className="notice warn" role="alert">
            <p>The file was changed by somebody else since this page read it.</p>
            <button
              type="button"
              onClick={() => {
                props.onReload();
                props.onClose();
              }}
            >
              Read the file anew, and keep what I entered
            </button>
          </div>
        )}
        {preview?.read_only && <p className="notice">{preview.read_only}</p>}
        {byHand && (
          <>
            <p>
              Put this into the file yourself, then reload. <Copy text={byHand} label="Copy YAML" />
            </p>
            <pre className="code" tabIndex={0}>{byHand}</pre>
          </>
        )}
        {preview?.faults.map((fault) => (
          <p key={`${fault.path} ${fault.message}`} className="notice bad" role="alert">
            <code>{fault.path}</code> {fault.message}
            {fault.hint && <span className="quiet"> · {fault.hint}</span>}
          </p>
        ))}
        {preview?.warnings.map((fault) => (
          <p key={`${fault.path} ${fault.message}`} className="notice warn">
            <code>{fault.path}</code> {fault.message}
          </p>
        ))}
        {preview && !preview.read_only && <Difference lines={preview.difference} changes={preview.changes} />}
      </div>
    </Sheet>
  );
}

export function Difference({ lines, changes }: { lines: DiffLine[]; changes: boolean }) {
  if (lines.length === 0) {
    return <p className="quiet">{changes ? "Only secrets change, which are not shown." : "The file says so already."}</p>;
  }
  const name: Record<string, string> = { "+": "add", "-": "del" };
  return (
    <div className="diff" role="region" aria-label="Difference" tabIndex={0}>
      {lines.map((line, index) => (
        <div key={index} className={name[line.sign]}>
          <span>{line.number}</span>
          <span>{line.sign}</span>
          <span>{line.text}</span>
        </div>
      ))}
    </div>
  );
}
