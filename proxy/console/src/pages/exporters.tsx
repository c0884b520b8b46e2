import { useState } from "react";
import { useLocation } from "wouter";
import { useOverview, useTitle } from "../app";
import { ago, bytes } from "../format";
import { Unanswered } from "../parts/answer";
import { Empty, Head } from "../parts/basics";
import { delivered, named, stated } from "../parts/exporter";
import { Table } from "../parts/table";

export function Exporters() {
  useTitle("Kafka");
  const { data, error } = useOverview();
  if (!data) return <Unanswered title="Kafka" error={error} />;
  const names = data.exporters.map((exporter) => exporter.name);
  return (
    <div className="stack">
      <Head title="Kafka" note="one JSON or OTLP message a trace">
        {names.length > 0 && <Add taken={names} />}
      </Head>
      {data.exporters.length === 0 ? (
        <Empty title="Traces go nowhere yet">
          <p>
            Each trace can be sent to a Kafka topic, keyed by its trace id. Name an exporter, then give it a broker and a
            topic.
          </p>
          <Add taken={[]} first />
        </Empty>
      ) : (
        <section className="panel" aria-label="Exporters">
          <Table
            headed
            rows={data.exporters}
            rowKey={(exporter) => exporter.name}
            columns={[
              named,
              stated,
              {
                name: "Topic",
                cell: (exporter) => (
                  <>
                    <code>{exporter.kind === "kafka" ? exporter.topic : `${exporter.kind}, ${exporter.topic}`}</code>
                    <div className="quiet">{exporter.brokers.join(", ")}</div>
                  </>
                ),
              },
              ...delivered,
              { name: "In memory", number: true, cell: (exporter) => bytes(exporter.queue_bytes ?? 0) },
              { name: "Oldest waits", number: true, cell: (exporter) => (exporter.oldest_s ? ago(exporter.oldest_s) : "–") },
            ]}
          />
        </section>
      )}
      <p className="quiet">
        {data.spool
          ? `Traces wait for Kafka on the disk: the spool has ${bytes(data.spool.bytes)} of ${bytes(data.spool.max_bytes)}.`
          : "Without data_dir, traces wait for Kafka in memory, and a restart loses them."}
      </p>
    </div>
  );
}

function Add({ taken, first }: { taken: string[]; first?: boolean }) {
  const [, navigate] = useLocation();
  const [name, setName] = useState(taken.includes("traces") ? "" : "traces");
  const clash = taken.includes(name);
  return (
    <form
      style={{ display: "flex", gap: 8, alignItems: "end" }}
      onSubmit={(event) => {
        event.preventDefault();
        if (name.trim() && !clash) navigate(`/exporters/${encodeURIComponent(name.trim())}`);
      }}
    >
      <label>
        <span className="quiet">Name </span>
        <input
          value={name}
          onChange={(event) => setName(event.target.value)}
          aria-invalid={clash}
          title={clash ? "There is one of that name" : undefined}
          style={{ width: 130 }}
        />
      </label>
      <button type="submit" className={first ? "primary" : undefined} disabled={!name.trim() || clash}>
        Add Kafka exporter
      </button>
    </form>
  );
}
