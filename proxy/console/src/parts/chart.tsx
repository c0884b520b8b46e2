import { rate } from "../format";
import { MOMENTS, type Rate } from "./history";
import { Table } from "./table";

const WIDTH = 600;
const HEIGHT = 60;

/** Lines are told apart by their dashes too, not by colour alone. */
const LOOKS = [
  { stroke: "var(--accent)", dash: undefined },
  { stroke: "var(--bad)", dash: "4 3" },
  { stroke: "var(--warn)", dash: "1 3" },
];

/** Rates over the last two minutes; the same as a table for whoever cannot see it. */
export function Chart({ title, lines, rates }: { title: string; lines: string[]; rates: Rate[] }) {
  const most = Math.max(...rates.flatMap((one) => one.rates.slice(0, lines.length)), 1);
  const x = (index: number) => (index / (MOMENTS - 2)) * WIDTH;
  const start = MOMENTS - 1 - rates.length;
  const path = (line: number) =>
    rates
      .map((one, index) => `${index === 0 ? "M" : "L"}${x(start + index)} ${HEIGHT - ((one.rates[line] ?? 0) / most) * (HEIGHT - 4) - 1}`)
      .join("");
  const last = rates.at(-1);
  return (
    <section className="panel chart">
      <header>
        <h2>{title}</h2>
        <span className="chart-key">
          {lines.map((line, at) => (
            <span key={line}>
              <svg viewBox="0 0 16 4" aria-hidden="true">
                <path d="M0 2H16" stroke={LOOKS[at]?.stroke} strokeDasharray={LOOKS[at]?.dash} strokeWidth="2" />
              </svg>
              {line} <b>{rate(last?.rates[at] ?? 0)}</b>
            </span>
          ))}
        </span>
      </header>
      <div className="plot">
        <span className="scale" aria-hidden="true">
          <span>{rate(most)}</span>
          <span>0</span>
        </span>
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${title} over the last two minutes: ${lines.map((line, at) => `${line} now ${rate(last?.rates[at] ?? 0)}`).join(", ")}`}
        >
          <path d={`M0 3H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}`} stroke="var(--line)" vectorEffect="non-scaling-stroke" />
          {rates.length > 1 && (
            <>
              <path d={`${path(0)}L${x(MOMENTS - 2)} ${HEIGHT}L${x(start)} ${HEIGHT}Z`} fill="var(--accent)" fillOpacity="0.12" />
              {lines.map((line, at) => (
                <path
                  key={line}
                  d={path(at)}
                  fill="none"
                  stroke={LOOKS[at]?.stroke}
                  strokeDasharray={LOOKS[at]?.dash}
                  strokeWidth="1.5"
                  vectorEffect="non-scaling-stroke"
                />
              ))}
            </>
          )}
        </svg>
      </div>
      <details>
        <summary>The last two minutes as a table</summary>
        <Table
          rows={rates.slice(-12)}
          rowKey={(one) => one.at}
          columns={[
            { name: "Time", className: "mono", cell: (one) => new Date(one.at).toLocaleTimeString("en-GB") },
            ...lines.map((line, at) => ({ name: line, number: true, cell: (one: Rate) => rate(one.rates[at] ?? 0) })),
          ]}
        />
      </details>
    </section>
  );
}
