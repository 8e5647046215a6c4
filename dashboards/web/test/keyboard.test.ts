import { expect, test, vi } from "vitest";
import type { Kpi } from "../src/api";
import { actOn } from "../src/keyboard";
import { type Change, type Selection, selectionOf } from "../src/selection";

/** The last change that was asked for, of a selection. */
function changeOf({ select }: ReturnType<typeof actions>, current: Selection): Partial<Selection> {
  const change: Change = select.mock.lastCall?.[0];
  return typeof change === "function" ? change(current) : change;
}

function actions(symbol: string | undefined) {
  const quotes = ["A", "B", "C"].map((one) => ({ symbol: one }) as Kpi);
  return { quotes, symbol, select: vi.fn(), toggleTheme: vi.fn(), toggleZone: vi.fn(), help: vi.fn() };
}

test.each([
  ["ArrowRight", "A", "B"],
  ["ArrowRight", "C", "A"],
  ["ArrowLeft", "A", "C"],
  ["ArrowLeft", "B", "A"],
  ["ArrowRight", undefined, "A"],
  ["ArrowLeft", undefined, "C"],
  ["ArrowLeft", "GONE", "C"],
])("%s from %s selects %s", (key, from, to) => {
  const keyboard = actions(from);
  expect(actOn(key, keyboard)).toBe(true);
  expect(changeOf(keyboard, selectionOf(""))).toEqual({ symbol: to });
});

test("an arrow begins at the symbol that is selected by then, not at the one shown", () => {
  const keyboard = actions("A");
  actOn("ArrowRight", keyboard);
  expect(changeOf(keyboard, selectionOf("?symbol=B"))).toEqual({ symbol: "C" });
});

test("without quotes the arrows are the browser's", () => {
  expect(actOn("ArrowRight", { ...actions("A"), quotes: [] })).toBe(false);
});

test("digits choose the interval, letters the theme and the clock", () => {
  const keyboard = actions("A");
  actOn("4", keyboard);
  expect(keyboard.select).toHaveBeenCalledWith({ interval: "1h", range: undefined });
  for (const [key, done] of [
    ["t", keyboard.toggleTheme],
    ["z", keyboard.toggleZone],
    ["?", keyboard.help],
  ] as const) {
    actOn(key, keyboard);
    expect(done).toHaveBeenCalledOnce();
  }
});

test("other keys are the browser's", () => {
  for (const key of ["6", "0", "x", "Enter", "Tab"]) expect(actOn(key, actions("A"))).toBe(false);
});
