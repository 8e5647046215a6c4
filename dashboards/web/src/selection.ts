// What the reader looks at. It is kept in the URL, so that it can be linked, reloaded and gone back to.

import { useCallback, useEffect, useState } from "preact/hooks";
import type { Interval } from "./api";

export const INTERVALS: readonly Interval[] = ["1d", "5m", "1m"];

export interface Selection {
  /** None: the first symbol there is. */
  symbol: string | undefined;
  interval: Interval;
}

/** The selection of a URL's query; what it lacks or gets wrong is the default. */
export function selectionOf(search: string): Selection {
  const query = new URLSearchParams(search);
  return {
    symbol: query.get("symbol") || undefined,
    interval: INTERVALS.find((interval) => interval === query.get("interval")) ?? "1d",
  };
}

/** The URL's query of a selection, with its `?`. */
export function searchOf({ symbol, interval }: Selection): string {
  return `?${new URLSearchParams({ ...(symbol && { symbol }), interval })}`;
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
