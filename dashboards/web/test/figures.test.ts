import { expect, test } from "vitest";
import { Failure, type Kpi, type SnapshotAnswer, snapshotPath } from "../src/api";
import { figuresOf, joined, type Known } from "../src/figures";
import { selectionOf } from "../src/selection";

const snapshot = (change: Partial<SnapshotAnswer>) =>
  ({ symbol: "AAPL", treemap: null, sparklines: null, missing: {}, ...change }) as SnapshotAnswer;

test("a part that is missing keeps its last figures, and one that is empty loses them", () => {
  const tiles = { tiles: [] };
  const before = joined({}, snapshot({ treemap: tiles, sparklines: { symbols: [] } }));
  const after = joined(before, snapshot({ missing: { treemap: "it is still being read" } }));
  expect(after.treemap).toBe(tiles);
  expect(after.sparklines).toBeNull();
});

/** What is known after the answer to a page's query. */
function known(search: string, change: Partial<Known> = {}): Known {
  const quotes = ["AAPL", "MSFT", "TSLA"].map((symbol) => ({ symbol }) as Kpi);
  const { symbol } = selectionOf(search);
  return {
    path: snapshotPath(selectionOf(search)),
    parts: { kpi: { quotes } },
    missing: {},
    symbol: symbol ?? "AAPL",
    asOf: new Map(),
    clockOffset: 0,
    ...change,
  };
}

test("without a chosen symbol the page is of the first, also before the answer to that question", () => {
  expect(figuresOf(known(""), selectionOf("")).symbol).toBe("AAPL");
  expect(figuresOf(known("?symbol=TSLA"), selectionOf("")).symbol).toBe("AAPL");
  expect(figuresOf(known("?symbol=TSLA"), selectionOf("?symbol=MSFT")).symbol).toBe("MSFT");
});

test("an answer that lacks the quotes leaves the page at its symbol", () => {
  expect(figuresOf(known("", { symbol: undefined }), selectionOf("")).symbol).toBe("AAPL");
});

test("a question that cannot be answered says nothing of the next one, and a server that is away does", () => {
  const refused = known("?symbol=A", { failure: new Failure("it is not a symbol", true) });
  expect(figuresOf(refused, selectionOf("?symbol=A")).kpi.failure).toBeDefined();
  expect(figuresOf(refused, selectionOf("?symbol=MSFT")).kpi.failure).toBeUndefined();
  const away = known("?symbol=A", { failure: new Failure("the server does not answer", false) });
  expect(figuresOf(away, selectionOf("?symbol=MSFT")).outage).toBeDefined();
});
