// Numbers as people read them.

export function duration(ns: number): string {
  if (ns < 1e3) return `${Math.round(ns)} ns`;
  if (ns < 1e6) return `${digits(ns / 1e3)} µs`;
  if (ns < 1e9) return `${digits(ns / 1e6)} ms`;
  return `${digits(ns / 1e9)} s`;
}

export function milliseconds(ms: number): string {
  return duration(ms * 1e6);
}

function digits(value: number): string {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : Math.round(value).toString();
}

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : digits(value)} ${units[unit]}`;
}

const whole = new Intl.NumberFormat("en");

export function count(value: number): string {
  return whole.format(value);
}

/** So many of what is counted: `1 span`, `2 spans`. */
export function several(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** How many of all endpoints get no requests. Where none would be left, each gets its share. */
export function leftOut(out: number, all: number): string {
  if (out === all) {
    return "no endpoint is well: all are used as if they were";
  }
  return `${count(out)} of ${several(all, "endpoint")} ${out === 1 ? "is" : "are"} left out`;
}

/** Of counts by reason. */
export function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

export function listed(counts: Record<string, number>): string {
  return Object.entries(counts)
    .map(([reason, times]) => `${reason} ${count(times)}`)
    .join(", ");
}

export function rate(value: number): string {
  return value < 10 ? value.toFixed(1) : whole.format(Math.round(value));
}

export function clock(us: number): string {
  const date = new Date(us / 1000);
  const part = (value: number, width = 2) => String(value).padStart(width, "0");
  return `${part(date.getHours())}:${part(date.getMinutes())}:${part(date.getSeconds())}.${part(date.getMilliseconds(), 3)}`;
}

export function day(us: number): string {
  return new Date(us / 1000).toLocaleDateString("en", { month: "short", day: "numeric" });
}

export function ago(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** Nanoseconds since the epoch of an RFC 3339 time, after another one's second: exact within a trace. */
export function nanoseconds(time: string, from: string): number {
  const whole = (Date.parse(`${time.slice(0, 19)}Z`) - Date.parse(`${from.slice(0, 19)}Z`)) * 1e6;
  const fraction = (text: string) => Number((/\.(\d+)/.exec(text)?.[1] ?? "").padEnd(9, "0").slice(0, 9));
  return whole + fraction(time) - fraction(from);
}

/** How long it is until then. */
export function until(seconds: number): string {
  return seconds <= 0 ? `expired ${ago(-seconds)} ago` : `expires in ${ago(seconds)}`;
}
