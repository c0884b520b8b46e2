import type { Lane, Otlp as Fares, Received } from "../api";
import { useTitle } from "../app";
import { bytes, count, listed, rate, several, sum } from "../format";
import { Answered, useAnswer } from "../parts/answer";
import { Copy, Empty, Figure, Head } from "../parts/basics";
import { Chart } from "../parts/chart";
import { now, type Rate, useRates } from "../parts/history";
import { Reasons, Table } from "../parts/table";

export function Otlp() {
  useTitle("OTLP");
  const answer = useAnswer<Fares>("otlp", { every: 2000 });
  const flows = answer.data?.signals.flatMap((lane) => lane.protocols.map((received) => ({ lane, received }))) ?? [];
  const refused = flows.reduce((total, { received }) => total + sum(received.refused), 0);
  const items = flows.map(({ received }) => received.items);
  const counters = answer.data && [items.reduce((total, count) => total + count, 0), refused, ...items];
  const rates = useRates("otlp", counters, answer.dataUpdatedAt);
  return (
    <Answered title="OTLP" of={answer}>
      {({ receiver, signals }) => (
        <div className="stack">
          <Head title="OTLP" note="traces, metrics and logs of others, to Kafka; answered once they are safe" />
          {receiver === null ? (
            <Empty title="Nothing is received">
              <p>Applications that speak OpenTelemetry can send their telemetry through Weir to Kafka topics. Add to the configuration:</p>
              <pre className="code" tabIndex={0}>{EXAMPLE}</pre>
            </Empty>
          ) : (
            <>
              {signals
                .filter((lane) => lane.message)
                .map((lane) => (
                  <p key={lane.signal} className="notice bad" role="status">
                    {lane.signal}: {lane.message}
                  </p>
                ))}
              <dl className="figures">
                <Figure label="Items a second" value={rate(now(rates, 0))} note="spans, data points, log records" />
                <Figure label="Refused requests" value={count(refused)} note="since the start" />
                <Figure label="In memory" value={bytes(signals.reduce((total, lane) => total + lane.queue.bytes, 0))} note={several(signals.reduce((total, lane) => total + lane.queue.requests, 0), "request")} />
                <Figure label="Acknowledged by Kafka" value={count(signals.reduce((total, lane) => total + lane.produced, 0))} note={`messages, as ${receiver.format}`} />
              </dl>
              <Chart title="Items a second" lines={["Received", "Requests refused"]} rates={rates} />
              <Signals signals={signals} />
              <Flows flows={flows} rates={rates} />
              <Variables receiver={receiver} />
            </>
          )}
        </div>
      )}
    </Answered>
  );
}

const EXAMPLE = `receivers:
  otlp:
    grpc: { address: 0.0.0.0:4317 }
    http: { address: 0.0.0.0:4318 }
    exporter:
      kafka:
        brokers: ["localhost:9092"]
        traces_topic: otlp-traces
        metrics_topic: otlp-metrics
        logs_topic: otlp-logs`;

function State({ lane }: { lane: Lane }) {
  const [look, text] = {
    ok: ["good", "Delivering"],
    starting: ["warn", "Connecting"],
    degraded: ["bad", "Not delivering"],
  }[lane.state] as [string, string];
  return <span className={`state ${look}`}>{text}</span>;
}

function Signals({ signals }: { signals: Lane[] }) {
  return (
    <section className="panel">
      <h2>Queues</h2>
      <Table
        label="Queues"
        headed
        rows={signals}
        rowKey={(lane) => lane.signal}
        columns={[
          { name: "Signal", cell: (lane) => lane.signal },
          { name: "State", cell: (lane) => <State lane={lane} /> },
          { name: "Topic", className: "mono nowrap", cell: (lane) => lane.topic },
          {
            name: "In memory",
            number: true,
            cell: ({ queue }) => (
              <>
                {bytes(queue.bytes)} <span className="quiet">of {bytes(queue.max_bytes)}</span>
              </>
            ),
          },
          {
            name: "Requests waiting",
            number: true,
            cell: ({ queue }) => (
              <>
                {count(queue.requests)} {queue.max_requests !== null && <span className="quiet">of {count(queue.max_requests)}</span>}
              </>
            ),
          },
          { name: "Spool", number: true, cell: ({ spool }) => (spool ? `${bytes(spool.bytes)}${spool.full ? ", full" : ""}` : "–") },
          { name: "Acknowledged", number: true, cell: (lane) => count(lane.produced) },
          { name: "Dropped", number: true, cell: (lane) => <span title={listed(lane.dropped)}>{count(sum(lane.dropped))}</span> },
        ]}
      />
    </section>
  );
}

function Flows({ flows, rates }: { flows: { lane: Lane; received: Received }[]; rates: Rate[] }) {
  return (
    <section className="panel">
      <h2>Received</h2>
      <Table
        label="Received"
        headed
        rows={flows}
        rowKey={({ lane, received }) => `${lane.signal} ${received.protocol}`}
        columns={[
          { name: "Signal", cell: ({ lane }) => lane.signal },
          { name: "Protocol", className: "mono", cell: ({ received }) => received.protocol },
          { name: "Items a second", number: true, cell: (_, index) => rate(now(rates, index + 2)) },
          { name: "Items", number: true, cell: ({ received }) => count(received.items) },
          { name: "Requests", number: true, cell: ({ received }) => count(received.requests) },
          { name: "Bytes", number: true, cell: ({ received }) => bytes(received.bytes) },
          { name: "Messages", number: true, cell: ({ received }) => count(received.messages) },
          { name: "Too large", number: true, cell: ({ received }) => count(received.rejected) },
          { name: "Refused", cell: ({ received }) => <Reasons of={Object.entries(received.refused)} /> },
        ]}
      />
    </section>
  );
}

/** What an application is told, so that it sends its telemetry here. */
function Variables({ receiver }: { receiver: NonNullable<Fares["receiver"]> }) {
  const at = (url: string) => url.replace(/\/\/(0\.0\.0\.0|\[::\]):/, `//${location.hostname}:`);
  const token = receiver.token ? '\nexport OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20$WEIR_OTLP_TOKEN"' : "";
  const doors: [string, string | null, string][] = [
    ["HTTP", receiver.http, "http/protobuf"],
    ["gRPC", receiver.grpc, "grpc"],
  ];
  return (
    <section className="panel">
      <h2>Send here</h2>
      <div className="columns padded">
        {doors.map(([name, url, protocol]) => {
          if (url === null) return null;
          const text = `export OTEL_EXPORTER_OTLP_ENDPOINT=${at(url)}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=${protocol}\nexport OTEL_SERVICE_NAME=my-application${token}`;
          return (
            <div key={name} className="stack">
              <header className="head">
                <h3>Over {name}</h3>
                <div className="actions">
                  <Copy text={text} label={`Copy for ${name}`} />
                </div>
              </header>
              <pre className="code" tabIndex={0} aria-label={`Variables for ${name}`}>
                {text}
              </pre>
            </div>
          );
        })}
      </div>
    </section>
  );
}
