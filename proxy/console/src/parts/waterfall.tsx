import { memo, type MouseEvent, type PointerEvent, useEffect, useMemo, useRef, useState } from "react";
import { duration, several } from "../format";
import { Find } from "./find";
import { type Range, ROW, Rows } from "./rows";
import { matching, type Node, rows } from "./spans";

/** Bars of the minimap: more could not be told apart. */
const BARS = 600;

/** The least that a zoom shows, in nanoseconds. */
const NARROWEST = 100;

const KINDS: [string, string][] = [
  ["request", "Request"],
  ["plugin", "Plugin hook"],
  ["client", "Upstream"],
  ["llm", "Model call"],
  ["retry", "Retry"],
];

/** Spans over time, with what is done with all of them. */
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
  const at = useMemo(() => shown.findIndex((node) => node.span.SpanID === selected), [shown, selected]);
  const [find, setFind] = useState("");
  const found = useMemo(() => matching(all, find), [all, find]);
  const marks = useMemo(() => new Set(found), [found]);
  const isMarked = find.trim() !== "";

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
  };
  /** To the next that was found, or the one before, with what it is folded in opened. */
  const step = (by: 1 | -1) => {
    const chosen = all.findIndex((node) => node.span.SpanID === selected);
    let index = chosen < 0 && by < 0 ? 0 : chosen;
    for (let n = 0; n < all.length; n += 1) {
      index = (index + by + all.length) % all.length;
      if (marks.has(all[index]!)) return reveal(all[index]!);
    }
  };
  const reveal = (node: Node) => {
    if (folded.size > 0) {
      const parents = new Map(all.flatMap((parent) => parent.children.map((child): [Node, Node] => [child, parent])));
      const open = new Set(folded);
      for (let above = parents.get(node); above; above = parents.get(above)) open.delete(above.span.SpanID);
      setFolded(open);
    }
    onSelect(node.span.SpanID);
  };
  const finder = useRef<HTMLInputElement>(null);
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
    n: () => step(1),
    p: () => step(-1),
    "/": () => finder.current?.focus(),
  };

  const kinds = useMemo(() => new Set(all.map((node) => node.kind)), [all]);
  // One listener for all rows, so that a row in view is not made anew when others come into it.
  const click = (event: MouseEvent) => {
    const target = event.target as Element;
    const row = target.closest("[aria-rowindex]");
    const node = row && shown[Number(row.getAttribute("aria-rowindex")) - 1];
    if (!node) return;
    const id = node.span.SpanID;
    if (target.closest(".fold")) fold(node, !folded.has(id));
    else onSelect(id === selected ? null : id);
  };
  return (
    <div className="waterfall">
      <div className="over">
        <Find
          input={finder}
          text={find}
          found={found}
          chosen={selected}
          onChange={setFind}
          onStep={step}
          onLeave={() => scroller.current?.focus()}
        />
        <button
          type="button"
          className="small"
          disabled={!shown[at]}
          onClick={() => {
            const { start, end } = shown[at]!;
            setZoom(around((start + end) / 2, end - start, whole));
          }}
        >
          Zoom to span
        </button>
        <button
          type="button"
          className="small"
          disabled={!zoom}
          onClick={() => {
            setZoom(null);
            // The button is of no use then, and keeps no focus.
            scroller.current?.focus();
          }}
        >
          Whole trace
        </button>
      </div>
      <Minimap nodes={all} whole={whole} zoom={zoom} onZoom={setZoom} />
      <p className="visually-hidden" role="status">
        {zoom && `Zoomed to ${duration(zoom.from)} until ${duration(zoom.to)}`}
      </p>
      <div className="rows-head" aria-hidden="true">
        <div>
          {several(shown.length, "span")}
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
      <Rows
        scroller={scroller}
        nodes={shown}
        at={at}
        range={range}
        folded={folded}
        found={isMarked ? marks : null}
        onClick={click}
        onKeyDown={(event) => {
          const action = keys[event.key];
          // With a modifier, keys are the browser's.
          if (action && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            action();
          }
        }}
      />
      <p className="legend">
        {KINDS.filter(([id]) => kinds.has(id)).map(([id, name]) => (
          <span key={id}>
            <i className={`kind-${id}`} />
            {name}
          </span>
        ))}
        <span>Arrow keys move and fold; + − 0, or a drag over the map, zoom; / finds; n p step to what is found, or to errors</span>
      </p>
    </div>
  );
}

/** As much time around a moment, within the whole; null is all of it. */
function around(middle: number, extent: number, whole: Range): Range | null {
  const all = whole.to - whole.from;
  const shown = Math.max(extent, NARROWEST);
  if (shown >= all) return null;
  const from = Math.max(whole.from, Math.min(middle - shown / 2, whole.to - shown));
  return { from, to: from + shown };
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
