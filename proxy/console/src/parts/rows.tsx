import { useVirtualizer } from "@tanstack/react-virtual";
import { type CSSProperties, type KeyboardEvent, memo, type MouseEvent, type RefObject, useEffect, useRef } from "react";
import { duration } from "../format";
import type { Node } from "./spans";

/** How high one is. */
export const ROW = 26;

/** Rows that are there beyond each end of what is in view. */
const BEYOND = 4;

/** Of the chosen row alone: each attribute that differs from row to row is a change for each that scrolls into view. */
const CHOSEN = "chosen-span";

/** How far to the right a name goes at most. */
const DEEPEST = 14;

export interface Range {
  from: number;
  to: number;
}

/** A row for each span. Only those in view are in the document, so that their number does not matter. */
export function Rows(props: {
  scroller: RefObject<HTMLDivElement | null>;
  nodes: Node[];
  /** The row of the chosen span, -1 where none is. */
  at: number;
  range: Range;
  folded: ReadonlySet<string>;
  /** To be marked. */
  found: ReadonlySet<Node> | null;
  onClick: (event: MouseEvent) => void;
  onKeyDown: (event: KeyboardEvent) => void;
}) {
  const { scroller, nodes, at, folded, found } = props;
  const selected = nodes[at]?.span.SpanID;
  const virtual = useVirtualizer({
    count: nodes.length,
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
  const opened = useRef(false);
  useEffect(() => {
    // A link to a span leads to its row; later, who chooses a span sees it.
    if (at >= 0) virtual.scrollToIndex(at, { align: opened.current ? "auto" : "center" });
    opened.current = true;
    // Where others are folded, what is in view stays.
  }, [selected]);
  return (
    <div
      ref={scroller}
      className="rows"
      style={{ height: Math.min(nodes.length * ROW + 2, 720) }}
      role="treegrid"
      aria-label="Spans"
      aria-rowcount={nodes.length}
      aria-activedescendant={items.some((item) => item.index === at) ? CHOSEN : undefined}
      tabIndex={0}
      onClick={props.onClick}
      onKeyDown={props.onKeyDown}
    >
      <div className="canvas" role="rowgroup" style={{ height: virtual.getTotalSize() }}>
        {items.map((item) => {
          const node = nodes[item.index];
          return (
            node && (
              <Row
                key={item.index % places}
                node={node}
                index={item.index}
                top={item.start}
                range={props.range}
                selected={item.index === at}
                found={found?.has(node) ?? false}
                folded={folded.has(node.span.SpanID)}
              />
            )
          );
        })}
      </div>
    </div>
  );
}

const Row = memo(function Row(props: {
  node: Node;
  index: number;
  top: number;
  range: Range;
  selected: boolean;
  found: boolean;
  folded: boolean;
}) {
  const { node, range } = props;
  const { span } = node;
  const extent = range.to - range.from;
  const left = ((node.start - range.from) / extent) * 100;
  const right = ((node.end - range.from) / extent) * 100;
  const failed = span.Status === "error";
  const short = span.StatusMsg === "short-circuit";
  const name = <Name name={span.Name} />;
  return (
    <div
      id={props.selected ? CHOSEN : undefined}
      className="span-row"
      role="row"
      aria-rowindex={props.index + 1}
      aria-level={node.depth + 1}
      aria-selected={props.selected}
      aria-expanded={node.children.length > 0 ? !props.folded : undefined}
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
          {props.found ? <mark>{name}</mark> : name}
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
