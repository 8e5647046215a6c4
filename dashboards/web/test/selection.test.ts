import { expect, test } from "vitest";
import { snapshotPath } from "../src/api";
import { searchOf, selectionOf } from "../src/selection";

test("a selection survives its URL, whatever the symbol", () => {
  for (const symbol of ["AAPL", "BRK.B", "^DJI", "BINANCE:BTCUSDT", "A&B=C+D E"]) {
    const selection = { symbol, interval: "5m", range: "5d", compared: ["MSFT", "V"] } as const;
    expect(selectionOf(searchOf(selection))).toEqual(selection);
  }
});

test("what a URL lacks or gets wrong is the default", () => {
  const nothing = { symbol: undefined, interval: undefined, range: undefined, compared: [] };
  expect(selectionOf("")).toEqual(nothing);
  expect(selectionOf("?symbol=&interval=2m&range=1y&compare=,")).toEqual(nothing);
  for (const symbol of ["%3Cb%3E", "..", ".A", "A/../B", "%20A", "A".repeat(65)]) {
    expect(selectionOf(`?symbol=${symbol}&compare=${symbol}`)).toEqual(nothing);
  }
});

test("no more is compared than the API takes, nothing twice, and no symbol with itself", () => {
  expect(selectionOf("?compare=A,B,A,C,D,E").compared).toEqual(["A", "B", "C", "D"]);
  expect(selectionOf("?symbol=B&compare=A,B,C,D,E").compared).toEqual(["A", "C", "D", "E"]);
});

test("the request says what the reader chose, and no more", () => {
  expect(snapshotPath(selectionOf(""))).toBe("/api/snapshot");
  expect(snapshotPath(selectionOf("?symbol=A%26B&range=5d&compare=C"))).toBe(
    "/api/snapshot?symbol=A%26B&range=5d&compare=C",
  );
});
