import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Kpi } from "./api";
import { ChartPanel } from "./chart-panel";
import { useNow } from "./clock";
import { type Figures, useFigures } from "./figures";
import { change, percent, price, sentence, setZone, type Zone } from "./format";
import { HealthPanel } from "./health-panel";
import { KEYS, useKeyboard } from "./keyboard";
import { useSelection } from "./selection";
import { Stations } from "./stations";
import { Announcement, ConnectionNotice, marketText, Status } from "./status";
import { store, stored } from "./storage";
import { useTheme } from "./theme";
import { TreemapPanel } from "./treemap-panel";
import { Watchlist } from "./watchlist";

const ZONE = "zone";

export function App() {
  const [selection, select] = useSelection();
  const [figures, retry] = useFigures(selection);
  const [theme, toggleTheme] = useTheme();
  const [zone, toggleZone] = useZone();
  const isPhone = useMedia("(max-width: 560px)");
  const help = useRef<HTMLDialogElement>(null);
  const { kpi, symbol } = figures;
  const quotes = kpi.answer?.quotes ?? [];
  const quote = quotes.find((one) => one.symbol === symbol);
  useTitle(quote);
  const selectSymbol = (chosen: string) => select({ symbol: chosen });
  const other = theme === "dark" ? "light" : "dark";
  useKeyboard({
    quotes,
    symbol,
    select,
    toggleTheme,
    toggleZone,
    help: () => help.current?.showModal(),
  });

  return (
    <>
      <header class="top">
        <h1>
          <img src={new URL("./icon.svg", import.meta.url).href} alt="" width="24" height="24" />
          Quoteflow
        </h1>
        <Status figures={figures} />
        <div class="settings">
          <button type="button" class="zone" onClick={toggleZone} title="The clock that times are shown on">
            <span class="wide">Times: </span>
            {zone === "market" ? "New York" : "Yours"}
          </button>
          <button type="button" class="theme" onClick={() => help.current?.showModal()} aria-label="Keys">
            <span aria-hidden="true">?</span>
          </button>
          <button type="button" class="theme" onClick={toggleTheme} aria-label={`Switch to the ${other} theme`}>
            <span aria-hidden="true">{theme === "dark" ? "☀" : "☾"}</span>
          </button>
        </div>
      </header>
      <main>
        <ConnectionNotice figures={figures} retry={retry} />
        {!kpi.answer ? (
          figures.outage || kpi.failure ? null : (
            <Skeleton isPhone={isPhone} />
          )
        ) : quotes.length === 0 && isEmpty(figures) ? (
          <Nothing figures={figures} />
        ) : (
          <>
            <Watchlist
              kpi={kpi}
              sparklines={figures.sparklines}
              selected={symbol}
              market={figures.health.answer?.market}
              now={new Date(Date.now() + figures.clockOffset)}
              selection={selection}
              select={selectSymbol}
              isPhone={isPhone}
            />
            <div class="grid">
              <ChartPanel
                asked={figures.candles}
                compared={figures.compared}
                kpi={kpi.answer}
                quotesAreNewer={figures.quotesAreNewer}
                symbol={symbol}
                selection={selection}
                select={select}
                theme={theme}
                zone={zone}
              />
              <TreemapPanel asked={figures.part("treemap")} select={selectSymbol} theme={theme} />
              <HealthPanel
                asked={figures.health}
                pipeline={figures.pipeline}
                quotes={quotes}
                clockOffset={figures.clockOffset}
              />
            </div>
          </>
        )}
      </main>
      <footer>
        <p>
          Times are {ZONES[zone]}; the dates of daily candles are New York’s. Prices are in each instrument’s currency.
          The source has no volumes.
        </p>
        <p>
          <a href="/api/openapi.json">API</a> · <a href="/licenses.md">Licences</a> · Charts by{" "}
          <a href="https://www.tradingview.com/" rel="noreferrer">
            TradingView
          </a>{" "}
          Lightweight Charts™
        </p>
      </footer>
      <dialog ref={help} aria-labelledby="keys">
        <h2 id="keys">Keys</h2>
        <dl>
          {KEYS.map(([key, meaning]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <form method="dialog">
          <button type="submit">Close</button>
        </form>
      </dialog>
      <Announcement figures={figures} quote={quote} />
    </>
  );
}

const ZONES: Record<Zone, string> = { market: "New York’s", reader: "yours" };

/** The clock that times are shown on. */
function useZone(): [Zone, () => void] {
  const [zone, choose] = useState<Zone>(() => (stored(ZONE) === "reader" ? "reader" : "market"));
  // Not in an effect: times are written while the page renders.
  setZone(zone);
  const toggle = () =>
    choose((before) => {
      const next = before === "market" ? "reader" : "market";
      store(ZONE, next === "market" ? undefined : next);
      return next;
    });
  return [zone, toggle];
}

function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => window.matchMedia(query).matches);
  useLayoutEffect(() => {
    const media = window.matchMedia(query);
    const follow = () => setMatches(media.matches);
    media.addEventListener("change", follow);
    return () => media.removeEventListener("change", follow);
  }, [query]);
  return matches;
}

/** What the page will look like: nothing moves when the figures come. */
function Skeleton({ isPhone }: { isPhone: boolean }) {
  return (
    <div class="skeleton" aria-busy="true">
      <p class="unseen">Loading…</p>
      <div class={isPhone ? "bones chips" : "bones tiles"} aria-hidden="true">
        {[1, 2, 3, 4, 5].map((bone) => (
          <div key={bone} class={isPhone ? "chip" : "tile"} />
        ))}
      </div>
      <div class="grid" aria-hidden="true">
        <div class="panel chart" />
        <div class="panel treemap" />
        <div class="panel health" />
      </div>
    </div>
  );
}

function Nothing({ figures }: { figures: Figures }) {
  const now = useNow(figures.clockOffset);
  const market = figures.health.answer?.market;
  const trouble = figures.pipeline?.trouble;
  return (
    <section class="panel nothing" aria-labelledby="empty">
      <h2 id="empty">No quotes yet</h2>
      {trouble && <p class="trouble">{sentence(trouble)}</p>}
      <p>
        {market?.state === "closed"
          ? `The US market is closed: ${marketText(market, now).toLowerCase()}. Each symbol’s last price will show here when it has been fetched once.`
          : "Waiting for the first quotes. They appear here by themselves, usually within 30 seconds of the start."}
      </p>
      {figures.pipeline && <Stations pipeline={figures.pipeline} quotes={[]} now={now} isPaused={false} />}
    </section>
  );
}

function isEmpty({ health }: Figures): boolean {
  return health.answer === undefined || health.answer.status === "empty";
}

function useTitle(quote: Kpi | undefined) {
  useEffect(() => {
    document.title = quote
      ? `${quote.symbol} ${price(quote.price)} ${change(quote.change, quote.price)} (${percent(quote.change_percent)}) · Quoteflow`
      : "Quoteflow";
  }, [quote]);
}
