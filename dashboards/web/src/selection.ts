// What the reader looks at. It is kept in the URL, so that it can be linked, reloaded and gone back to.

import { useCallback, useLayoutEffect, useState } from "preact/hooks";
import type { Asked, Interval, Range } from "./api";

export const INTERVALS: readonly Interval[] = ["1m", "5m", "15m", "1h", "1d"];
export const RANGES: readonly Range[] = ["1d", "5d", "all"];
/** The intervals that suit a range. */
export const SUITABLE: Record<Range, readonly Interval[]> = {
  "1d": ["1m", "5m", "15m", "1h"],
  "5d": ["5m", "15m", "1h", "1d"],
  all: ["15m", "1h", "1d"],
};
/** The API compares with no more symbols. */
export const MOST_COMPARED = 4;

/** What the API accepts as a symbol. */
const SYMBOL = /^(?!.*\.\.)[A-Za-z0-9^:\-_=+&$!@](?:[A-Za-z0-9 .^:\-_=+&$!@]{0,62}[A-Za-z0-9.^:\-_=+&$!@])?$/;

/** Without a symbol, the first one is shown; without an interval or range, what suits the quotes. */
export type Selection = Asked;

/** The selection of a URL's query. What is missing or wrong is the default. */
export function selectionOf(search: string): Selection {
  const query = new URLSearchParams(search);
  const compared = (query.get("compare") ?? "").split(",").filter((symbol) => SYMBOL.test(symbol));
  const given = query.get("symbol") ?? "";
  const symbol = SYMBOL.test(given) ? given : undefined;
  return {
    symbol,
    interval: INTERVALS.find((interval) => interval === query.get("interval")),
    range: RANGES.find((range) => range === query.get("range")),
    compared: [...new Set(compared)].filter((one) => one !== symbol).slice(0, MOST_COMPARED),
  };
}

/** The URL's query of a selection, with its `?`. */
export function searchOf({ symbol, interval, range, compared }: Selection): string {
  const query = new URLSearchParams({
    ...(symbol && { symbol }),
    ...(range && { range }),
    ...(interval && { interval }),
    ...(compared.length > 0 && { compare: compared.join(",") }),
  });
  return `?${query}`;
}

/** A change, or a function that makes it from the current selection, which may be newer than the one shown. */
export type Change = Partial<Selection> | ((current: Selection) => Partial<Selection>);

/** The URL's selection, and a way to change it. */
export function useSelection(): [Selection, (change: Change) => void] {
  const [selection, setSelection] = useState(() => selectionOf(location.search));
  useLayoutEffect(() => {
    const follow = () => setSelection(selectionOf(location.search));
    window.addEventListener("popstate", follow);
    return () => window.removeEventListener("popstate", follow);
  }, []);
  const select = useCallback((change: Change) => {
    const current = selectionOf(location.search);
    const search = searchOf({ ...current, ...(typeof change === "function" ? change(current) : change) });
    const next = selectionOf(search);
    if (searchOf(next) !== location.search) history.pushState(null, "", searchOf(next));
    setSelection(next);
  }, []);
  return [selection, select];
}
