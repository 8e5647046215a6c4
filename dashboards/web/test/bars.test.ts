import { describe, expect, test } from "vitest";
import openapi from "../../../functions/serve-dashboard/openapi.json";
import type { Candle, CandlesAnswer, Kpi, KpiAnswer } from "../src/api";
import { areDashes, bucketOf, changedFrom, changeOf, joinLive, percentLine } from "../src/bars";

const BUCKET = Date.parse("2019-02-15T20:55:00Z") / 1_000;

// The API's own example.
const { examples } = openapi.paths["/api/kpi"].get.responses["200"].content["application/json"];
const quote = examples["one symbol"].value.quotes[0] as Kpi;

const candle: Candle = {
  time: BUCKET,
  date: "2019-02-15",
  open: 170.6,
  high: 170.7,
  low: 170.5,
  close: 170.55,
  trend: 170.51,
  quotes: 10,
};

function kpi(change: Partial<Kpi> = {}): KpiAnswer {
  return {
    quotes: [
      { ...quote, symbol: "AMZN", price: 1 },
      { ...quote, ...change },
    ],
  };
}

function answer(candles: Candle[], interval: CandlesAnswer["interval"] = "5m"): CandlesAnswer {
  return { symbol: "AAPL", interval, range: "1d", candles, day: null };
}

describe("a quote's candle", () => {
  test("is one minute to one hour, or New York's day", () => {
    expect(bucketOf(quote, "5m")).toBe(BUCKET);
    expect(bucketOf(quote, "1m")).toBe(BUCKET + 240);
    expect(bucketOf(quote, "15m")).toBe(Date.parse("2019-02-15T20:45:00Z") / 1_000);
    expect(bucketOf(quote, "1h")).toBe(Date.parse("2019-02-15T20:00:00Z") / 1_000);
    expect(
      bucketOf({ ...quote, market_time: "2019-02-16T01:00:00Z", market_time_us: "2019-02-15T20:00:00" }, "1d"),
    ).toBe("2019-02-15");
  });

  test("begins where it begins, on both sides of a clock change", () => {
    expect(bucketOf({ ...quote, market_time: "2024-11-03T05:59:59Z" }, "5m")).toBe(
      Date.parse("2024-11-03T05:55:00Z") / 1e3,
    );
    expect(bucketOf({ ...quote, market_time: "2024-11-03T06:00:00Z" }, "5m")).toBe(
      Date.parse("2024-11-03T06:00:00Z") / 1e3,
    );
  });
});

describe("the live quote", () => {
  test("changes the newest candle in place", () => {
    const before = { ...candle, time: BUCKET - 300 };
    expect(joinLive(answer([before, candle]), kpi(), true)).toEqual([
      before,
      { ...candle, low: 170.42, close: 170.42 },
    ]);
  });

  test("begins the next candle with its own price and the day's line", () => {
    const before = { ...candle, time: BUCKET - 300 };
    expect(joinLive(answer([before]), kpi(), true)).toEqual([
      before,
      {
        time: BUCKET,
        date: "2019-02-15",
        open: 170.42,
        high: 170.42,
        low: 170.42,
        close: 170.42,
        trend: 170.51,
        quotes: 1,
      },
    ]);
  });

  test("does not carry yesterday's line into a new day", () => {
    const yesterday = { ...candle, time: BUCKET - 86_400, date: "2019-02-14" };
    expect(joinLive(answer([yesterday]), kpi(), true).at(-1)?.trend).toBeNull();
  });

  test("widens a day's candle to the day's range, where that is known", () => {
    const day = { ...candle, time: "2019-02-15" };
    expect(joinLive(answer([day], "1d"), kpi(), true)).toEqual([{ ...day, high: 171.7, low: 169.75, close: 170.42 }]);
    expect(joinLive(answer([day], "1d"), kpi({ day_low: 0, day_high: 0 }), true)).toEqual([
      { ...day, low: 170.42, close: 170.42 },
    ]);
  });

  test("of an earlier market time changes nothing", () => {
    const later = [{ ...candle, time: BUCKET + 300 }];
    expect(joinLive(answer(later), kpi(), true)).toBe(later);
  });

  test("that was read before the candles changes nothing", () => {
    const candles = [candle];
    expect(joinLive(answer(candles), kpi(), false)).toBe(candles);
  });

  test("makes no candle where there is none, and none of another symbol", () => {
    expect(joinLive(answer([]), kpi(), true)).toEqual([]);
    expect(joinLive({ ...answer([candle]), symbol: "JPM" }, kpi(), true)).toEqual([candle]);
    expect(joinLive(answer([candle]), undefined, true)).toEqual([candle]);
  });
});

describe("a candle's change", () => {
  const bars = [candle, { ...candle, time: BUCKET + 300, open: 9, close: 341.1 }];
  test("is from the close before it", () => expect(changeOf(bars, 1)).toEqual({ amount: 170.55, percent: 100 }));
  test("is from its own open where it is the first", () => expect(changeOf(bars, 0).amount).toBeCloseTo(-0.05));
  test("has no percent of nothing", () => expect(changeOf([{ ...candle, open: 0 }], 0).percent).toBeNull());
});

test("candles of one quote each are dashes", () => {
  const dash = { ...candle, quotes: 1 };
  expect(areDashes([dash, dash, candle])).toBe(true);
  expect(areDashes([dash, candle, candle])).toBe(false);
  expect(areDashes([dash])).toBe(false);
});

test("a comparison begins at the first open and is in percent", () => {
  const bars = [
    { ...candle, open: 100, close: 101 },
    { ...candle, time: BUCKET + 300, close: 50 },
  ];
  const [first, second] = percentLine(bars);
  expect(first?.value).toBeCloseTo(1);
  expect(second).toEqual({ time: BUCKET + 300, value: -50 });
  expect(percentLine([{ ...candle, open: 0 }])).toEqual([]);
});

describe("a drawn series", () => {
  const items = (...values: [number, number][]) => values.map(([time, value]) => ({ time, value }));
  const drawn = items([1, 1], [2, 2]);
  test.each([
    ["is left alone when nothing changed", items([1, 1], [2, 2]), undefined],
    ["changes its last item in place", items([1, 1], [2, 3]), 1],
    ["changes its last item and appends", items([1, 1], [2, 3], [3, 3]), 1],
    ["appends", items([1, 1], [2, 2], [3, 3]), 2],
    ["is drawn again when an earlier item changed", items([1, 0], [2, 2]), 0],
    ["is drawn again when its last item went away", items([1, 1]), 0],
    ["is drawn again when its last item became another one", items([1, 1], [3, 3]), 0],
    ["is drawn again when it moved on", items([2, 2], [3, 3]), 0],
    ["is emptied", [], 0],
  ])("%s", (_, after, first) => expect(changedFrom(drawn, after)).toBe(first));
  test("is drawn from nothing", () => expect(changedFrom([], drawn)).toBe(0));
});
