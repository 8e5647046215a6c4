// The time chart: bars side by side, so that closed hours take no room, and the times of the chosen clock.

import {
  type ChartOptions,
  ColorType,
  CrosshairMode,
  createChart,
  type DeepPartial,
  type IChartApi,
  TickMarkType,
  type Time,
} from "lightweight-charts";
import { changedFrom } from "./bars";
import { calendarDate, calendarDay, clock, dateOf, day, minute, moment, price } from "./format";
import type { Colours } from "./theme";

/** Room for the second half of the newest label. */
const RIGHT_PIXELS = 18;

/** Makes an empty chart that fills its element. */
export function timeChart(element: HTMLElement): IChartApi {
  return createChart(element, {
    autoSize: true,
    layout: { attributionLogo: false, fontSize: 11, fontFamily: getComputedStyle(document.body).fontFamily },
    localization: { locale: "en-US", priceFormatter: price, timeFormatter: crosshairLabel },
    crosshair: { mode: CrosshairMode.Normal },
    rightPriceScale: { borderVisible: false, entireTextOnly: true, scaleMargins: { top: 0.08, bottom: 0.08 } },
    timeScale: {
      borderVisible: false,
      timeVisible: true,
      secondsVisible: false,
      maxBarSpacing: 48,
      rightOffsetPixels: RIGHT_PIXELS,
      shiftVisibleRangeOnNewBar: true,
    },
    // The wheel and vertical swipes scroll the page; the buttons, a pinch and a drag move the chart.
    handleScroll: { mouseWheel: false, vertTouchDrag: false },
    handleScale: { mouseWheel: false },
  });
}

/** A chart's colours under the theme in use. */
export function coloursOf({ muted, line, panel }: Colours): DeepPartial<ChartOptions> {
  return {
    layout: { background: { type: ColorType.Solid, color: panel }, textColor: muted },
    grid: { vertLines: { color: line }, horzLines: { color: line } },
    crosshair: {
      vertLine: { color: muted, labelBackgroundColor: muted },
      horzLine: { color: muted, labelBackgroundColor: muted },
    },
  };
}

/**
 * Labels of the time axis: the day where a day begins, else the time of day.
 *
 * The chart ranks its labels by UTC's days. A market that never closes has bars at UTC's midnight, in New York's evening:
 * they must not be labelled as a day.
 *
 * @param times Seconds since 1970, ascending.
 */
export function axisLabels(times: readonly number[]): (time: Time, type: TickMarkType) => string {
  const dayStarts = new Set<number>();
  let before = "";
  for (const time of times) {
    const date = dateOf(new Date(time * 1_000));
    if (date !== before) dayStarts.add(time);
    before = date;
  }
  return (time, type) => {
    if (typeof time !== "number") return calendarDay(isoDate(time));
    const at = new Date(time * 1_000);
    if (dayStarts.has(time)) return day(at);
    return type === TickMarkType.TimeWithSeconds ? clock(at) : minute(at);
  };
}

function crosshairLabel(time: Time): string {
  return typeof time === "number" ? moment(new Date(time * 1_000)) : calendarDate(isoDate(time));
}

function isoDate(time: Exclude<Time, number>): string {
  if (typeof time === "string") return time;
  return [time.year, String(time.month).padStart(2, "0"), String(time.day).padStart(2, "0")].join("-");
}

/** How narrow bars may be, in pixels, for all of them to be shown. */
const NARROWEST = 1.8;
/** How wide they are if not all of them are shown. */
const READABLE = 4;

/** Shows all bars, or only the latest if they would be too narrow. */
export function showLatest(chart: IChartApi, count: number) {
  const width = chart.timeScale().width();
  if (count * NARROWEST <= width) chart.timeScale().fitContent();
  else
    chart.timeScale().setVisibleLogicalRange({ from: count - width / READABLE, to: count + RIGHT_PIXELS / READABLE });
}

/** Makes a chart's bars wider (factor above 1) or narrower, keeping the latest visible one in place. */
export function zoom(chart: IChartApi, factor: number) {
  const range = chart.timeScale().getVisibleLogicalRange();
  if (!range) return;
  chart.timeScale().setVisibleLogicalRange({ from: range.to - (range.to - range.from) / factor, to: range.to });
}

/** Changes a drawn series from `before` to `after`: in place if only its end changed, so that nothing jumps. */
export function drawChanges<Item extends { time: Time }>(
  series: { setData: (items: Item[]) => void; update: (item: Item) => void },
  before: readonly Item[],
  after: readonly Item[],
) {
  const first = changedFrom(before, after);
  if (first === undefined) return;
  if (first === 0) series.setData([...after]);
  else for (const item of after.slice(first)) series.update(item);
}
