import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { post, type Route, type Sent } from "../api";
import { milliseconds } from "../format";
import { useAnswer } from "./answer";
import { Failure, Status } from "./basics";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** A request through Weir, whose trace opens when it has ended. */
export function Send({ kept }: { kept: boolean }) {
  const [, navigate] = useLocation();
  const routes = useAnswer<{ routes: Route[] }>("routes", {});
  const suggested = example(routes.data?.routes ?? []);
  const [method, setMethod] = useState("GET");
  const [url, setUrl] = useState<string | null>(null);
  const [headers, setHeaders] = useState("");
  const sending = useMutation({
    mutationFn: () => post<Sent>("requests", { method, url: url ?? suggested, headers: fields(headers) }),
    onSuccess: (sent) => kept && navigate(`/traces/${sent.trace_id}`),
  });
  return (
    <section className="panel send" aria-label="Send a request">
      <h2>Send a request</h2>
      <form
        className="filters"
        onSubmit={(event) => {
          event.preventDefault();
          sending.mutate();
        }}
      >
        <label>
          Method
          <select value={method} onChange={(event) => setMethod(event.target.value)}>
            {METHODS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label className="wide">
          Path, or URL with host
          <input value={url ?? suggested} spellCheck={false} onChange={(event) => setUrl(event.target.value)} />
        </label>
        <label className="wide">
          Headers, one a line
          <textarea
            rows={1}
            value={headers}
            spellCheck={false}
            placeholder="x-api-key: …"
            onChange={(event) => setHeaders(event.target.value)}
          />
        </label>
        <button type="submit" className="primary" disabled={sending.isPending}>
          {sending.isPending ? "Sending…" : kept ? "Send, and open its trace" : "Send"}
        </button>
      </form>
      {sending.error && <Failure error={sending.error} />}
      {sending.data && (
        <p role="status">
          <Status status={sending.data.status} /> after {milliseconds(sending.data.duration_ms)}
          {kept && (
            <>
              {" "}
              · <Link href={`/traces/${sending.data.trace_id}`}>its trace</Link>
            </>
          )}
        </p>
      )}
    </section>
  );
}

/** A path that the first route takes. */
function example(routes: Route[]): string {
  const match = routes[0]?.match;
  const path = (match?.path ?? "/").replace(/\*$/, "").replace(/[{}]/g, "");
  const host = match?.host?.replace(/^\*\./, "www.");
  return host ? `http://${host}${path}` : path;
}

function fields(text: string): Record<string, string> {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf(":");
      return at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}
