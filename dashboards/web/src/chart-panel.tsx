// One chart of a symbol's prices: candles, a line or an area, alone or compared with others in percent.

import {
  AreaSeries,
  type AutoscaleInfo,
  CandlestickSeries,
  type IChartApi,
  type IPriceLine,
  type ISeriesApi,
  LineSeries,
  LineStyle,
  type SeriesType,
  type Time,
} from "lightweight-charts";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Candle, CandlesAnswer, Interval, Kpi, KpiAnswer, Range } from "./api";
import { areDashes, changeOf, joinLive, percentLine } from "./bars";
import type { Asked } from "./figures";
import { calendarDate, moment, percent, price, change as priceChange } from "./format";
import { Choice, Panel, TableAlternative } from "./panel";
import { type Change as Choosing, MOST_COMPARED, type Selection, SUITABLE } from "./selection";
import { store, stored } from "./storage";
import { type Colours, currentColours, type Theme } from "./theme";
import { axisLabels, coloursOf, drawChanges, showLatest, timeChart } from "./time-chart";
import { Change, Price } from "./watchlist";
import { ZoomButtons } from "./zoom-buttons";

const RANGES = [
  ["1d", "1D"],
  ["5d", "5D"],
  ["all", "All"],
] as const;
const NAMES: Record<Interval, string> = { "1m": "1 min", "5m": "5 min", "15m": "15 min", "1h": "1 h", "1d": "1 day" };
const SPOKEN: Record<Interval, string> = {
  "1m": "one-minute",
  "5m": "five-minute",
  "15m": "quarter-hour",
  "1h": "hourly",
  "1d": "daily",
};
const KINDS = [
  ["candles", "Candles"],
  ["line", "Line"],
  ["area", "Area"],
] as const;
export type Kind = (typeof KINDS)[number][0];
const KIND = "chart";
const LINES = ["first", "second", "third", "fourth"] as const satisfies readonly (keyof Colours)[];

interface Props {
  asked: Asked<CandlesAnswer>;
  compared: readonly CandlesAnswer[];
  kpi: KpiAnswer | undefined;
  quotesAreNewer: boolean;
  symbol: string | undefined;
  selection: Selection;
  select: (change: Choosing) => void;
  theme: Theme;
  /** The clock that times are shown on: the axis is drawn again when it changes. */
  zone: string;
}

export function ChartPanel({ asked, compared, kpi, quotesAreNewer, symbol, selection, select, theme, zone }: Props) {
  const { answer } = asked;
  const bars = useMemo(() => (answer ? joinLive(answer, kpi, quotesAreNewer) : []), [answer, kpi, quotesAreNewer]);
  const [chosenKind, setKind] = useState(() => KINDS.find(([kind]) => kind === stored(KIND))?.[0]);
  const [pointed, setPointed] = useState<string | number>();
  const chart = useRef<IChartApi>(null);
  const quote = kpi?.quotes.find((one) => one.symbol === symbol);
  const interval = selection.interval ?? answer?.interval;
  const range = selection.range ?? answer?.range ?? undefined;
  const isCompared = selection.compared.length > 0;
  const kind: Kind = isCompared ? "line" : (chosenKind ?? (areDashes(bars) ? "line" : "candles"));
  const index = bars.findIndex((bar) => bar.time === pointed);
  const shown = index < 0 ? bars.length - 1 : index;
  return (
    <Panel
      id="chart"
      title={<>Chart{symbol && <span class="of"> {symbol}</span>}</>}
      tools={
        <>
          {quote && (
            // Another symbol's price is not a change of this one's.
            <p class="now" key={quote.symbol}>
              <Price value={quote.price} /> <Change quote={quote} />
            </p>
          )}
          <div class="tools">
            <Choice
              legend="Range"
              options={RANGES}
              chosen={range}
              choose={(chosen: Range) => select({ range: chosen, interval: undefined })}
            />
            <Choice
              legend="Length of a candle"
              options={(range ? SUITABLE[range] : (Object.keys(NAMES) as Interval[])).map((one) => [one, NAMES[one]])}
              chosen={interval}
              choose={(chosen: Interval) => select({ range, interval: chosen })}
            />
            <Choice
              legend="Kind of chart"
              options={KINDS}
              chosen={kind}
              isDisabled={isCompared}
              choose={(chosen: Kind) => {
                store(KIND, chosen);
                setKind(chosen);
              }}
            />
            <Comparison kpi={kpi} symbol={symbol} compared={selection.compared} select={select} />
            <ZoomButtons chart={chart} of="chart" />
          </div>
        </>
      }
      asked={asked}
    >
      {answer && bars.length === 0 && (
        <p class="note">
          No quotes of {answer.symbol}.{" "}
          {kpi?.quotes[0] && (
            <button type="button" onClick={() => select({ symbol: undefined })}>
              Show {kpi.quotes[0].symbol}
            </button>
          )}
        </p>
      )}
      {isCompared ? (
        <ComparedLegend lines={[{ symbol: symbol ?? "", bars }, ...compared.map(lineOf)]} pointed={pointed} />
      ) : (
        <Legend bars={bars} index={shown} />
      )}
      <Canvas
        chart={chart}
        bars={bars}
        kind={kind}
        compared={isCompared ? compared : undefined}
        previousClose={range === "all" || interval === "1d" ? undefined : previousCloseOf(quote)}
        of={`${symbol} ${answer?.interval} ${answer?.range}`}
        label={summaryOf(answer, bars)}
        point={setPointed}
        theme={theme}
        zone={zone}
      />
      <TableAlternative
        caption={`${answer ? SPOKEN[answer.interval] : ""} candles of ${symbol}, the newest first`}
        head={[answer?.interval === "1d" ? "Date" : "From", "Open", "High", "Low", "Close", "Change"]}
        rows={() => bars.map((_, at) => figuresOf(bars, at)).toReversed()}
        csv={{
          name: `candles-${symbol}-${answer?.interval}`,
          head: ["time", "open", "high", "low", "close", "quotes"],
          rows: () =>
            bars.map(({ time, open, high, low, close, quotes }) => [
              typeof time === "number" ? new Date(time * 1_000).toISOString() : time,
              open,
              high,
              low,
              close,
              quotes,
            ]),
        }}
      />
    </Panel>
  );
}

function lineOf({ symbol, candles }: CandlesAnswer) {
  return { symbol, bars: candles };
}

function previousCloseOf(quote: Kpi | undefined): number | undefined {
  return quote?.prev_close && quote.prev_close > 0 ? quote.prev_close : undefined;
}

function timeOf(bar: Candle): string {
  return typeof bar.time === "number" ? moment(new Date(bar.time * 1_000)) : calendarDate(bar.time);
}

/** A candle's time, prices and change, as text. */
function figuresOf(bars: readonly Candle[], index: number): string[] {
  const bar = bars[index];
  if (!bar) return [];
  const { amount, percent: share } = changeOf(bars, index);
  const prices = [bar.open, bar.high, bar.low, bar.close].map(price);
  return [timeOf(bar), ...prices, `${priceChange(amount, bar.close)} (${percent(share)})`];
}

function summaryOf(answer: CandlesAnswer | undefined, bars: readonly Candle[]): string {
  const [first, last] = [bars[0], bars.at(-1)];
  if (!answer || !first || !last) return "Chart of prices, empty";
  const high = Math.max(...bars.map((bar) => bar.high));
  const low = Math.min(...bars.map((bar) => bar.low));
  return (
    `${bars.length} ${SPOKEN[answer.interval]} candles of ${answer.symbol}, from ${timeOf(first)} to ${timeOf(last)}. ` +
    `Latest close ${price(last.close)}; highest ${price(high)}, lowest ${price(low)}.`
  );
}

/** The figures of the candle under the pointer, else of the newest. */
function Legend({ bars, index }: { bars: readonly Candle[]; index: number }) {
  const figures = figuresOf(bars, index);
  const names = ["From", "Open", "High", "Low", "Close", "Change"];
  return (
    <dl class="legend">
      {figures.map((figure, at) => (
        <div key={names[at]}>
          <dt class={at === 0 ? "unseen" : undefined}>{names[at]}</dt>
          <dd>{figure}</dd>
        </div>
      ))}
    </dl>
  );
}

interface NamedBars {
  symbol: string;
  bars: readonly Candle[];
}

/** What each symbol has changed since the chart's first candle, up to the pointer. */
function ComparedLegend({ lines, pointed }: { lines: readonly NamedBars[]; pointed: string | number | undefined }) {
  return (
    <dl class="legend">
      {lines.map(({ symbol, bars }, at) => {
        const points = percentLine(bars);
        const point = points.findLast(({ time }) => pointed === undefined || time <= pointed);
        return (
          <div key={symbol}>
            <dt class={`line ${["own", ...LINES][at]}`}>{symbol}</dt>
            <dd>{percent(point?.value ?? null)}</dd>
          </div>
        );
      })}
    </dl>
  );
}

interface ComparisonProps extends Pick<Props, "kpi" | "symbol" | "select"> {
  compared: readonly string[];
}

/** Adds symbols to compare with, and takes them away. */
function Comparison({ kpi, symbol, compared, select }: ComparisonProps) {
  const others = (kpi?.quotes ?? [])
    .map((one) => one.symbol)
    .filter((one) => one !== symbol && !compared.includes(one));
  return (
    <div class="compare">
      {compared.length < MOST_COMPARED && others.length > 0 && (
        <select
          aria-label="Compare with"
          value=""
          onChange={(event) => {
            const { value } = event.currentTarget;
            if (value)
              select((current) => ({ symbol: current.symbol ?? symbol, compared: [...current.compared, value] }));
          }}
        >
          <option value="">Compare…</option>
          {others.map((one) => (
            <option key={one} value={one}>
              {one}
            </option>
          ))}
        </select>
      )}
      {compared.map((one) => (
        <button
          key={one}
          type="button"
          aria-label={`Do not compare with ${one}`}
          onClick={() => select((current) => ({ compared: current.compared.filter((other) => other !== one) }))}
        >
          {one} ×
        </button>
      ))}
    </div>
  );
}

interface CanvasProps {
  chart: { current: IChartApi | null };
  bars: readonly Candle[];
  kind: Kind;
  /** The symbols that the bars are compared with, in percent; undefined: prices are shown. */
  compared: readonly CandlesAnswer[] | undefined;
  previousClose: number | undefined;
  /** What the bars are of: when it changes, the chart shows the latest of them. */
  of: string;
  label: string;
  point: (time: string | number | undefined) => void;
  theme: Theme;
  zone: string;
}

interface Item {
  time: Time;
  value?: number;
  open?: number;
  high?: number;
  low?: number;
  close?: number;
}
type AnySeries = ISeriesApi<SeriesType>;

const SERIES = { candles: CandlestickSeries, line: LineSeries, area: AreaSeries };

function Canvas({ chart, bars, kind, compared, previousClose, of, label, point, theme, zone }: CanvasProps) {
  const element = useRef<HTMLDivElement>(null);
  const main = useRef<AnySeries>(null);
  const others = useRef(new Map<string, AnySeries>());
  const previous = useRef<IPriceLine>(null);
  const shownPrevious = useRef<number>(undefined);
  const drawn = useRef<{ of: string; items: Item[] }>({ of: "", items: [] });
  const isPercent = compared !== undefined;

  useEffect(() => {
    if (!element.current) return;
    const made = timeChart(element.current);
    chart.current = made;
    made.subscribeCrosshairMove(({ time }) => point(time as string | number | undefined));
    return () => {
      made.remove();
      others.current.clear();
    };
  }, [chart, point]);

  useEffect(() => {
    if (!chart.current) return;
    const made: AnySeries = chart.current.addSeries(SERIES[kind], {
      // The line of the previous close is always visible.
      autoscaleInfoProvider: (of: () => AutoscaleInfo | null) => withPrice(of(), shownPrevious.current),
    });
    main.current = made;
    previous.current = null;
    drawn.current = { of: drawn.current.of, items: [] };
    return () => {
      // The chart may have been removed with all that is in it.
      if (chart.current && main.current === made) chart.current.removeSeries(made);
      main.current = null;
    };
  }, [chart, kind]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours are the theme's
  useEffect(() => {
    const colours = currentColours();
    chart.current?.applyOptions(coloursOf(colours));
    main.current?.applyOptions(lookOf(kind, colours));
    previous.current?.applyOptions({ color: colours.muted, axisLabelColor: colours.muted });
    [...others.current.values()].forEach((line, at) => {
      line.applyOptions({ color: colours[LINES[at] ?? "muted"] });
    });
  }, [chart, kind, theme, compared, previousClose]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the labels are the clock's
  useEffect(() => {
    if (!chart.current || !main.current) return;
    const times = bars.map((bar) => bar.time).filter((time) => typeof time === "number");
    chart.current.applyOptions({
      timeScale: { tickMarkFormatter: axisLabels(times) },
      localization: { priceFormatter: isPercent ? percent : price },
    });
    const key = `${of} ${isPercent}`;
    const items = itemsOf(bars, kind, isPercent);
    const isAnother = drawn.current.of !== key;
    drawChanges(main.current, isAnother ? [] : drawn.current.items, items);
    if (items.length === 0) main.current.setData([]);
    drawn.current = { of: key, items };
    for (const [symbol, line] of others.current) {
      if (compared?.some((one) => one.symbol === symbol)) continue;
      chart.current.removeSeries(line);
      others.current.delete(symbol);
    }
    (compared ?? []).forEach(({ symbol, candles }, at) => {
      const color = currentColours()[LINES[at] ?? "muted"];
      const look = { color, lineWidth: 2, priceLineVisible: false } as const;
      const line = others.current.get(symbol) ?? chart.current?.addSeries(LineSeries, look);
      if (!line) return;
      others.current.set(symbol, line);
      line.setData(percentLine(candles) as { time: Time; value: number }[]);
    });
    if (isAnother) showLatest(chart.current, bars.length);
  }, [bars, kind, compared, of, chart, zone]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the line is the series' own, which the kind makes
  useEffect(() => {
    if (previous.current) main.current?.removePriceLine(previous.current);
    previous.current = null;
    shownPrevious.current = isPercent ? undefined : previousClose;
    if (isPercent || previousClose === undefined || !main.current) return;
    previous.current = main.current.createPriceLine({
      price: previousClose,
      title: "Prev. close",
      color: currentColours().muted,
      lineWidth: 1,
      lineStyle: LineStyle.LargeDashed,
      axisLabelVisible: true,
    });
  }, [previousClose, isPercent, kind]);

  return <div ref={element} class="canvas" role="img" aria-label={label} />;
}

/** The scale, extended to a price. */
function withPrice(scale: AutoscaleInfo | null, extra: number | undefined): AutoscaleInfo | null {
  if (!scale?.priceRange || extra === undefined) return scale;
  const { minValue, maxValue } = scale.priceRange;
  return { ...scale, priceRange: { minValue: Math.min(minValue, extra), maxValue: Math.max(maxValue, extra) } };
}

function itemsOf(bars: readonly Candle[], kind: Kind, isPercent: boolean): Item[] {
  if (isPercent) return percentLine(bars) as Item[];
  if (kind !== "candles") return bars.map(({ time, close }) => ({ time: time as Time, value: close }));
  return bars.map(({ time, open, high, low, close }) => ({ time: time as Time, open, high, low, close }));
}

function lookOf(kind: Kind, { panel, up, down, muted, accent }: Colours) {
  const clear = (opacity: number) => accent.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
  const line = { lineWidth: 2, priceLineColor: muted } as const;
  return {
    // A rising candle is hollow and a falling one full: the shape tells them apart without the colour.
    candles: {
      upColor: panel,
      downColor: down,
      borderUpColor: up,
      borderDownColor: down,
      wickUpColor: up,
      wickDownColor: down,
      priceLineColor: muted,
    },
    line: { ...line, color: accent },
    area: { ...line, lineColor: accent, topColor: clear(0.22), bottomColor: clear(0) },
  }[kind];
}
