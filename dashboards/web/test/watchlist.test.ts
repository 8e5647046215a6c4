import { expect, test } from "vitest";
import type { Kpi } from "../src/api";
import { sorted } from "../src/watchlist";

const quote = (symbol: string, change_percent: number | null) => ({ symbol, change_percent }) as Kpi;

test("quotes are sorted by a column, and what is not known comes last both ways", () => {
  const quotes = [quote("A", 1), quote("B", null), quote("C", -1), quote("D", 3)];
  const order = (isDescending: boolean) => sorted(quotes, "change_percent", isDescending).map((one) => one.symbol);
  expect(order(true)).toEqual(["D", "A", "C", "B"]);
  expect(order(false)).toEqual(["C", "A", "D", "B"]);
});
