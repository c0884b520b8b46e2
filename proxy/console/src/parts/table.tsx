import { type MouseEvent, type ReactNode, useEffect, useRef, useState } from "react";
import type { Latency } from "../api";
import { count, milliseconds } from "../format";

export interface Column<T> {
  name: ReactNode;
  /** A figure, which stands to the right. */
  number?: boolean;
  className?: string;
  /** Left out where there is little room: what it says stands elsewhere too. */
  less?: boolean;
  cell: (row: T, index: number) => ReactNode;
}

/** Rows of one kind; the first column names the row where it is `headed`. */
export function Table<T>(props: {
  columns: Column<T>[];
  rows: readonly T[];
  rowKey: (row: T, index: number) => string | number;
  label?: string;
  headed?: boolean;
  onRow?: (row: T, event: MouseEvent) => void;
}) {
  const { columns, rows, onRow } = props;
  // What scrolls sideways has to be reached by keyboard.
  const frame = useRef<HTMLDivElement>(null);
  const [wide, setWide] = useState(false);
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWide(element.scrollWidth > element.clientWidth));
    observer.observe(element);
    if (element.firstElementChild) observer.observe(element.firstElementChild);
    return () => observer.disconnect();
  }, []);
  const look = (column: Column<T>) =>
    [column.number ? "number" : column.className, column.less && "less"].filter(Boolean).join(" ") || undefined;
  return (
    <div ref={frame} className="scroll" {...(wide ? { tabIndex: 0, role: "region", "aria-label": props.label ?? "Table" } : {})}>
      <table aria-label={props.label}>
        <thead>
          <tr>
            {columns.map((column, at) => (
              <th key={at} scope="col" className={[column.number && "number", column.less && "less"].filter(Boolean).join(" ") || undefined}>
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, index) => (
            <tr
              key={props.rowKey(row, index)}
              className={onRow && "link"}
              onClick={onRow && ((event) => onRow(row, event))}
            >
              {columns.map((column, at) =>
                props.headed && at === 0 ? (
                  <th key={at} scope="row" className={look(column)}>
                    {column.cell(row, index)}
                  </th>
                ) : (
                  <td key={at} className={look(column)}>
                    {column.cell(row, index)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** How often something was done, and how long it took. */
export function latency<T>(what: string, of: (row: T) => Latency | undefined): Column<T>[] {
  const time = (row: T, which: "p50_ms" | "p99_ms") => {
    const measured = of(row);
    return measured && measured.count > 0 ? milliseconds(measured[which]) : "–";
  };
  return [
    { name: what, number: true, cell: (row) => count(of(row)?.count ?? 0) },
    { name: "p50", number: true, cell: (row) => time(row, "p50_ms") },
    { name: "p99", number: true, cell: (row) => time(row, "p99_ms") },
  ];
}

/** What went wrong how often, by reason. */
export function Reasons({ of }: { of: readonly (readonly [string, number])[] }) {
  if (of.length === 0) return <span className="quiet">none</span>;
  return (
    <span className="chips">
      {of.map(([reason, times]) => (
        <span className="badge bad" key={reason}>
          {reason} {count(times)}
        </span>
      ))}
    </span>
  );
}
