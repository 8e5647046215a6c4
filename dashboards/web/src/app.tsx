import { useEffect } from "preact/hooks";
import type { Kpi } from "./api";
import { CandlesPanel } from "./candles-panel";
import { type Figures, useFigures } from "./figures";
import { change, percent, price } from "./format";
import { HealthPanel } from "./health-panel";
import { HistoryPanel } from "./history-panel";
import { KpiTiles } from "./kpi-tiles";
import { useSelection } from "./selection";
import { Announcement, ConnectionNotice, Status } from "./status";
import { useTheme } from "./theme";
import { TreemapPanel } from "./treemap-panel";

export function App() {
  const [selection, select] = useSelection();
  const [figures, retry] = useFigures(selection.symbol, selection.interval);
  const [theme, toggleTheme] = useTheme();
  const { kpi, symbol } = figures;
  const quote = kpi.answer?.quotes.find((one) => one.symbol === symbol);
  useTitle(quote);
  const selectSymbol = (chosen: string) => select({ symbol: chosen });
  const other = theme === "dark" ? "light" : "dark";

  return (
    <>
      <header class="top">
        <h1>
          <img src={new URL("./icon.svg", import.meta.url).href} alt="" width="24" height="24" />
          Quoteflow
        </h1>
        <Status figures={figures} />
        <button type="button" class="theme" onClick={toggleTheme} aria-label={`Switch to the ${other} theme`}>
          <span aria-hidden="true">{theme === "dark" ? "☀" : "☾"}</span>
        </button>
      </header>
      <main>
        <ConnectionNotice figures={figures} retry={retry} />
        {figures.outage && !kpi.answer ? null : isEmpty(figures) ? (
          <section class="panel nothing" aria-labelledby="empty">
            <h2 id="empty">No quotes yet</h2>
            <p>
              The warehouse answers, but no quote has arrived in it. The first ones will show here by themselves,
              usually within seconds of the first fetch.
            </p>
          </section>
        ) : (
          <>
            <KpiTiles kpi={kpi} selected={symbol} interval={selection.interval} select={selectSymbol} />
            <div class="grid">
              <CandlesPanel
                asked={figures.candles}
                kpi={kpi.answer}
                symbol={symbol}
                interval={selection.interval}
                select={(interval) => select({ interval })}
                theme={theme}
              />
              <TreemapPanel asked={figures.treemap} select={selectSymbol} theme={theme} />
              <HistoryPanel asked={figures.history} symbol={symbol} theme={theme} />
              <HealthPanel asked={figures.health} />
            </div>
          </>
        )}
      </main>
      <footer>
        <p>All times are New York’s. Prices are in each instrument’s currency.</p>
        <p>
          <a href="/api/openapi.json">API</a> · <a href="/licenses.md">Licences</a> · Candles and lines by{" "}
          <a href="https://www.tradingview.com/" rel="noreferrer">
            TradingView
          </a>{" "}
          Lightweight Charts™
        </p>
      </footer>
      <Announcement figures={figures} quote={quote} />
    </>
  );
}

function isEmpty({ kpi, health }: Figures): boolean {
  return kpi.answer?.quotes.length === 0 && (health.answer === undefined || health.answer.status === "empty");
}

function useTitle(quote: Kpi | undefined) {
  useEffect(() => {
    document.title = quote
      ? `${quote.symbol} ${price(quote.price)} ${change(quote.change, quote.price)} (${percent(quote.change_percent)}) · Quoteflow`
      : "Quoteflow";
  }, [quote]);
}
