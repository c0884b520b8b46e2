// Edits as YAML, for who must write them into the file by hand.

import type { Edit, Json } from "../api";

/** Keys, as a map for that a name may be any. */
type Tree = Map<string, Tree | Json>;

const WORDS = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/** What the file is to say; keys that are to go are named in comments. */
export function yaml(edits: Edit[]): string {
  const lines: string[] = [];
  const root: Tree = new Map();
  for (const { path, value } of edits) {
    if (value === null) lines.push(`# remove ${path.map(scalar).join(".")}`);
    else put(root, path, value);
  }
  block(root, "", lines);
  return lines.map((line) => `${line}\n`).join("");
}

function put(tree: Tree, [key, ...rest]: string[], value: Json) {
  if (key === undefined) return;
  if (rest.length === 0) {
    tree.set(key, value);
    return;
  }
  const known = tree.get(key);
  const inner: Tree = known instanceof Map ? known : new Map();
  tree.set(key, inner);
  put(inner, rest, value);
}

function block(tree: Tree, indent: string, lines: string[]) {
  for (const [key, value] of tree) {
    const inner = entries(value);
    lines.push(`${indent}${scalar(key)}:${inner ? "" : ` ${flow(value as Json)}`}`);
    if (inner) block(inner, `${indent}  `, lines);
  }
}

/** Of a mapping that has some. */
function entries(value: Tree | Json): Tree | null {
  if (value instanceof Map) return value;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const inner = new Map(Object.entries(value));
  return inner.size > 0 ? inner : null;
}

/** On one line: what is no plain text is as in JSON, which YAML takes. */
function flow(value: Json): string {
  if (typeof value === "string") return scalar(value);
  return Array.isArray(value) ? `[${value.map(flow).join(", ")}]` : JSON.stringify(value);
}

function scalar(text: string): string {
  const isPlain = /^[a-z_][\w./-]*$/i.test(text) && !WORDS.includes(text.toLowerCase());
  return isPlain ? text : JSON.stringify(text);
}
