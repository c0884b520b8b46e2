import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { post, type Route, type RouteMatch, type Sent } from "../api";
import { milliseconds } from "../format";
import { useAnswer } from "./answer";
import { Failure, Status } from "./basics";
import { type Entered, lines, RequestFields } from "./request";

/** A request through Weir, whose trace opens when it has ended. */
export function Send({ kept }: { kept: boolean }) {
  const [, navigate] = useLocation();
  const routes = useAnswer<{ routes: Route[] }>("routes", {});
  const [entered, setEntered] = useState<Entered | null>(null);
  const request = entered ?? example(routes.data?.routes[0]?.match);
  const sending = useMutation({
    mutationFn: () => post<Sent>("requests", { ...request, headers: fields(request.headers) }),
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
        <RequestFields request={request} onChange={setEntered} />
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

/** A request that the first route takes. */
function example(match: RouteMatch | undefined): Entered {
  const path = (match?.path ?? "/").replace(/\*$/, "").replace(/[{}]/g, "");
  const host = match?.host?.replace(/^\*\./, "www.");
  return { method: match?.methods[0] ?? "GET", url: host ? `http://${host}${path}` : path, headers: "" };
}

function fields(text: string): Record<string, string> {
  return Object.fromEntries(
    lines(text).map((line) => {
      const at = line.indexOf(":");
      return at < 0 ? [line.trim(), ""] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}
