import {
  type CandlestickData,
  CandlestickSeries,
  type IChartApi,
  type ISeriesApi,
  type LineData,
  LineSeries,
  LineStyle,
  LineType,
  type Time,
  type WhitespaceData,
} from "lightweight-charts";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Candle, CandlesAnswer, Interval, KpiAnswer } from "./api";
import { joinLive, trendAt } from "./bars";
import type { Asked } from "./figures";
import { calendarDate, moment, NONE, price } from "./format";
import { Choice, Panel, TableAlternative } from "./panel";
import { currentColours, type Theme } from "./theme";
import { axisLabels, coloursOf, drawChanges, showLatest, timeChart } from "./time-chart";
import { ZoomButtons } from "./zoom-buttons";

const INTERVALS = [
  ["1d", "1 day"],
  ["5m", "5 min"],
  ["1m", "1 min"],
] as const;

const SPOKEN: Record<Interval, string> = { "1d": "daily", "5m": "five-minute", "1m": "one-minute" };

interface Props {
  asked: Asked<CandlesAnswer>;
  kpi: KpiAnswer | undefined;
  symbol: string | undefined;
  interval: Interval;
  select: (interval: Interval) => void;
  theme: Theme;
}

export function CandlesPanel({ asked, kpi, symbol, interval, select, theme }: Props) {
  const { answer } = asked;
  const bars = useMemo(() => (answer ? joinLive(answer, kpi) : []), [answer, kpi]);
  const [pointed, setPointed] = useState<string | number>();
  const shown = bars.find((bar) => bar.time === pointed) ?? bars.at(-1);
  const chart = useRef<IChartApi>(null);
  const trend = (bar: Candle) => trendAt(bar, answer?.day ?? null);

  return (
    <Panel
      id="candles"
      title={<>Candles{symbol && <span class="of"> {symbol}</span>}</>}
      tools={
        <>
          <Choice legend="Length of a candle" options={INTERVALS} chosen={interval} choose={select} />
          <ZoomButtons chart={chart} of="candles" />
        </>
      }
      asked={asked}
    >
      {answer && bars.length === 0 && <p class="note">No quotes of {answer.symbol}.</p>}
      <Legend bar={shown} trend={shown && trend(shown)} />
      <CandlesChart
        chart={chart}
        bars={bars}
        trends={bars.map(trend)}
        of={`${symbol} ${interval}`}
        interval={interval}
        label={summaryOf(answer, bars)}
        point={setPointed}
        theme={theme}
      />
      <TableAlternative
        caption={`${SPOKEN[interval]} candles of ${symbol}, the newest first`}
        head={[interval === "1d" ? "Date" : "From", "Open", "High", "Low", "Close", "Day’s mean"]}
        rows={() =>
          bars
            .toReversed()
            .map((bar) => [
              timeOf(bar),
              price(bar.open),
              price(bar.high),
              price(bar.low),
              price(bar.close),
              priceOrNone(trend(bar)),
            ])
        }
      />
    </Panel>
  );
}

function timeOf(bar: Candle): string {
  return typeof bar.time === "number" ? moment(new Date(bar.time * 1_000)) : calendarDate(bar.time);
}

function priceOrNone(value: number | null): string {
  return value === null ? NONE : price(value);
}

function summaryOf(answer: CandlesAnswer | undefined, bars: readonly Candle[]): string {
  const [first, last] = [bars[0], bars.at(-1)];
  if (!answer || !first || !last) return "Candle chart, empty";
  const high = Math.max(...bars.map((bar) => bar.high));
  const low = Math.min(...bars.map((bar) => bar.low));
  return (
    `${bars.length} ${SPOKEN[answer.interval]} candles of ${answer.symbol}, from ${timeOf(first)} to ${timeOf(last)}. ` +
    `Latest close ${price(last.close)}; highest ${price(high)}, lowest ${price(low)}.`
  );
}

/** The figures of the candle under the pointer, else of the newest. */
function Legend({ bar, trend }: { bar: Candle | undefined; trend: number | null | undefined }) {
  const figures: [string, string][] = bar
    ? [
        ["Open", price(bar.open)],
        ["High", price(bar.high)],
        ["Low", price(bar.low)],
        ["Close", price(bar.close)],
        ["Day’s mean", priceOrNone(trend ?? null)],
      ]
    : [];
  return (
    <dl class="legend">
      {bar && (
        <div>
          <dt class="unseen">{typeof bar.time === "number" ? "From" : "Date"}</dt>
          <dd>{timeOf(bar)}</dd>
        </div>
      )}
      {figures.map(([name, value]) => (
        <div key={name}>
          <dt class={name === "Day’s mean" ? "trend" : undefined}>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

interface ChartProps {
  chart: { current: IChartApi | null };
  bars: readonly Candle[];
  /** The day's line at each bar. */
  trends: readonly (number | null)[];
  /** What the bars are of: when it changes, the chart shows the latest of them. */
  of: string;
  interval: Interval;
  label: string;
  point: (time: string | number | undefined) => void;
  theme: Theme;
}

interface Drawn {
  of: string;
  candles: CandlestickData[];
  trend: (LineData | WhitespaceData)[];
}

function CandlesChart({ chart, bars, trends, of, interval, label, point, theme }: ChartProps) {
  const element = useRef<HTMLDivElement>(null);
  const series = useRef<{ candles: ISeriesApi<"Candlestick">; trend: ISeriesApi<"Line"> }>(null);
  const drawn = useRef<Drawn>({ of: "", candles: [], trend: [] });

  useEffect(() => {
    if (!element.current) return;
    const made = timeChart(element.current, false);
    chart.current = made;
    series.current = {
      candles: made.addSeries(CandlestickSeries, {}),
      trend: made.addSeries(LineSeries, {
        lineWidth: 2,
        lineStyle: LineStyle.Dashed,
        lastValueVisible: false,
        priceLineVisible: false,
        crosshairMarkerVisible: false,
      }),
    };
    made.subscribeCrosshairMove(({ time }) => point(time as string | number | undefined));
    return () => made.remove();
  }, [chart, point]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours are the theme's
  useEffect(() => {
    const colours = currentColours();
    chart.current?.applyOptions(coloursOf(colours));
    // A rising candle is hollow and a falling one full: the shape tells them apart without the colour.
    series.current?.candles.applyOptions({
      upColor: colours.panel,
      downColor: colours.down,
      borderUpColor: colours.up,
      borderDownColor: colours.down,
      wickUpColor: colours.up,
      wickDownColor: colours.down,
      priceLineColor: colours.muted,
    });
    series.current?.trend.applyOptions({ color: colours.trend });
  }, [chart, theme]);

  useEffect(() => {
    if (!chart.current || !series.current) return;
    const next: Drawn = {
      of,
      candles: bars.map(({ time, open, high, low, close }) => ({ time: time as Time, open, high, low, close })),
      trend: bars.map(({ time }, index) => {
        const value = trends[index];
        return value == null ? { time: time as Time } : { time: time as Time, value };
      }),
    };
    const before = drawn.current.of === of ? drawn.current : { candles: [], trend: [] };
    drawn.current = next;
    const times = bars.map((bar) => bar.time).filter((time) => typeof time === "number");
    chart.current.applyOptions({ timeScale: { tickMarkFormatter: axisLabels(times) } });
    // Daily means are joined; within a day the mean is one level line.
    series.current.trend.applyOptions({ lineType: interval === "1d" ? LineType.Simple : LineType.WithSteps });
    drawChanges(series.current.candles, before.candles, next.candles);
    drawChanges(series.current.trend, before.trend, next.trend);
    if (before.candles.length === 0) showLatest(chart.current, bars.length, interval === "1d" ? 40 : 7);
  }, [bars, trends, of, interval, chart]);

  return <div ref={element} class="chart" role="img" aria-label={label} />;
}
