import { describe, expect, test } from "vitest";
import type { Candle, CandlesAnswer, HistoryPoint, Kpi, KpiAnswer } from "../src/api";
import { bucketOf, changedFrom, joinLive, lineOf, trendAt } from "../src/bars";

const BUCKET = Date.parse("2019-02-15T20:55:00Z") / 1_000;

const quote: Kpi = {
  symbol: "AAPL",
  price: 170.42,
  change: -0.38,
  change_percent: -0.2225,
  day_high: 171.7,
  day_low: 169.75,
  day_open: 171.25,
  prev_close: 170.8,
  market_time: "2019-02-15T20:59:58Z",
  market_time_us: "2019-02-15T15:59:58",
  fetched_at: "2026-08-03T14:05:06Z",
};

const candle: Candle = {
  time: BUCKET,
  date: "2019-02-15",
  open: 170.6,
  high: 170.7,
  low: 170.5,
  close: 170.55,
  trend: 170.51,
};

function kpi(change: Partial<Kpi> = {}, as_of = "2026-08-03T14:05:12Z"): KpiAnswer {
  return {
    as_of,
    quotes: [
      { ...quote, symbol: "AMZN", price: 1 },
      { ...quote, ...change },
    ],
  };
}

function answer(candles: Candle[], interval: CandlesAnswer["interval"] = "5m"): CandlesAnswer {
  return { as_of: "2026-08-03T14:05:10Z", symbol: "AAPL", interval, candles, day: null };
}

describe("a quote's candle", () => {
  test("is five minutes, one minute or New York's day", () => {
    expect(bucketOf(quote, "5m")).toBe(BUCKET);
    expect(bucketOf(quote, "1m")).toBe(BUCKET + 240);
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
    expect(joinLive(answer([before, candle]), kpi())).toEqual([before, { ...candle, low: 170.42, close: 170.42 }]);
  });

  test("begins the next candle with its own price and the day's line", () => {
    const before = { ...candle, time: BUCKET - 300 };
    expect(joinLive(answer([before]), kpi())).toEqual([
      before,
      { time: BUCKET, date: "2019-02-15", open: 170.42, high: 170.42, low: 170.42, close: 170.42, trend: 170.51 },
    ]);
  });

  test("does not carry yesterday's line into a new day", () => {
    const yesterday = { ...candle, time: BUCKET - 86_400, date: "2019-02-14" };
    expect(joinLive(answer([yesterday]), kpi()).at(-1)?.trend).toBeNull();
  });

  test("widens a day's candle to the day's range, where that is known", () => {
    const day = { ...candle, time: "2019-02-15" };
    expect(joinLive(answer([day], "1d"), kpi())).toEqual([{ ...day, high: 171.7, low: 169.75, close: 170.42 }]);
    expect(joinLive(answer([day], "1d"), kpi({ day_low: 0, day_high: 0 }))).toEqual([
      { ...day, low: 170.42, close: 170.42 },
    ]);
  });

  test("of an earlier market time changes nothing", () => {
    const later = [{ ...candle, time: BUCKET + 300 }];
    expect(joinLive(answer(later), kpi())).toBe(later);
  });

  test("that was read before the candles changes nothing", () => {
    const candles = [candle];
    expect(joinLive(answer(candles), kpi({}, "2026-08-03T14:05:10Z"))).toBe(candles);
  });

  test("makes no candle where there is none, and none of another symbol", () => {
    expect(joinLive(answer([]), kpi())).toEqual([]);
    expect(joinLive({ ...answer([candle]), symbol: "JPM" }, kpi())).toEqual([candle]);
    expect(joinLive(answer([candle]), undefined)).toEqual([candle]);
  });
});

describe("the day's line", () => {
  const day = { date: "2019-02-15", trend_line: 170.4 };
  test("is the candle's own", () => expect(trendAt(candle, day)).toBe(170.51));
  test("is the day's where the candle has none", () => expect(trendAt({ ...candle, trend: null }, day)).toBe(170.4));
  test("is not another day's", () => expect(trendAt({ ...candle, trend: null, date: "2019-02-14" }, day)).toBeNull());
});

describe("the history's line", () => {
  const point = (market_time: string, price: number): HistoryPoint => ({ market_time, price, change_percent: null });
  test("has one point a second, the last one", () => {
    const points = [
      point("1970-01-01T00:00:01Z", 1),
      point("1970-01-01T00:00:01.900Z", 2),
      point("1970-01-01T00:00:03Z", 3),
    ];
    expect(lineOf(points)).toEqual([
      { time: 1, value: 2 },
      { time: 3, value: 3 },
    ]);
  });
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
