// A request that somebody enters: to be sent, or to see where it would go.

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

export interface Entered {
  method: string;
  url: string;
  /** One a line. */
  headers: string;
}

export function RequestFields(props: { request: Entered; onChange: (request: Entered) => void }) {
  const { request, onChange } = props;
  return (
    <>
      <label>
        Method
        <select value={request.method} onChange={(event) => onChange({ ...request, method: event.target.value })}>
          {METHODS.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label className="wide">
        Path, or URL with host
        <input value={request.url} spellCheck={false} onChange={(event) => onChange({ ...request, url: event.target.value })} />
      </label>
      <label className="wide">
        Headers, one a line
        <textarea
          rows={1}
          value={request.headers}
          spellCheck={false}
          placeholder="x-api-key: …"
          onChange={(event) => onChange({ ...request, headers: event.target.value })}
        />
      </label>
    </>
  );
}

/** Lines with something on them. */
export function lines(headers: string): string[] {
  return headers.split("\n").filter((line) => line.trim() !== "");
}
