// What the reader looks at. It is kept in the URL, so that it can be linked, reloaded and gone back to.

import { useCallback, useEffect, useState } from "preact/hooks";
import type { Asked, Interval, Range } from "./api";

export const INTERVALS: readonly Interval[] = ["1m", "5m", "15m", "1h", "1d"];
export const RANGES: readonly Range[] = ["1d", "5d", "all"];
/** The intervals that suit a range. */
export const SUITABLE: Record<Range, readonly Interval[]> = {
  "1d": ["1m", "5m", "15m", "1h"],
  "5d": ["5m", "15m", "1h", "1d"],
  all: ["15m", "1h", "1d"],
};
/** The API compares with no more. */
export const MOST_COMPARED = 4;

/** What the API takes for a symbol. */
const SYMBOL = /^(?!.*\.\.)[A-Za-z0-9^:\-_=+&$!@](?:[A-Za-z0-9 .^:\-_=+&$!@]{0,62}[A-Za-z0-9.^:\-_=+&$!@])?$/;

/** No symbol: the first there is. No interval or range: what suits the quotes. */
export type Selection = Asked;

/** The selection of a URL's query; what it lacks or gets wrong is the default. */
export function selectionOf(search: string): Selection {
  const query = new URLSearchParams(search);
  const compared = (query.get("compare") ?? "").split(",").filter((symbol) => SYMBOL.test(symbol));
  const symbol = query.get("symbol") ?? "";
  return {
    symbol: SYMBOL.test(symbol) ? symbol : undefined,
    interval: INTERVALS.find((interval) => interval === query.get("interval")),
    range: RANGES.find((range) => range === query.get("range")),
    compared: [...new Set(compared)].slice(0, MOST_COMPARED),
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

/** The URL's selection, and a way to change it. */
export function useSelection(): [Selection, (change: Partial<Selection>) => void] {
  const [selection, setSelection] = useState(() => selectionOf(location.search));
  useEffect(() => {
    const follow = () => setSelection(selectionOf(location.search));
    window.addEventListener("popstate", follow);
    return () => window.removeEventListener("popstate", follow);
  }, []);
  const select = useCallback((change: Partial<Selection>) => {
    const next = { ...selectionOf(location.search), ...change };
    if (searchOf(next) !== location.search) history.pushState(null, "", searchOf(next));
    setSelection(next);
  }, []);
  return [selection, select];
}
