import { Link } from "wouter";
import type { Exporter } from "../api";
import { count, sum } from "../format";
import type { Column } from "./table";

export function State({ exporter }: { exporter: Exporter }) {
  const [look, text] = {
    ok: ["good", "Delivering"],
    starting: ["warn", "Connecting"],
    degraded: ["bad", "Not delivering"],
    disabled: ["off", "Disabled"],
  }[exporter.state] as [string, string];
  return <span className={`state ${look}`}>{text}</span>;
}

export const named: Column<Exporter> = {
  name: "Exporter",
  cell: (exporter) => <Link href={`/exporters/${encodeURIComponent(exporter.name)}`}>{exporter.name}</Link>,
};

export const stated: Column<Exporter> = {
  name: "State",
  cell: (exporter) => (
    <>
      <State exporter={exporter} />
      {exporter.message && <div className="quiet wrap">{exporter.message}</div>}
    </>
  ),
};

export const delivered: Column<Exporter>[] = [
  { name: "Delivered", number: true, cell: (exporter) => count(exporter.delivered ?? 0) },
  { name: "Dropped", number: true, cell: (exporter) => count(sum(exporter.dropped)) },
];
