// What keys do. A key does nothing while the reader is in a control that uses it.

import { useLayoutEffect } from "preact/hooks";
import type { Kpi } from "./api";
import { type Change, INTERVALS } from "./selection";

export const KEYS = [
  ["← →", "The symbol before, the next one"],
  ["1 … 5", "1 min, 5 min, 15 min, 1 h, 1 day"],
  ["/", "Search (from eight symbols on)"],
  ["t", "Light or dark"],
  ["z", "New York’s time or yours"],
  ["?", "This list"],
] as const;

interface Actions {
  quotes: readonly Kpi[];
  symbol: string | undefined;
  select: (change: Change) => void;
  toggleTheme: () => void;
  toggleZone: () => void;
  help: () => void;
}

export function useKeyboard(actions: Actions) {
  // Not useEffect: it runs after the paint. A key pressed before that would act on what the page showed before.
  useLayoutEffect(() => {
    const act = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyped(event)) return;
      if (actOn(event.key, actions)) event.preventDefault();
    };
    document.addEventListener("keydown", act);
    return () => document.removeEventListener("keydown", act);
  });
}

function isTyped({ target, key }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false;
  // The arrows move a list of choices and what scrolls.
  const takes = key.startsWith("Arrow")
    ? "input, select, textarea, .scroll, dialog"
    : "input:not([type=radio]), select, textarea";
  return target.closest(takes) !== null;
}

/** The symbol before (-1) or after (1) another one. After the last comes the first; an unknown one is before the first. */
function neighbourOf(symbol: string | undefined, quotes: readonly Kpi[], step: 1 | -1): string | undefined {
  const at = quotes.findIndex((quote) => quote.symbol === symbol);
  return quotes.at(at < 0 && step < 0 ? -1 : (at + step) % quotes.length)?.symbol;
}

/** Whether the key did something. */
export function actOn(key: string, { quotes, symbol, select, toggleTheme, toggleZone, help }: Actions): boolean {
  const interval = INTERVALS[Number(key) - 1];
  if (key === "ArrowLeft" || key === "ArrowRight") {
    if (quotes.length === 0) return false;
    // The selection may be newer than the page: two keys may be pressed before it is drawn again.
    select((current) => ({ symbol: neighbourOf(current.symbol ?? symbol, quotes, key === "ArrowRight" ? 1 : -1) }));
    return true;
  }
  if (interval) select({ interval, range: undefined });
  else if (key === "t") toggleTheme();
  else if (key === "z") toggleZone();
  else if (key === "?") help();
  else if (key === "/") document.querySelector<HTMLInputElement>("input[type=search]")?.focus();
  else return false;
  return true;
}
