// Counters as they were lately, kept while one goes from page to page.

import { useRef } from "react";

/** How many moments are kept: two minutes at one every two seconds. */
export const MOMENTS = 60;

interface Moment {
  at: number;
  counters: number[];
}

const kept = new Map<string, Moment[]>();

export interface Rate {
  at: number;
  /** A second, in the order of the counters. */
  rates: number[];
}

/** How fast counters go up, from each answer to the next. */
export function useRates(name: string, counters: number[] | undefined, updated: number): Rate[] {
  const seen = useRef(0);
  const moments = kept.get(name) ?? [];
  if (counters && updated !== seen.current) {
    seen.current = updated;
    kept.set(name, moments);
    const last = moments.at(-1);
    // Another process counts from nothing, another configuration counts other things.
    if (last && (last.counters.length !== counters.length || counters.some((count, at) => count < last.counters[at]!))) {
      moments.length = 0;
    }
    if (!last || updated - last.at > 500) moments.push({ at: updated, counters });
    if (moments.length > MOMENTS) moments.shift();
  }
  return moments.slice(1).map((after, index) => {
    const before = moments[index]!;
    const seconds = Math.max((after.at - before.at) / 1000, 0.001);
    return { at: after.at, rates: after.counters.map((count, at) => (count - before.counters[at]!) / seconds) };
  });
}

/** The mean of the last few rates of one counter. */
export function now(rates: Rate[], counter: number): number {
  const last = rates.slice(-3);
  return last.reduce((sum, rate) => sum + (rate.rates[counter] ?? 0), 0) / Math.max(last.length, 1);
}
