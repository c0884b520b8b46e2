import { useVirtualizer } from "@tanstack/react-virtual";
import { type CSSProperties, memo, type MouseEvent, type PointerEvent, useEffect, useMemo, useRef, useState } from "react";
import { count, duration } from "../format";
import { type Node, rows } from "./spans";

const ROW = 26;

/** Rows that are there beyond each end of what is in view. */
const BEYOND = 4;

/** Bars of the minimap: more could not be told apart. */
const BARS = 600;

/** How far to the right a name goes at most. */
const DEEPEST = 14;

/** The least that a zoom shows, in nanoseconds. */
const NARROWEST = 100;

interface Range {
  from: number;
  to: number;
}

const KINDS: [string, string][] = [
  ["request", "Request"],
  ["plugin", "Plugin hook"],
  ["client", "Upstream"],
  ["llm", "Model call"],
  ["retry", "Retry"],
];

/** Spans over time. Only rows in view are in the document, so that their number does not matter. */
export function Waterfall(props: {
  /** All, in the order of their rows. */
  nodes: Node[];
  selected: string | null;
  onSelect: (span: string | null) => void;
}) {
  const { nodes: all, selected, onSelect } = props;
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const shown = useMemo(() => {
    const roots = all.filter((node) => node.depth === 0);
    return folded.size === 0 ? all : rows(roots, folded);
  }, [all, folded]);
  const whole: Range = useMemo(() => {
    const bounds = { from: 0, to: 1 };
    for (const node of all) {
      bounds.from = Math.min(bounds.from, node.start);
      bounds.to = Math.max(bounds.to, node.end);
    }
    return bounds;
  }, [all]);
  const [zoom, setZoom] = useState<Range | null>(null);
  const range = zoom ?? whole;
  const scale = (by: number) => {
    const node = shown[at];
    const middle = node ? (node.start + node.end) / 2 : (range.from + range.to) / 2;
    setZoom(around(middle, (range.to - range.from) * by, whole));
  };
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: BEYOND,
  });
  const items = virtual.getVirtualItems();
  // Rows that leave the view are used again for those that come into it: a scroll changes texts, and makes no
  // elements. Rows in view follow each other, so no two have the same place; with more places than rows, some
  // would be made and others thrown away in each frame.
  const inView = Math.ceil((virtual.scrollRect?.height ?? 0) / ROW) + 1;
  const places = Math.max(inView + 2 * BEYOND, items.length);
  const at = useMemo(() => shown.findIndex((node) => node.span.SpanID === selected), [shown, selected]);
  useEffect(() => {
    // A link to a span leads to its row.
    if (at >= 0) virtual.scrollToIndex(at, { align: "center" });
    // Later, who chooses a span sees it.
  }, []);

  const fold = (node: Node, close: boolean) =>
    setFolded((before) => {
      const next = new Set(before);
      if (close) next.add(node.span.SpanID);
      else next.delete(node.span.SpanID);
      return next;
    });
  const go = (index: number) => {
    const node = shown[Math.max(0, Math.min(shown.length - 1, index))];
    if (!node) return;
    onSelect(node.span.SpanID);
    virtual.scrollToIndex(shown.indexOf(node), { align: "auto" });
  };
  const page = () => Math.max(1, Math.floor((scroller.current?.clientHeight ?? 260) / ROW) - 1);

  const keys: Record<string, () => void> = {
    ArrowDown: () => go(at + 1),
    ArrowUp: () => go(at < 0 ? 0 : at - 1),
    PageDown: () => go(at + page()),
    PageUp: () => go(at - page()),
    Home: () => go(0),
    End: () => go(shown.length - 1),
    ArrowLeft: () => {
      const node = shown[at];
      if (!node) return;
      if (node.children.length > 0 && !folded.has(node.span.SpanID)) fold(node, true);
      else go(shown.findIndex((other) => other.span.SpanID === node.span.ParentID));
    },
    ArrowRight: () => {
      const node = shown[at];
      if (node) fold(node, false);
    },
    Escape: () => onSelect(null),
    "+": () => scale(0.5),
    "=": () => scale(0.5),
    "-": () => scale(2),
    "0": () => setZoom(null),
  };

  const kinds = useMemo(() => new Set(all.map((node) => node.kind)), [all]);
  // One listener for all rows, so that a row in view is not made anew when others come into it.
  const click = (event: MouseEvent) => {
    const target = event.target as Element;
    const row = target.closest<HTMLElement>("[data-index]");
    const node = row && shown[Number(row.dataset.index)];
    if (!node) return;
    const id = node.span.SpanID;
    if (target.closest(".fold")) fold(node, !folded.has(id));
    else onSelect(id === selected ? null : id);
  };
  const height = Math.min(shown.length * ROW + 2, 720);
  return (
    <div className="waterfall">
      <div className="map">
        <Minimap nodes={all} whole={whole} zoom={zoom} onZoom={setZoom} />
        <div className="zoom">
          {shown[at] && (
            <button
              type="button"
              className="small"
              onClick={() => {
                const { start, end } = shown[at]!;
                setZoom(around((start + end) / 2, end - start, whole));
              }}
            >
              Zoom to span
            </button>
          )}
          {zoom && (
            <button
              type="button"
              className="small"
              onClick={() => {
                setZoom(null);
                // The button goes, and the focus would go with it.
                scroller.current?.focus();
              }}
            >
              Whole trace
            </button>
          )}
        </div>
      </div>
      <p className="visually-hidden" role="status">
        {zoom && `Zoomed to ${duration(zoom.from)} until ${duration(zoom.to)}`}
      </p>
      <div className="rows-head" aria-hidden="true">
        <div>
          {shown.length === 1 ? "1 span" : `${count(shown.length)} spans`}
          {zoom && " · zoomed"}
        </div>
        <div className="scale">
          {[0, 0.25, 0.5, 0.75, 1].map((part) => (
            <span key={part} style={{ left: `${part * 100}%` }}>
              {duration(range.from + (range.to - range.from) * part)}
            </span>
          ))}
        </div>
        <div style={{ textAlign: "right" }}>Duration</div>
      </div>
      <div
        ref={scroller}
        className="rows"
        style={{ height }}
        role="treegrid"
        aria-label="Spans"
        aria-rowcount={shown.length}
        aria-activedescendant={items.some((item) => item.index === at) ? `span-${selected}` : undefined}
        tabIndex={0}
        onClick={click}
        onKeyDown={(event) => {
          const action = keys[event.key];
          // With a modifier, keys are the browser's.
          if (action && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            action();
          }
        }}
      >
        <div className="canvas" role="rowgroup" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const node = shown[item.index];
            return (
              node && (
                <Row
                  key={item.index % places}
                  node={node}
                  index={item.index}
                  top={item.start}
                  range={range}
                  selected={item.index === at}
                  folded={folded.has(node.span.SpanID)}
                />
              )
            );
          })}
        </div>
      </div>
      <p className="legend">
        {KINDS.filter(([id]) => kinds.has(id)).map(([id, name]) => (
          <span key={id}>
            <i className={`kind-${id}`} />
            {name}
          </span>
        ))}
        <span>Drag over the map above to zoom; arrow keys move between spans, + and − zoom, 0 shows all</span>
      </p>
    </div>
  );
}

const Row = memo(function Row(props: {
  node: Node;
  index: number;
  top: number;
  range: Range;
  selected: boolean;
  folded: boolean;
}) {
  const { node, range } = props;
  const { span } = node;
  const extent = range.to - range.from;
  const left = ((node.start - range.from) / extent) * 100;
  const right = ((node.end - range.from) / extent) * 100;
  const failed = span.Status === "error";
  const short = span.StatusMsg === "short-circuit";
  return (
    <div
      id={`span-${span.SpanID}`}
      className="span-row"
      role="row"
      aria-rowindex={props.index + 1}
      aria-level={node.depth + 1}
      aria-selected={props.selected}
      aria-expanded={node.children.length > 0 ? !props.folded : undefined}
      data-index={props.index}
      style={{ transform: `translateY(${props.top}px)` }}
    >
      <div className="name" role="gridcell" style={indent(node.depth)}>
        {node.children.length > 0 ? (
          <button type="button" className="fold" tabIndex={-1} aria-label={props.folded ? "Unfold" : "Fold"}>
            {props.folded ? "▸" : "▾"}
          </button>
        ) : (
          <span className="fold" />
        )}
        {failed && (
          <span className="mark" title="Ended in error">
            ✕<span className="visually-hidden"> error</span>
          </span>
        )}
        <span className="text" title={span.Name}>
          <Name name={span.Name} />
        </span>
        {short && <span className="tag">answered</span>}
      </div>
      <div className="track" role="gridcell" aria-label={`starts at ${duration(node.start)}`}>
        {right >= 0 && left <= 100 && (
          <div
            className={`bar kind-${node.kind}${failed ? " failed" : ""}`}
            style={{ left: `${Math.max(left, 0)}%`, width: `${Math.min(right, 100) - Math.max(left, 0)}%` }}
          />
        )}
      </div>
      <div className="time" role="gridcell">
        {duration(node.end - node.start)}
      </div>
    </div>
  );
});

/** As much time around a moment, within the whole; null is all of it. */
function around(middle: number, extent: number, whole: Range): Range | null {
  const all = whole.to - whole.from;
  const shown = Math.max(extent, NARROWEST);
  if (shown >= all) return null;
  const from = Math.max(whole.from, Math.min(middle - shown / 2, whole.to - shown));
  return { from, to: from + shown };
}

function indent(depth: number): CSSProperties {
  return { "--depth": Math.min(depth, DEEPEST) } as CSSProperties;
}

/** Of a hook's span, the plugin is what the eye looks for. */
function Name({ name }: { name: string }) {
  const hook = /^(plugin\.)(.+)(\.[a-z]+)$/.exec(name);
  if (!hook) return name;
  return (
    <>
      <i>{hook[1]}</i>
      {hook[2]}
      <i>{hook[3]}</i>
    </>
  );
}

const Minimap = memo(function Minimap(props: {
  nodes: Node[];
  whole: Range;
  zoom: Range | null;
  onZoom: (range: Range | null) => void;
}) {
  const { whole, zoom } = props;
  const frame = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);
  const extent = whole.to - whole.from;
  const every = Math.max(1, Math.ceil(props.nodes.length / BARS));
  const bars = props.nodes.filter((node, index) => index % every === 0 || node.span.Status === "error");
  const height = 38 / Math.max(bars.length, 6);
  const place = (event: PointerEvent) => {
    const box = frame.current!.getBoundingClientRect();
    const part = (event.clientX - box.left - 12) / (box.width - 24);
    return whole.from + Math.max(0, Math.min(1, part)) * extent;
  };
  const window = drag ? { from: Math.min(drag.from, drag.to), to: Math.max(drag.from, drag.to) } : zoom;
  useEffect(() => {
    const escape = (event: KeyboardEvent) => {
      if (event.key === "Escape") setDrag(null);
    };
    addEventListener("keydown", escape);
    return () => removeEventListener("keydown", escape);
  }, []);
  return (
    <div
      ref={frame}
      className="minimap"
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        const at = place(event);
        setDrag({ from: at, to: at });
      }}
      onPointerMove={(event) => drag && setDrag({ ...drag, to: place(event) })}
      onPointerUp={() => {
        if (drag && Math.abs(drag.to - drag.from) > extent / 500) {
          props.onZoom({ from: Math.min(drag.from, drag.to), to: Math.max(drag.from, drag.to) });
        }
        setDrag(null);
      }}
    >
      <svg viewBox={`0 0 1000 38`} preserveAspectRatio="none" aria-hidden="true">
        {bars.map((node, index) => (
          <rect
            key={node.span.SpanID}
            className={node.span.Status === "error" ? "failed" : `kind-${node.kind}`}
            x={((node.start - whole.from) / extent) * 1000}
            width={Math.max(((node.end - node.start) / extent) * 1000, 1)}
            y={index * height}
            height={Math.max(height * 0.75, 0.6)}
          />
        ))}
        {window && (
          <rect
            className="window"
            x={((window.from - whole.from) / extent) * 1000}
            width={((window.to - window.from) / extent) * 1000}
            y="0"
            height="38"
          />
        )}
      </svg>
    </div>
  );
});
