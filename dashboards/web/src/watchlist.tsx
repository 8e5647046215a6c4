// Each symbol's latest quote: tiles for a few symbols, a table for many, chips on a phone.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Kpi, KpiAnswer, Market, Sparkline } from "./api";
import type { Asked } from "./figures";
import {
  clock,
  dateOf,
  day,
  direction,
  knownPrice,
  minute,
  momentBeside,
  percent,
  price,
  change as priceChange,
} from "./format";
import { CsvButton, Note } from "./panel";
import { type Selection, searchOf } from "./selection";
import { SparklineSvg } from "./sparkline";

/** From this many symbols on they are a table. */
const MANY = 8;

interface Props {
  kpi: Asked<KpiAnswer>;
  sparklines: ReadonlyMap<string, Sparkline>;
  selected: string | undefined;
  market: Market | undefined;
  now: Date;
  selection: Selection;
  select: (symbol: string) => void;
  isPhone: boolean;
}

export function Watchlist(props: Props) {
  const quotes = props.kpi.answer?.quotes ?? [];
  const View = props.isPhone ? Chips : quotes.length >= MANY ? Table : Tiles;
  return (
    <section aria-labelledby="kpi" class="watchlist">
      <h2 id="kpi" class="unseen">
        Latest quotes
      </h2>
      <Note asked={props.kpi} />
      <View {...props} quotes={quotes} />
    </section>
  );
}

interface ViewProps extends Props {
  quotes: readonly Kpi[];
}

interface LinkProps extends Pick<Props, "selected" | "selection" | "select"> {
  quote: Kpi;
  of: string;
  children: preact.ComponentChildren;
}

/** A link that selects a symbol. */
function SymbolLink({ quote: { symbol }, of, selected, selection, select, children }: LinkProps) {
  return (
    <a
      class={of}
      href={searchOf({ ...selection, symbol })}
      title={symbol}
      aria-current={symbol === selected ? "true" : undefined}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        select(symbol);
      }}
    >
      {children}
    </a>
  );
}

function Tiles({ quotes, sparklines, market, now, ...link }: ViewProps) {
  return (
    <ul class="tiles">
      {quotes.map((quote) => (
        <li key={quote.symbol}>
          <SymbolLink {...link} of="tile" quote={quote}>
            <span class="symbol">{quote.symbol}</span>
            <Traded quote={quote} now={market?.state === "recording" ? undefined : now} />
            <Price value={quote.price} />
            <SparklineSvg closes={sparklines.get(quote.symbol)?.closes ?? []} />
            <Change quote={quote} />
            <DayRange quote={quote} />
          </SymbolLink>
        </li>
      ))}
    </ul>
  );
}

function Chips({ quotes, ...link }: ViewProps) {
  return (
    <ul class="chips">
      {quotes.map((quote) => (
        <li key={quote.symbol}>
          <SymbolLink {...link} of="chip" quote={quote}>
            <span class="symbol">{quote.symbol}</span> <Price value={quote.price} />{" "}
            <span class={`change ${wayOf(quote)}`}>
              <span aria-hidden="true">{ARROW[wayOf(quote)]}</span> {percent(quote.change_percent)}
            </span>
          </SymbolLink>
        </li>
      ))}
    </ul>
  );
}

const COLUMNS = [
  ["symbol", "Symbol"],
  ["price", "Price"],
  ["change", "Change"],
  ["change_percent", "Change %"],
  ["day_low", "Day’s low"],
  ["day_high", "Day’s high"],
  ["prev_close", "Previous close"],
  ["market_time", "Traded"],
] as const;
type Column = (typeof COLUMNS)[number][0];

/** The quotes in the order of a column; unknown figures come last. */
export function sorted(quotes: readonly Kpi[], column: Column, isDescending: boolean): Kpi[] {
  const sign = isDescending ? -1 : 1;
  return quotes.toSorted((one, other) => {
    const [a, b] = [one[column], other[column]];
    if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  });
}

/** The quotes whose symbol contains the text. */
function matching(quotes: readonly Kpi[], text: string): Kpi[] {
  const wanted = text.trim().toLowerCase();
  return quotes.filter((quote) => quote.symbol.toLowerCase().includes(wanted));
}

function Table({ quotes, sparklines, ...link }: ViewProps) {
  const [order, setOrder] = useState<{ column: Column; isDescending: boolean }>({
    column: "symbol",
    isDescending: false,
  });
  const [wanted, setWanted] = useState("");
  const found = matching(quotes, wanted);
  const shown = sorted(found, order.column, order.isDescending);
  const newest = new Date(Math.max(...quotes.map((quote) => Date.parse(quote.market_time))));
  return (
    <div class="panel">
      <div class="head">
        <label class="search">
          <span class="unseen">Search a symbol</span>
          <input
            type="search"
            placeholder="Search (/)"
            value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
            onKeyDown={(event) => {
              // Not `shown`: the text may have changed since.
              const [first] = sorted(matching(quotes, event.currentTarget.value), order.column, order.isDescending);
              if (event.key === "Enter" && first) link.select(first.symbol);
              if (event.key === "Escape") setWanted("");
            }}
          />
        </label>
        <p class="found" aria-live="polite">
          {found.length === quotes.length ? `${quotes.length} symbols` : `${found.length} of ${quotes.length} symbols`}
        </p>
        <CsvButton
          name="quotes"
          head={COLUMNS.map(([column]) => column)}
          rows={() => shown.map((quote) => COLUMNS.map(([column]) => quote[column]))}
        />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <section class="scroll quotes" tabIndex={0} aria-label="All quotes">
        <table>
          <caption class="unseen">Each symbol’s latest quote</caption>
          <thead>
            <tr>
              {COLUMNS.map(([column, name]) => (
                <th
                  key={column}
                  scope="col"
                  aria-sort={order.column !== column ? "none" : order.isDescending ? "descending" : "ascending"}
                >
                  <button
                    type="button"
                    onClick={() =>
                      // Names from A on, figures from the largest on.
                      setOrder((before) => ({
                        column,
                        isDescending: before.column === column ? !before.isDescending : column !== "symbol",
                      }))
                    }
                  >
                    {name}
                    <span aria-hidden="true">{order.column !== column ? "" : order.isDescending ? " ↓" : " ↑"}</span>
                  </button>
                </th>
              ))}
              <th scope="col">Day</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((quote) => (
              <tr key={quote.symbol} class={quote.symbol === link.selected ? "selected" : undefined}>
                <th scope="row">
                  <SymbolLink {...link} of="symbol" quote={quote}>
                    {quote.symbol}
                  </SymbolLink>
                </th>
                <td>
                  <Price value={quote.price} />
                </td>
                <td class={`change ${wayOf(quote)}`}>
                  <span aria-hidden="true">{ARROW[wayOf(quote)]}</span> {priceChange(quote.change, quote.price)}
                </td>
                <td class={`change ${wayOf(quote)}`}>{percent(quote.change_percent)}</td>
                <td>{knownPrice(quote.day_low)}</td>
                <td>{knownPrice(quote.day_high)}</td>
                <td>{knownPrice(quote.prev_close ?? 0)}</td>
                <td>{momentBeside(new Date(quote.market_time), newest)}</td>
                <td>
                  <SparklineSvg closes={sparklines.get(quote.symbol)?.closes ?? []} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {shown.length === 0 && <p class="note">No symbol has “{wanted}” in it.</p>}
      </section>
    </div>
  );
}

const ARROW = { up: "▲", down: "▼", level: "◆" } as const;

function wayOf(quote: Kpi) {
  return direction(quote.change_percent ?? quote.change);
}

/** The change of the day, in money and in percent. */
export function Change({ quote }: { quote: Kpi }) {
  const way = wayOf(quote);
  return (
    <span class={`change ${way}`}>
      <span aria-hidden="true">{ARROW[way]}</span> {priceChange(quote.change, quote.price)}{" "}
      <span class="percent">{percent(quote.change_percent)}</span>
    </span>
  );
}

/** When it was traded, with the day if that is not `now`'s. The day of a recording is said once, above. */
function Traded({ quote, now }: { quote: Kpi; now: Date | undefined }) {
  const at = new Date(quote.market_time);
  return (
    <time dateTime={quote.market_time} class="traded">
      {now && dateOf(at) !== dateOf(now) ? `${day(at)}, ${minute(at)}` : clock(at)}
    </time>
  );
}

/** The price. It lights up when it changes, unless the reader wants less motion. */
export function Price({ value }: { value: number }) {
  const element = useRef<HTMLSpanElement>(null);
  const before = useRef(value);
  useEffect(() => {
    if (before.current !== value && !window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
      element.current?.animate([{ backgroundColor: "var(--flash)" }, {}], { duration: 900, easing: "ease-out" });
    }
    before.current = value;
  }, [value]);
  return (
    <span ref={element} class="price">
      {price(value)}
    </span>
  );
}

/** Where the price stands between the day's low and high. */
function DayRange({ quote: { day_low, day_high, price: current } }: { quote: Kpi }) {
  const known = day_low > 0 && day_high > day_low;
  const place = Math.min(Math.max((current - day_low) / (day_high - day_low), 0), 1);
  return (
    <span class="range">
      <span>
        <span class="unseen">day’s low </span>
        {knownPrice(day_low)}
      </span>
      <span class="track" aria-hidden="true">
        {known && <span class="mark" style={{ left: `${100 * place}%` }} />}
      </span>
      <span>
        <span class="unseen">day’s high </span>
        {knownPrice(day_high)}
      </span>
    </span>
  );
}
