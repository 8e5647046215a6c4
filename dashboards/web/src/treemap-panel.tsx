import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Tile, TreemapAnswer } from "./api";
import type { Asked } from "./figures";
import { amount, calendarDate, NONE, percent, price, share } from "./format";
import { Choice, Panel, TableAlternative } from "./panel";
import { currentColours, type Theme } from "./theme";
import { areasOf, boxesOf, byChange, fillOf, hasRoom, type Size, STRONGEST_PERCENT, textOn } from "./tiles";

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
      <TreeMap key={theme} tiles={tiles} areas={areas} size={size} select={select} />
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

interface MapProps {
  tiles: readonly Tile[];
  areas: readonly number[];
  size: Size;
  select: (symbol: string) => void;
}

function TreeMap({ tiles, areas, size, select }: MapProps) {
  const element = useRef<HTMLDivElement>(null);
  const [[width, height], setBox] = useState([0, 0]);
  useEffect(() => {
    if (!element.current) return;
    const resized = new ResizeObserver(([entry]) => {
      if (entry) setBox([entry.contentRect.width, entry.contentRect.height]);
    });
    resized.observe(element.current);
    return () => resized.disconnect();
  }, []);
  const boxes = useMemo(() => boxesOf(areas, width, height), [areas, width, height]);
  const colours = currentColours();
  // While each symbol has one price, no tile has a volatility, and all have the same size.
  const isSized = size === "volatility" && tiles.some((tile) => (tile.relative_volatility ?? 0) > 0);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the arrow keys choose a symbol on the whole page
    <div
      ref={element}
      class="canvas map"
      role="img"
      aria-label={summaryOf(tiles, size)}
      onClick={({ target }) => {
        const tile = (target as Element).closest<HTMLElement>("[data-symbol]");
        if (tile?.dataset.symbol) select(tile.dataset.symbol);
      }}
    >
      {boxes.map((box, index) => {
        const tile = tiles[index];
        if (!tile) return null;
        const fill = fillOf(tile.change_percent, colours);
        return (
          <div
            key={tile.symbol}
            class="area"
            data-symbol={tile.symbol}
            title={detailsOf(tile)}
            style={{
              left: `${box.x0}px`,
              top: `${box.y0}px`,
              width: `${box.x1 - box.x0}px`,
              height: `${box.y1 - box.y0}px`,
              background: fill,
              color: textOn(fill),
              "--letters": Math.max(tile.symbol.length, SHORTEST),
            }}
          >
            {hasRoom(box, tile.symbol) && <b>{tile.symbol}</b>}
            <span class="change">{percent(tile.change_percent)}</span>
            <span class="more">{isSized ? `σ ${share(tile.relative_volatility)}` : price(tile.price)}</span>
          </div>
        );
      })}
    </div>
  );
}

/** The text below a name is as wide as this many of its letters. */
const SHORTEST = 6;

function detailsOf(tile: Tile): string {
  return [
    `${tile.symbol}, ${calendarDate(tile.date)}`,
    `Price: ${price(tile.price)}`,
    `Change: ${percent(tile.change_percent)}`,
    `Relative volatility: ${share(tile.relative_volatility)}`,
  ].join("\n");
}

function summaryOf(tiles: readonly Tile[], size: Size): string {
  if (tiles.length === 0) return "Tree map, empty";
  const changes = tiles.map((tile) => `${tile.symbol} ${percent(tile.change_percent)}`).join(", ");
  return `Tree map of the day’s changes, ${size === "equal" ? "equal tiles" : "sized by relative volatility"}: ${changes}.`;
}
