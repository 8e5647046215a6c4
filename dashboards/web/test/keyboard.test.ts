import { expect, test, vi } from "vitest";
import type { Kpi } from "../src/api";
import { actOn } from "../src/keyboard";

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
])("%s from %s selects %s", (key, from, to) => {
  const keyboard = actions(from);
  expect(actOn(key, keyboard)).toBe(true);
  expect(keyboard.select).toHaveBeenCalledWith({ symbol: to });
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
