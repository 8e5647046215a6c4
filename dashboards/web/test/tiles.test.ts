import { describe, expect, test } from "vitest";
import type { Tile } from "../src/api";
import { areasOf, fillOf, textOn } from "../src/tiles";

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
    expect(fillOf(1.5, colours)).toBe("rgb(50, 50, 150)");
    expect(fillOf(-1.5, colours)).toBe("rgb(150, 100, 50)");
  });
  test("get no stronger at the scale's ends", () => expect(fillOf(-40, colours)).toBe(colours.down));
  test("are neutral where the change is not known", () => expect(fillOf(null, colours)).toBe("rgb(100, 100, 100)"));
  test("carry a label that can be read", () => {
    expect(textOn("rgb(255, 255, 255)")).toBe("#000");
    expect(textOn("rgb(20, 30, 40)")).toBe("#fff");
  });
});
