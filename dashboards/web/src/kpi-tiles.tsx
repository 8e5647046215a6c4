import { useEffect, useRef } from "preact/hooks";
import type { Interval, Kpi, KpiAnswer } from "./api";
import type { Asked } from "./figures";
import { clock, day, direction, knownPrice, percent, price, change as priceChange } from "./format";
import { Note } from "./panel";
import { searchOf } from "./selection";

interface Props {
  kpi: Asked<KpiAnswer>;
  selected: string | undefined;
  interval: Interval;
  select: (symbol: string) => void;
}

/** Each symbol's latest quote. A tile selects its symbol. */
export function KpiTiles({ kpi, selected, interval, select }: Props) {
  return (
    <section aria-labelledby="kpi">
      <h2 id="kpi" class="unseen">
        Latest quotes
      </h2>
      <Note asked={kpi} />
      <ul class="tiles">
        {kpi.answer?.quotes.map((quote) => (
          <li key={quote.symbol}>
            <a
              class="tile"
              href={searchOf({ symbol: quote.symbol, interval })}
              aria-current={quote.symbol === selected ? "true" : undefined}
              onClick={(event) => {
                if (event.ctrlKey || event.metaKey || event.shiftKey) return;
                event.preventDefault();
                select(quote.symbol);
              }}
            >
              <Quote quote={quote} />
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

const ARROW = { up: "▲", down: "▼", level: "◆" } as const;

function Quote({ quote }: { quote: Kpi }) {
  const way = direction(quote.change_percent ?? quote.change);
  const at = new Date(quote.market_time);
  return (
    <>
      <span class="symbol">{quote.symbol}</span>
      <time dateTime={quote.market_time} class="traded">
        {day(at)} {clock(at)}
      </time>
      <Price value={quote.price} />
      <span class={`change ${way}`}>
        <span aria-hidden="true">{ARROW[way]}</span> {priceChange(quote.change, quote.price)}{" "}
        <span class="percent">{percent(quote.change_percent)}</span>
      </span>
      <DayRange quote={quote} />
    </>
  );
}

/** The price. It lights up when it changes, where motion is welcome. */
function Price({ value }: { value: number }) {
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
