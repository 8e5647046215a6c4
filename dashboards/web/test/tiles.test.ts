import { describe, expect, test } from "vitest";
import type { Tile } from "../src/api";
import { areasOf, byChange, fillOf, fontOf, textOn } from "../src/tiles";

const tile = (relative_volatility: number | null): Tile => ({
  symbol: "AAPL",
  date: "2019-02-15",
  price: 170,
  avg_price: 170,
  change_percent: 1,
  volatility: 1,
  relative_volatility,
});

describe("areas", () => {
  test("are equal by choice", () => expect(areasOf([tile(0.01), tile(0.03)], "equal")).toEqual([0.5, 0.5]));
  test("follow the volatility", () => expect(areasOf([tile(0.01), tile(0.03)], "volatility")).toEqual([0.25, 0.75]));
  test("leave room for a price that did not move or is not known", () => {
    const [largest = 0, still = 0, unknown = 0] = areasOf([tile(0.02), tile(0), tile(null)], "volatility");
    expect(still / largest).toBeCloseTo(0.05);
    expect(unknown).toBe(still);
  });
  test("are equal while no price has moved", () =>
    expect(areasOf([tile(0), tile(0)], "volatility")).toEqual([0.5, 0.5]));
});

describe("colours", () => {
  const colours = { up: "rgb(0, 0, 200)", neutral: "rgb(100, 100, 100)", down: "rgb(200, 100, 0)" };
  test("go from neutral to up and down with the change", () => {
    expect(fillOf(0, colours)).toBe("rgb(100, 100, 100)");
    expect(fillOf(1, colours)).toBe("rgb(50, 50, 150)");
    expect(fillOf(-1, colours)).toBe("rgb(150, 100, 50)");
  });
  test("get no stronger at the scale's ends", () => expect(fillOf(-40, colours)).toBe(colours.down));
  test("are neutral where the change is not known", () => expect(fillOf(null, colours)).toBe("rgb(100, 100, 100)"));
  test("carry a label that can be read", () => {
    expect(textOn("rgb(255, 255, 255)")).toBe("#000");
    expect(textOn("rgb(20, 30, 40)")).toBe("#fff");
  });
});

test("the largest rise comes first and what is not known last", () => {
  const tiles = [-1, null, 2, 0].map((change_percent) => ({ ...tile(0.01), change_percent }));
  expect(byChange(tiles).map((one) => one.change_percent)).toEqual([2, 0, -1, null]);
});

test("a name is as large as its tile, and not larger than a heading", () => {
  expect(fontOf(1, 2_000, 2_000, "AAPL")).toBe(24);
  expect(fontOf(0.01, 400, 300, "AAPL")).toBe(9);
  expect(fontOf(0.2, 420, 340, "AAPL")).toBeGreaterThan(fontOf(0.2, 420, 340, "BINANCE:BTCUSDT"));
});
