import { clock, count, several } from "../format";
import { Table } from "./table";

interface Bucket {
  start_us: number;
  count: number;
  failed: number;
}

/** How many traces there were when; the same as a table for whoever cannot see it. */
export function Histogram({ buckets }: { buckets: Bucket[] }) {
  const most = Math.max(...buckets.map((bucket) => bucket.count), 1);
  const width = 100 / buckets.length;
  const total = buckets.reduce((sum, bucket) => sum + bucket.count, 0);
  const failed = buckets.reduce((sum, bucket) => sum + bucket.failed, 0);
  const first = buckets[0];
  const last = buckets.at(-1);
  if (!first || !last) return null;
  const some = buckets.filter((bucket) => bucket.count > 0);
  return (
    <figure className="histogram">
      <svg viewBox="0 0 100 52" preserveAspectRatio="none" role="img" aria-label={`${several(total, "trace")}, ${count(failed)} failed, over time`}>
        {buckets.map((bucket, index) => {
          const height = (bucket.count / most) * 50;
          const bad = (bucket.failed / most) * 50;
          return (
            bucket.count > 0 && (
              <g key={bucket.start_us}>
                <rect className="all" x={index * width + width * 0.1} width={width * 0.8} y={52 - height} height={Math.max(height - bad, 0)} />
                <rect className="failed" x={index * width + width * 0.1} width={width * 0.8} y={52 - bad} height={bad} />
              </g>
            )
          );
        })}
      </svg>
      <figcaption className="axis">
        <span>{clock(first.start_us).slice(0, 8)}</span>
        <span>
          {several(total, "trace")}, {count(failed)} failed
        </span>
        <span>now</span>
      </figcaption>
      <details>
        <summary>As a table</summary>
        <Table
          rows={some}
          rowKey={(bucket) => bucket.start_us}
          columns={[
            { name: "From", className: "mono", cell: (bucket) => clock(bucket.start_us) },
            { name: "Traces", number: true, cell: (bucket) => count(bucket.count) },
            { name: "Failed", number: true, cell: (bucket) => count(bucket.failed) },
          ]}
        />
      </details>
    </figure>
  );
}
