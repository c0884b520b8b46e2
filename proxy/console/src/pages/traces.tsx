import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation, useSearchParams } from "wouter";
import { get, type Page, Problem, type Summary } from "../api";
import { useOverview, useTitle } from "../app";
import { clock, count, day, duration } from "../format";
import { Empty, Failure, Head, Loading, Status, Toggle } from "../parts/basics";
import { Histogram } from "../parts/histogram";
import { Table } from "../parts/table";

const NAMES = ["route", "status", "method", "min_ms", "max_ms", "plugin", "short_circuit", "failed", "model", "attribute", "q"];
const SPANS: [string, string, number][] = [
  ["", "All kept", 0],
  ["5m", "Last 5 min", 300],
  ["1h", "Last hour", 3600],
  ["24h", "Last day", 86400],
];

/** Between looks at the newest traces, in milliseconds: with what the store takes to write it, a trace shows within a second. */
export const SOON = 600;

/** A search that looks at more traces than this would keep the store busy, and waits longer. */
const MANY = 5000;

/** Most rows that a live tail keeps. */
const LIVE = 500;

export function Traces() {
  useTitle("Traces");
  const [search, setSearch] = useSearchParams();
  const overview = useOverview();
  const live = search.get("live") === "1";
  const span = SPANS.find(([id]) => id === (search.get("span") ?? "")) ?? SPANS[0]!;

  const set = (name: string, value: string) =>
    setSearch(
      (before) => {
        const next = new URLSearchParams(before);
        if (value === "") next.delete(name);
        else next.set(name, value);
        return next;
      },
      { replace: true },
    );

  const filters = useMemo(() => {
    const parameters = new URLSearchParams();
    for (const name of NAMES) {
      for (const value of search.getAll(name)) parameters.append(name, value);
    }
    return parameters;
  }, [search]);
  const active = [...filters.keys()].length > 0;
  const store = overview.data?.store;

  return (
    <>
      <Head
        title="Traces"
        note={
          store && (
            <>
              {count(store.traces)} kept
              {store.skipped > 0 && `, ${count(store.skipped)} more came faster than the store keeps them`}
            </>
          )
        }
      >
        <Toggle label="Live" checked={live} onChange={(on) => set("live", on ? "1" : "")} />
      </Head>
      {overview.data && !store ? (
        <NotKept />
      ) : (
        <>
          <Filters search={search} set={set} routes={routes(overview.data)} plugins={overview.data?.plugins ?? []} live={live} />
          {active && (
            <p className="chips" style={{ marginBottom: 10 }}>
              {[...filters].map(([name, value]) => (
                <span className="chip" key={`${name}=${value}`}>
                  {name} {value}
                  <button type="button" aria-label={`Remove ${name}`} onClick={() => set(name, "")}>
                    ✕
                  </button>
                </span>
              ))}
              <button
                type="button"
                className="link"
                onClick={() => setSearch(live ? { live: "1" } : {}, { replace: true })}
              >
                Clear all
              </button>
            </p>
          )}
          {live ? (
            <Live key={filters.toString()} filters={filters} />
          ) : (
            <Kept key={`${filters} ${span[0]}`} filters={filters} seconds={span[2]} active={active} proxy={overview.data?.listeners[0]} />
          )}
        </>
      )}
    </>
  );
}

function routes(overview: ReturnType<typeof useOverview>["data"]): string[] {
  return overview?.metrics.routes.map((route) => route.name).filter((name) => name !== "") ?? [];
}

export function NotKept() {
  return (
    <Empty title="Recent traces are not kept">
      <p>
        Exporters get every trace; to see them here as well, add a store to Weir’s configuration and reload. It keeps
        the latest 64 MiB, in <code>data_dir</code> where there is one, else in memory.
      </p>
      <pre className="code" tabIndex={0}>store: {"{}"}</pre>
    </Empty>
  );
}

interface FilterProps {
  search: URLSearchParams;
  set: (name: string, value: string) => void;
  routes: string[];
  plugins: string[];
  live: boolean;
}

function Filters({ search, set, routes, plugins, live }: FilterProps) {
  const select = (name: string, label: string, options: [string, string][]) => (
    <label>
      {label}
      <select value={search.get(name) ?? ""} onChange={(event) => set(name, event.target.value)}>
        {options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <form className="filters" role="search" aria-label="Filter traces" onSubmit={(event) => event.preventDefault()}>
      <Text name="q" label="Path, trace or request id" className="wide" search={search} set={set} />
      {!live && select("span", "Time", SPANS.map(([id, text]) => [id, text]))}
      {select("status", "Status", [
        ["", "Any"],
        ["2xx", "2xx"],
        ["3xx", "3xx"],
        ["4xx", "4xx"],
        ["5xx", "5xx"],
        ["none", "Client left"],
      ])}
      {select("route", "Route", [["", "Any"], ...routes.map((name): [string, string] => [name, name])])}
      {select("plugin", "Plugin", [["", "Any"], ...plugins.map((name): [string, string] => [name, name])])}
      {select("short_circuit", "Answered by", [
        ["", "Anyone"],
        ["true", "A plugin"],
        ["false", "The upstream"],
      ])}
      <Text name="model" label="Model" className="short" search={search} set={set} />
      <Text name="min_ms" label="Over, ms" className="short" search={search} set={set} type="number" />
      <Text name="max_ms" label="Under, ms" className="short" search={search} set={set} type="number" />
      <Text name="attribute" label="Attribute, key=value" search={search} set={set} />
    </form>
  );
}

function Text(props: {
  name: string;
  label: string;
  className?: string;
  type?: string;
  search: URLSearchParams;
  set: (name: string, value: string) => void;
}) {
  const current = props.search.get(props.name) ?? "";
  const [value, setValue] = useState(current);
  const [seen, setSeen] = useState(current);
  if (seen !== current) {
    setSeen(current);
    setValue(current);
  }
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <label className={props.className === "wide" ? "wide" : undefined}>
      {props.label}
      <input
        className={props.className === "short" ? "short" : undefined}
        type={props.type ?? "text"}
        min={props.type === "number" ? 0 : undefined}
        value={value}
        onChange={(event) => {
          const text = event.target.value;
          setValue(text);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => props.set(props.name, text), 250);
        }}
      />
    </label>
  );
}

function Kept(props: { filters: URLSearchParams; seconds: number; active: boolean; proxy?: string }) {
  const parameters = (extra: Record<string, string>) => {
    const all = new URLSearchParams(props.filters);
    if (props.seconds > 0) all.set("from", String((Date.now() - props.seconds * 1000) * 1000));
    for (const [name, value] of Object.entries(extra)) all.set(name, value);
    return all;
  };
  const list = useInfiniteQuery({
    queryKey: ["traces", props.filters.toString(), props.seconds],
    initialPageParam: null as number | null,
    queryFn: ({ pageParam }) =>
      get<Page>("traces", parameters(pageParam === null ? {} : { before: String(pageParam) })),
    getNextPageParam: (page) => page.next,
    placeholderData: keepPreviousData,
    refetchInterval: ({ state }) => {
      const [first, ...older] = state.data?.pages ?? [];
      if (older.length > 0) return false;
      return (first?.scanned ?? 0) > MANY ? 2000 : SOON;
    },
  });
  const rows = list.data?.pages.flatMap((page) => page.traces) ?? [];
  const oldest = rows.at(-1)?.start_us;
  const histogram = useQuery({
    queryKey: ["histogram", props.filters.toString(), props.seconds, oldest === undefined],
    enabled: oldest !== undefined,
    refetchInterval: 5000,
    placeholderData: keepPreviousData,
    queryFn: () => {
      const to = Date.now() * 1000;
      const from = props.seconds > 0 ? to - props.seconds * 1e6 : Math.min(oldest ?? to, to - 60e6);
      return get<{ buckets: { start_us: number; count: number; failed: number }[] }>(
        "traces/histogram",
        parameters({ from: String(Math.round(from)), to: String(to), buckets: "80" }),
      );
    },
  });

  if (list.error) {
    return list.error instanceof Problem && list.error.status === 409 ? <NotKept /> : <Failure error={list.error} />;
  }
  if (list.isPending) return <Loading />;
  if (rows.length === 0) {
    return props.active || props.seconds > 0 ? (
      <Empty title="No trace fits these filters">
        <p>Take one away, or widen the time.</p>
      </Empty>
    ) : (
      <Empty title="No traces yet">
        <p>
          <Link href="/">Send a request</Link> from here or through Weir; its trace shows within a second.
        </p>
        <pre className="code" tabIndex={0}>curl -i http://{props.proxy ?? "127.0.0.1:8080"}/</pre>
      </Empty>
    );
  }
  return (
    <>
      {histogram.data && <Histogram buckets={histogram.data.buckets} />}
      <Rows rows={rows} />
      {list.hasNextPage && (
        <p style={{ padding: 12, textAlign: "center" }}>
          <button type="button" disabled={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>
            Older traces
          </button>
        </p>
      )}
    </>
  );
}

function Live({ filters }: { filters: URLSearchParams }) {
  const [rows, setRows] = useState<Summary[]>([]);
  const [missed, setMissed] = useState(0);
  const [paused, setPaused] = useState(false);
  const [waiting, setWaiting] = useState<Summary[]>([]);
  const [state, setState] = useState<"connecting" | "open" | "lost">("connecting");
  const held = useRef(paused);
  held.current = paused;
  useEffect(() => {
    const query = filters.size > 0 ? `?${filters}` : "";
    const source = new EventSource(new URL(`api/traces/tail${query}`, document.baseURI));
    let fresh: Summary[] = [];
    let frame = 0;
    source.onopen = () => setState("open");
    source.onerror = () => setState("lost");
    source.addEventListener("trace", (event) => {
      fresh.unshift(JSON.parse(event.data) as Summary);
      // Many may come between two frames: shown at once.
      frame ||= requestAnimationFrame(() => {
        const batch = fresh;
        fresh = [];
        frame = 0;
        const add = (before: Summary[]) => [...batch, ...before].slice(0, LIVE);
        if (held.current) setWaiting(add);
        else setRows(add);
      });
    });
    source.addEventListener("missed", (event) => {
      const { count } = JSON.parse(event.data) as { count: number };
      setMissed((before) => before + count);
    });
    return () => {
      source.close();
      cancelAnimationFrame(frame);
    };
  }, [filters]);
  const resume = () => {
    setRows((before) => [...waiting, ...before].slice(0, LIVE));
    setWaiting([]);
    setPaused(false);
  };
  return (
    <>
      <p style={{ display: "flex", gap: 12, alignItems: "center", marginBottom: 8 }}>
        <button type="button" onClick={() => (paused ? resume() : setPaused(true))}>
          {paused ? `Resume${waiting.length > 0 ? ` (${waiting.length} waiting)` : ""}` : "Pause"}
        </button>
        <span className={`state ${state === "lost" ? "bad" : paused ? "warn" : "good"}`} role="status">
          {state === "lost" ? "Connection lost, trying again" : paused ? "Paused" : "Traces show as they end"}
        </span>
        {missed > 0 && <span className="quiet">{count(missed)} came too fast to be shown</span>}
      </p>
      {rows.length === 0 ? (
        <Empty title="Waiting for traces">
          <p>The next request that fits the filters shows here when it ends.</p>
        </Empty>
      ) : (
        <Rows rows={rows} />
      )}
    </>
  );
}

export function Rows({ rows }: { rows: Summary[] }) {
  const [, navigate] = useLocation();
  const slowest = Math.max(...rows.map((row) => row.duration_ns), 1);
  const today = day(Date.now() * 1000);
  const to = (row: Summary) => `/traces/${row.trace_id}${sameId(rows, row) ? `?request=${row.id}` : ""}`;
  return (
    <div className="panel">
      <Table
        label="Traces"
        rows={rows}
        rowKey={(row) => row.id}
        onRow={(row, event) => {
          // The link itself, and a choice of text, are the browser's.
          if (!(event.target as Element).closest("a") && !getSelection()?.toString()) navigate(to(row));
        }}
        columns={[
          {
            name: "Time",
            className: "nowrap mono",
            cell: (row) => `${day(row.start_us) === today ? "" : `${day(row.start_us)} `}${clock(row.start_us)}`,
          },
          { name: "Status", cell: (row) => <Status status={row.status} /> },
          {
            name: "Request",
            className: "clip",
            cell: (row) => (
              <>
                <Link href={to(row)}>
                  {row.method} {row.path}
                </Link>{" "}
                {row.short_circuit !== "" && <span className="badge warn">answered by {row.short_circuit}</span>}{" "}
                {row.failed && (
                  <span className="badge bad" title={row.error}>
                    error
                  </span>
                )}{" "}
                {row.model !== "" && <span className="badge">{row.model}</span>}
              </>
            ),
          },
          { name: "Route", className: "clip quiet", less: true, cell: (row) => row.route || "no route" },
          { name: "Duration", number: true, cell: (row) => duration(row.duration_ns) },
          { name: <Key />, cell: (row) => <Split row={row} slowest={slowest} /> },
          { name: "Spans", number: true, less: true, cell: (row) => <span className="quiet">{row.spans}</span> },
        ]}
      />
    </div>
  );
}

/** What the two parts of a duration are. */
function Key() {
  return (
    <span className="legend-inline">
      <i className="kind-plugin" /> Weir’s part <i className="kind-client" /> upstream’s
    </span>
  );
}

function sameId(rows: Summary[], row: Summary): boolean {
  return rows.some((other) => other.trace_id === row.trace_id && other.id !== row.id);
}

function Split({ row, slowest }: { row: Summary; slowest: number }) {
  const own = Math.max(row.duration_ns - row.upstream_ns, 0);
  const text = `Weir ${duration(own)}, upstream ${duration(row.upstream_ns)}`;
  const width = (ns: number) => Math.max((ns / slowest) * 120, ns > 0 ? 1.5 : 0);
  return (
    <svg width="122" height="12" role="img" aria-label={text}>
      <title>{text}</title>
      <rect className="kind-plugin" y="2" height="8" width={width(own)} rx="1" />
      <rect className="kind-client" x={width(own)} y="2" height="8" width={width(row.upstream_ns)} rx="1" />
    </svg>
  );
}
