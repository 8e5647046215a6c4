// Candles and quotes as the charts take them, without a break where history meets the live quote.

import type { Candle, CandlesAnswer, Interval, Kpi, KpiAnswer } from "./api";

const SECONDS: Record<Exclude<Interval, "1d">, number> = { "1m": 60, "5m": 300, "15m": 900, "1h": 3_600 };

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
 *
 * @param isNewer Whether the quotes were read after the candles.
 */
export function joinLive(
  { candles, interval, symbol }: CandlesAnswer,
  kpi: KpiAnswer | undefined,
  isNewer: boolean,
): Candle[] {
  const quote = kpi?.quotes.find((one) => one.symbol === symbol);
  const newest = candles.at(-1);
  if (!quote || !newest || !isNewer) return candles;
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
    quotes: 1,
  };
  return [...candles, next];
}

/** What a candle's close adds to the close before it, or to its own open if it is the first. */
export function changeOf(bars: readonly Candle[], index: number): { amount: number; percent: number | null } {
  const bar = bars[index];
  if (!bar) return { amount: 0, percent: null };
  const before = bars[index - 1]?.close ?? bar.open;
  return { amount: bar.close - before, percent: before > 0 ? (100 * (bar.close - before)) / before : null };
}

/** Whether most candles have one quote each. They are dashes, which a line shows better. */
export function areDashes(bars: readonly Candle[]): boolean {
  return bars.length > 1 && bars.filter((bar) => bar.quotes <= 1).length > bars.length / 2;
}

/** Each candle's close in percent of the first one's open. */
export function percentLine(bars: readonly Candle[]): { time: Candle["time"]; value: number }[] {
  const base = bars[0]?.open ?? 0;
  if (base <= 0) return [];
  return bars.map(({ time, close }) => ({ time, value: 100 * (close / base - 1) }));
}

/**
 * Where a series that is drawn as `before` has to be drawn again to show `after`: an index of `after` from which on each
 * item is the drawn series' last one or comes after it; 0 means all of it; undefined means that nothing changed.
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
