import { expect, test } from "vitest";
import { searchOf, selectionOf } from "../src/selection";

test("a selection survives its URL, whatever the symbol", () => {
  for (const symbol of ["AAPL", "BRK.B", "^DJI", "BINANCE:BTCUSDT", "A&B=C+D E"]) {
    const selection = { symbol, interval: "5m" } as const;
    expect(selectionOf(searchOf(selection))).toEqual(selection);
  }
});

test("what a URL lacks or gets wrong is the default", () => {
  expect(selectionOf("")).toEqual({ symbol: undefined, interval: "1d" });
  expect(selectionOf("?symbol=&interval=2m")).toEqual({ symbol: undefined, interval: "1d" });
});
