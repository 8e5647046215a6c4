import type { HealthAnswer, Kpi, SymbolHealth } from "./api";
import { useNow } from "./clock";
import type { Asked } from "./figures";
import { duration, momentBeside, NONE, rate, share } from "./format";
import { CsvButton, FiguresTable, Panel } from "./panel";

interface Props {
  asked: Asked<HealthAnswer>;
  quotes: readonly Kpi[];
  clockOffset: number;
}

const STATUS: Record<SymbolHealth["status"], string> = {
  ok: "Fresh",
  closed: "Closed",
  stale: "Stale",
  unknown: "Unknown",
  empty: NONE,
};

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

export function HealthPanel({ asked, quotes, clockOffset }: Props) {
  const { answer } = asked;
  const now = useNow(clockOffset);
  const at = (time: string | null) => (time === null ? NONE : momentBeside(new Date(time), now));
  const age = (time: string | null) => Math.max(0, (now.getTime() - Date.parse(time ?? "")) / 1_000);
  return (
    <Panel
      id="health"
      title="Pipeline"
      tools={
        answer && (
          <CsvButton
            name="pipeline"
            head={["symbol", "status", "fetched_at", "loaded_at", "market_time", "quotes_per_minute", "rejected_share"]}
            rows={() =>
              answer.symbols.map((one) => [
                one.symbol,
                one.status,
                one.last_fetched_at,
                one.last_loaded_at,
                one.last_market_time,
                one.quotes_per_minute,
                one.rejected_share,
              ])
            }
          />
        )
      }
      asked={asked}
    >
      {answer && <Stations symbols={answer.symbols} quotes={quotes} now={now} />}
      {answer && (
        <FiguresTable
          caption="How fresh each symbol’s quotes are"
          head={["Symbol", "State", "Age", "Per minute", "Rejected", "Fetched", "Loaded", "Traded"]}
          rows={answer.symbols.map((one) => [
            one.symbol,
            <span key="state" class={one.status === "stale" || one.status === "unknown" ? "old" : undefined}>
              {STATUS[one.status]}
              {one.reason && <span class="reason">: {one.reason}</span>}
            </span>,
            one.status === "unknown" ? NONE : duration(age(one.last_fetched_at)),
            one.quotes_per_minute === null ? NONE : rate(one.quotes_per_minute),
            share(one.rejected_share),
            at(one.last_fetched_at),
            at(one.last_loaded_at),
            at(one.last_market_time),
          ])}
        />
      )}
    </Panel>
  );
}

interface StationsProps {
  symbols: readonly SymbolHealth[];
  quotes: readonly Kpi[];
  now: Date;
}

/** The quotes' way, and what the warehouse knows of each part of it. */
function Stations({ symbols, quotes, now }: StationsProps) {
  const perMinute = symbols.reduce((sum, one) => sum + (one.quotes_per_minute ?? 0), 0);
  const waits = quotes.flatMap((quote) =>
    quote.loaded_at === null ? [] : [(Date.parse(quote.loaded_at) - Date.parse(quote.fetched_at)) / 1_000],
  );
  const loaded = Math.max(...quotes.map((quote) => Date.parse(quote.loaded_at ?? "")).filter((time) => time > 0));
  const worst = Math.max(0, ...symbols.map((one) => one.rejected_share ?? 0));
  const wait = median(waits);
  const stations = [
    ["Fetch", `${rate(perMinute)} a minute`, "Finnhub is asked for each symbol every few seconds."],
    [
      "Kafka → S3",
      wait === undefined ? NONE : `${duration(wait)} to bronze`,
      "From the fetch to the row in bronze: the median of the symbols’ latest quotes.",
    ],
    [
      "Bronze",
      Number.isFinite(loaded) ? `${duration(Math.max(0, (now.getTime() - loaded) / 1_000))} ago` : NONE,
      "When the newest quote was loaded into BigQuery.",
    ],
    [
      "Silver",
      worst === 0 ? "none rejected" : `up to ${share(worst)} rejected`,
      "The share of a symbol’s latest quotes that broke a rule.",
    ],
    ["Gold", `${symbols.length} symbols`, "Views: what was loaded is in them at once."],
  ] as const;
  return (
    <ol class="stations">
      {stations.map(([name, figure, meaning]) => (
        <li key={name} title={meaning}>
          <span class="station">{name}</span> <span class="figure">{figure}</span>
        </li>
      ))}
    </ol>
  );
}
