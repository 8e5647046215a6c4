// Candles and quotes as the charts take them, without a break where history meets the live quote.

import type { Candle, CandlesAnswer, HistoryPoint, Interval, Kpi, KpiAnswer } from "./api";

const SECONDS: Record<Exclude<Interval, "1d">, number> = { "5m": 300, "1m": 60 };

/** The time of the candle that a quote belongs to. */
export function bucketOf(quote: Kpi, interval: Interval): string | number {
  if (interval === "1d") return quote.market_time_us.slice(0, 10);
  const seconds = Math.floor(Date.parse(quote.market_time) / 1_000);
  return seconds - (seconds % SECONDS[interval]);
}

/**
 * The candles with the latest quote in them: it changes the newest candle or begins the next one.
 *
 * Both come from the warehouse, read at different moments. A quote that was read before the candles is in them already;
 * one whose market time lies before the newest candle (Finnhub's goes back at times) changes nothing.
 */
export function joinLive({ candles, interval, symbol, as_of }: CandlesAnswer, kpi: KpiAnswer | undefined): Candle[] {
  const quote = kpi?.quotes.find((one) => one.symbol === symbol);
  const newest = candles.at(-1);
  if (!quote || !newest || Date.parse(kpi?.as_of ?? "") <= Date.parse(as_of)) return candles;
  const time = bucketOf(quote, interval);
  if (time < newest.time) return candles;
  const dayRange = interval === "1d" ? [quote.day_high, quote.day_low].filter((price) => price > 0) : [];
  if (time === newest.time) {
    const prices = [quote.price, newest.high, newest.low, ...dayRange];
    const joined = { ...newest, high: Math.max(...prices), low: Math.min(...prices), close: quote.price };
    return [...candles.slice(0, -1), joined];
  }
  const prices = [quote.price, ...dayRange];
  const date = quote.market_time_us.slice(0, 10);
  const next: Candle = {
    time,
    date,
    open: quote.price,
    high: Math.max(...prices),
    low: Math.min(...prices),
    close: quote.price,
    trend: date === newest.date ? newest.trend : null,
  };
  return [...candles, next];
}

/** The day's line at a candle: its own, else that of the answer's day where the candle is in it. */
export function trendAt(candle: Candle, day: CandlesAnswer["day"]): number | null {
  return candle.trend ?? (candle.date === day?.date ? day.trend_line : null);
}

/** A point of the history's line: seconds since 1970 and the price. */
export interface LinePoint {
  time: number;
  value: number;
}

/** The history's line. A chart takes one point a second: of several, the last. */
export function lineOf(points: readonly HistoryPoint[]): LinePoint[] {
  const bySecond = new Map(points.map((point) => [Math.floor(Date.parse(point.market_time) / 1_000), point.price]));
  return [...bySecond].map(([time, value]) => ({ time, value })).sort((a, b) => a.time - b.time);
}

/**
 * Where a series that is drawn as `before` has to be drawn again to show `after`: an index of `after` from which on each
 * item is the drawn series' last one or comes behind it; 0 means all of it; none means that nothing changed.
 */
export function changedFrom<Item extends { time: unknown }>(
  before: readonly Item[],
  after: readonly Item[],
): number | undefined {
  const same = (index: number) => JSON.stringify(before[index]) === JSON.stringify(after[index]);
  let first = 0;
  while (first < after.length && first < before.length && same(first)) first += 1;
  if (first === after.length && first === before.length) return undefined;
  const appends = first === before.length;
  const changesLast = first === before.length - 1 && before[first]?.time === after[first]?.time;
  return appends || changesLast ? first : 0;
}
