import { AreaSeries, type IChartApi, type ISeriesApi, type Time } from "lightweight-charts";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { HistoryAnswer } from "./api";
import { type LinePoint, lineOf } from "./bars";
import type { Asked } from "./figures";
import { moment, percent, price } from "./format";
import { Panel, TableAlternative } from "./panel";
import { currentColours, type Theme } from "./theme";
import { axisLabels, coloursOf, drawChanges, showLatest, timeChart } from "./time-chart";
import { ZoomButtons } from "./zoom-buttons";

interface Props {
  asked: Asked<HistoryAnswer>;
  symbol: string | undefined;
  theme: Theme;
}

export function HistoryPanel({ asked, symbol, theme }: Props) {
  const { answer } = asked;
  const line = useMemo(() => lineOf(answer?.points ?? []), [answer]);
  const chart = useRef<IChartApi>(null);
  return (
    <Panel
      id="history"
      title={<>History{symbol && <span class="of"> {symbol}</span>}</>}
      tools={<ZoomButtons chart={chart} of="history" />}
      asked={asked}
    >
      {answer?.points.length === 0 && <p class="note">No quotes of {answer.symbol}.</p>}
      <HistoryChart chart={chart} line={line} of={symbol} label={summaryOf(answer)} theme={theme} />
      <TableAlternative
        caption={`Latest quotes of ${symbol}, the newest first`}
        head={["Traded", "Price", "Change"]}
        rows={() =>
          (answer?.points ?? [])
            .toReversed()
            .map((point) => [moment(new Date(point.market_time)), price(point.price), percent(point.change_percent)])
        }
      />
    </Panel>
  );
}

function summaryOf(answer: HistoryAnswer | undefined): string {
  const [first, last] = [answer?.points[0], answer?.points.at(-1)];
  if (!answer || !first || !last) return "Line of the latest quotes, empty";
  const prices = answer.points.map((point) => point.price);
  return (
    `Line of ${prices.length} quotes of ${answer.symbol}, from ${moment(new Date(first.market_time))} to ` +
    `${moment(new Date(last.market_time))}. Latest ${price(last.price)}; highest ${price(Math.max(...prices))}, ` +
    `lowest ${price(Math.min(...prices))}.`
  );
}

interface ChartProps {
  chart: { current: IChartApi | null };
  line: LinePoint[];
  /** Whose line it is: when it changes, the chart shows the latest of it. */
  of: string | undefined;
  label: string;
  theme: Theme;
}

function HistoryChart({ chart, line, of, label, theme }: ChartProps) {
  const element = useRef<HTMLDivElement>(null);
  const series = useRef<ISeriesApi<"Area">>(null);
  const drawn = useRef<{ of: string | undefined; line: LinePoint[] }>({ of: undefined, line: [] });

  useEffect(() => {
    if (!element.current) return;
    const made = timeChart(element.current, true);
    chart.current = made;
    series.current = made.addSeries(AreaSeries, { lineWidth: 2 });
    return () => made.remove();
  }, [chart]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours are the theme's
  useEffect(() => {
    const colours = currentColours();
    chart.current?.applyOptions(coloursOf(colours));
    series.current?.applyOptions({
      lineColor: colours.accent,
      topColor: colours.accent.replace("rgb(", "rgba(").replace(")", ", 0.22)"),
      bottomColor: colours.accent.replace("rgb(", "rgba(").replace(")", ", 0)"),
      priceLineColor: colours.muted,
    });
  }, [chart, theme]);

  useEffect(() => {
    if (!chart.current || !series.current) return;
    const before = drawn.current.of === of ? drawn.current.line : [];
    drawn.current = { of, line };
    const labels = axisLabels(line.map((point) => point.time));
    chart.current.applyOptions({ timeScale: { tickMarkFormatter: labels } });
    drawChanges(series.current, before as { time: Time; value: number }[], line as { time: Time; value: number }[]);
    if (before.length === 0) showLatest(chart.current, line.length, 1.5);
  }, [line, of, chart]);

  return <div ref={element} class="chart" role="img" aria-label={label} />;
}
