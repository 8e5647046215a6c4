import { TreemapChart } from "echarts/charts";
import { TooltipComponent } from "echarts/components";
import { type ECharts, init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Tile, TreemapAnswer } from "./api";
import type { Asked } from "./figures";
import { amount, calendarDate, NONE, percent, price, share } from "./format";
import { Choice, Panel, TableAlternative } from "./panel";
import { currentColours, type Theme } from "./theme";
import { areasOf, byChange, fillOf, fontOf, type Size, STRONGEST_PERCENT, textOn } from "./tiles";

use([TreemapChart, TooltipComponent, CanvasRenderer]);

const SIZES = [
  ["volatility", "Volatility"],
  ["equal", "Equal"],
] as const;

interface Props {
  asked: Asked<TreemapAnswer>;
  select: (symbol: string) => void;
  theme: Theme;
}

export function TreemapPanel({ asked, select, theme }: Props) {
  const [size, setSize] = useState<Size>("volatility");
  const { answer } = asked;
  // From the largest rise to the largest fall.
  const tiles = useMemo(() => byChange(answer?.tiles ?? []), [answer]);
  const areas = useMemo(() => areasOf(tiles, size), [tiles, size]);
  return (
    <Panel
      id="treemap"
      title="Day change"
      tools={<Choice legend="Size of the tiles" options={SIZES} chosen={size} choose={setSize} />}
      asked={asked}
    >
      <TreemapCanvas tiles={tiles} areas={areas} size={size} select={select} theme={theme} />
      <Scale />
      <TableAlternative
        caption="Day change and volatility of each symbol"
        head={["Symbol", "Date", "Price", "Change", "Mean", "Volatility", "Relative volatility", "Area"]}
        rows={() =>
          tiles.map((tile, index) => [
            tile.symbol,
            calendarDate(tile.date),
            price(tile.price),
            percent(tile.change_percent),
            tile.avg_price === null ? NONE : price(tile.avg_price),
            tile.volatility === null ? NONE : amount(tile.volatility, tile.price),
            share(tile.relative_volatility),
            share(areas[index] ?? 0),
          ])
        }
        csv={{
          name: "day-changes",
          head: ["symbol", "date", "price", "change_percent", "avg_price", "volatility", "relative_volatility"],
          rows: () =>
            tiles.map((tile) => [
              tile.symbol,
              tile.date,
              tile.price,
              tile.change_percent,
              tile.avg_price,
              tile.volatility,
              tile.relative_volatility,
            ]),
        }}
      />
    </Panel>
  );
}

/** What the colours mean. */
function Scale() {
  const ticks = [-STRONGEST_PERCENT, 0, STRONGEST_PERCENT];
  return (
    <div class="scale">
      <span class="colours" aria-hidden="true" />
      <span class="ticks">
        {ticks.map((tick) => (
          <span key={tick}>
            {tick < 0 && "≤ "}
            {tick > 0 && "≥ "}
            {percent(tick)}
          </span>
        ))}
      </span>
    </div>
  );
}

interface CanvasProps {
  tiles: readonly Tile[];
  areas: readonly number[];
  size: Size;
  select: (symbol: string) => void;
  theme: Theme;
}

function TreemapCanvas({ tiles, areas, size, select, theme }: CanvasProps) {
  const element = useRef<HTMLDivElement>(null);
  const chart = useRef<ECharts>(null);
  const [box, setBox] = useState("");
  // The chart lives as long as the page; what a click does may change.
  const click = useRef(select);
  click.current = select;

  useEffect(() => {
    if (!element.current) return;
    const made = init(element.current);
    chart.current = made;
    const resized = new ResizeObserver(() => {
      made.resize();
      setBox(`${made.getWidth()} ${made.getHeight()}`);
    });
    resized.observe(element.current);
    made.on("click", ({ name }) => click.current(name));
    return () => {
      resized.disconnect();
      made.dispose();
    };
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours are the theme's, the text's size is the box's
  useEffect(() => {
    const colours = currentColours();
    const [width, height] = [chart.current?.getWidth() ?? 0, chart.current?.getHeight() ?? 0];
    chart.current?.setOption({
      animation: !window.matchMedia("(prefers-reduced-motion: reduce)").matches,
      animationDurationUpdate: 300,
      // An element, since the content security policy takes the styles out of ECharts' own HTML.
      tooltip: {
        backgroundColor: colours.panel,
        borderColor: colours.line,
        textStyle: { color: colours.ink },
        formatter: ({ name }: { name: string }) => details(tiles.find((tile) => tile.symbol === name)),
      },
      series: {
        type: "treemap",
        sort: false,
        roam: false,
        nodeClick: false,
        breadcrumb: { show: false },
        left: 0,
        top: 0,
        right: 0,
        bottom: 0,
        itemStyle: { gapWidth: 2, borderWidth: 0, borderColor: colours.panel },
        data: tiles.map((tile, index) => {
          const font = fontOf(areas[index] ?? 0, width, height, tile.symbol);
          const fill = fillOf(tile.change_percent, colours);
          const figure = size === "volatility" ? `σ ${share(tile.relative_volatility)}` : price(tile.price);
          return {
            name: tile.symbol,
            value: areas[index],
            itemStyle: { color: fill },
            label: {
              formatter: `{symbol|${tile.symbol}}\n${percent(tile.change_percent)}${font < 11 ? "" : `\n${figure}`}`,
              fontSize: font * 0.8,
              lineHeight: font * 1.1,
              color: textOn(fill),
              rich: { symbol: { fontWeight: 600, fontSize: font, lineHeight: font * 1.3, color: textOn(fill) } },
            },
          };
        }),
        label: { position: ["50%", "50%"], align: "center", verticalAlign: "middle", overflow: "truncate" },
      },
    });
  }, [tiles, areas, size, theme, box]);

  return <div ref={element} class="canvas" role="img" aria-label={summaryOf(tiles, size)} />;
}

function details(tile: Tile | undefined): HTMLElement | string {
  if (!tile) return "";
  const list = document.createElement("dl");
  list.className = "tooltip";
  const rows = [
    ["Symbol", tile.symbol],
    ["Date", calendarDate(tile.date)],
    ["Price", price(tile.price)],
    ["Change", percent(tile.change_percent)],
    ["Relative volatility", share(tile.relative_volatility)],
  ];
  for (const [name = "", value = ""] of rows) {
    const term = document.createElement("dt");
    term.textContent = name;
    const text = document.createElement("dd");
    text.textContent = value;
    list.append(term, text);
  }
  return list;
}

function summaryOf(tiles: readonly Tile[], size: Size): string {
  if (tiles.length === 0) return "Tree map, empty";
  const changes = tiles.map((tile) => `${tile.symbol} ${percent(tile.change_percent)}`).join(", ");
  return `Tree map of the day’s changes, ${size === "equal" ? "equal tiles" : "sized by relative volatility"}: ${changes}.`;
}
