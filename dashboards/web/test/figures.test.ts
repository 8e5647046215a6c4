import { expect, test } from "vitest";
import type { SnapshotAnswer } from "../src/api";
import { joined } from "../src/figures";

const snapshot = (change: Partial<SnapshotAnswer>): SnapshotAnswer => ({
  symbol: "AAPL",
  kpi: { quotes: [] },
  candles: null,
  compared: [],
  treemap: null,
  sparklines: null,
  health: null,
  pipeline: null,
  missing: {},
  ...change,
});

test("a part that is missing keeps its last figures, and one that is empty loses them", () => {
  const tiles = { tiles: [] };
  const before = joined({}, snapshot({ treemap: tiles, sparklines: { symbols: [] } }));
  const after = joined(before, snapshot({ missing: { treemap: "it is still being read" } }));
  expect(after.treemap).toBe(tiles);
  expect(after.sparklines).toBeNull();
});
