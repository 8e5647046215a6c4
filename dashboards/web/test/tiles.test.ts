import { describe, expect, test } from "vitest";
import type { Tile } from "../src/api";
import { areasOf, type Box, boxesOf, byChange, fillOf, textOn } from "../src/tiles";

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

describe("boxes", () => {
  const areas = areasOf([tile(0.03), tile(0.02), tile(0.01)], "volatility");
  const sizeOf = ({ x0, y0, x1, y1 }: Box) => (x1 - x0) * (y1 - y0);
  test("fill the map with the areas, in their order", () => {
    const sizes = boxesOf(areas, 600, 400).map(sizeOf);
    for (const [index, area] of areas.entries()) expect(sizes[index]).toBeCloseTo(area * 600 * 400, -4);
  });
  test("lie in the map and not over each other", () => {
    const boxes = boxesOf(areas, 600, 400);
    for (const box of boxes) {
      expect([box.x0 >= 0, box.y0 >= 0, box.x1 <= 600, box.y1 <= 400]).toEqual([true, true, true, true]);
      for (const other of boxes.filter((one) => one !== box)) {
        expect(box.x1 <= other.x0 || other.x1 <= box.x0 || box.y1 <= other.y0 || other.y1 <= box.y0).toBe(true);
      }
    }
  });
  test("are none before the map has a size", () => expect(boxesOf(areas, 0, 0)).toEqual([]));
});
