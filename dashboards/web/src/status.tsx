// What is said about the figures as a whole: what they are of, how old they are, and why there are no newer ones.

import { type HealthAnswer, type Kpi, type Market, NO_SERVER } from "./api";
import { useNow } from "./clock";
import type { Figures } from "./figures";
import { calendarDate, duration, momentWithZone, opening, sentence, zoneName } from "./format";

type State = "loading" | HealthAnswer["status"] | "outage";

function stateOf({ health, kpi, outage }: Figures): State {
  if (outage) return "outage";
  if (health.answer) return health.answer.status;
  if (!kpi.answer) return "loading";
  return kpi.answer.quotes.length > 0 ? "ok" : "empty";
}

/** What the quotes are of. "Live" is never said: it is not known how old the prices are at their source. */
export function marketText(market: Market, now: Date): string {
  switch (market.state) {
    case "recording":
      return `Recording${market.date ? ` of ${calendarDate(market.date)}` : ""} · ${market.speed}×`;
    case "closed":
      return `Closed${market.holiday ? ` (${market.holiday})` : ""} until ${opening(new Date(market.next_open), now)}`;
    case "open":
      return "Open";
  }
}

/** The seconds since the newest quote was fetched. */
function ageOf({ kpi, health }: Figures, now: Date): number | undefined {
  const times = [
    ...(kpi.answer?.quotes ?? []).map((quote) => Date.parse(quote.fetched_at)),
    ...(health.answer?.symbols ?? [])
      .filter((one) => one.status !== "unknown" && one.last_fetched_at !== null)
      .map((one) => Date.parse(one.last_fetched_at ?? "")),
  ];
  return times.length === 0 ? undefined : Math.max(0, (now.getTime() - Math.max(...times)) / 1_000);
}

const PROBLEM: Partial<Record<State, string>> = {
  stale: "Stale",
  unknown: "Times unclear",
  empty: "No data yet",
  outage: "Not updating",
};

/** What the quotes are of, and how old the newest is. */
export function Status({ figures }: { figures: Figures }) {
  const now = useNow(figures.clockOffset);
  const state = stateOf(figures);
  const market = figures.health.answer?.market;
  const age = ageOf(figures, now);
  const problem = PROBLEM[state];
  return (
    <p class="status">
      {market ? (
        <span class={`badge market ${market.state}`} title={titleOf(market, now)}>
          {marketText(market, now)}
        </span>
      ) : (
        state === "loading" && <span class="badge loading">Loading</span>
      )}
      {problem && <span class={`badge ${state}`}>{problem}</span>}
      {age !== undefined && <span class="age">Last quote {duration(age)} ago</span>}
    </p>
  );
}

function titleOf(market: Market, now: Date): string | undefined {
  const zone = zoneName(now);
  if (market.state === "closed") return `${market.holiday ?? "The US market"}. Times are ${zone}.`;
  if (market.state === "recording" || !market.closes_at) return undefined;
  return `The US market, until ${opening(new Date(market.closes_at), now)} ${zone}.`;
}

const STALE: Record<Market["state"], string> = {
  recording: "The recording stands still",
  open: "The market is open",
  closed: "The quotes ended before the market closed",
};

/** Says in words when figures do not come, or are old. */
export function ConnectionNotice({ figures, retry }: { figures: Figures; retry: () => void }) {
  const { outage, kpi, asOf, health, pipeline } = figures;
  const now = useNow(figures.clockOffset);
  if (outage) {
    return (
      <div class={kpi.answer ? "notice outage" : "notice outage alone"}>
        <p>
          <strong>{outage.message}.</strong>{" "}
          {kpi.answer && asOf !== undefined
            ? `These are the last figures, as of ${momentWithZone(new Date(asOf))}.`
            : "There are no figures to show."}{" "}
          The page keeps trying.
          {outage.message === NO_SERVER && (
            <>
              {" "}
              On your own machine: is <code>make local</code> running?
            </>
          )}
        </p>
        <button type="button" onClick={retry}>
          Try now
        </button>
      </div>
    );
  }
  if (!health.answer && kpi.answer && pipeline?.trouble) {
    return (
      <div class="notice stale">
        <p>
          <strong>{sentence(pipeline.trouble)}</strong>
        </p>
      </div>
    );
  }
  const bad = (health.answer?.symbols ?? []).filter((one) => one.status === health.answer?.status);
  if (health.answer?.status === "unknown") {
    return (
      <div class="notice unknown">
        <p>
          <strong>{bad.map((one) => one.symbol).join(", ")}:</strong> {bad[0]?.reason}. The other symbols are not
          affected.
        </p>
      </div>
    );
  }
  if (health.answer?.status !== "stale") return null;
  const all = bad.length === health.answer.symbols.length;
  const ages = bad.map((one) => (now.getTime() - Date.parse(one.last_fetched_at ?? "")) / 1_000);
  return (
    <div class="notice stale">
      <p>
        <strong>
          No new quotes{all ? "" : ` of ${bad.map((one) => one.symbol).join(", ")}`} for{" "}
          {duration(Math.max(0, Math.min(...ages)))}.
        </strong>{" "}
        {pipeline?.trouble
          ? sentence(pipeline.trouble)
          : `${STALE[health.answer.market.state]}; more than ${duration(health.answer.stale_after_seconds)} is stale.`}
      </p>
    </div>
  );
}

/** What a screen reader says when the state or the symbol changes, but not at each new price. */
export function Announcement({ figures, quote }: { figures: Figures; quote: Kpi | undefined }) {
  const state = stateOf(figures);
  const told: Record<State, string> = {
    loading: "Loading the figures.",
    ok: "Figures are up to date.",
    closed: "The market is closed. These are its last figures.",
    stale: "The figures are stale.",
    unknown: "Figures are up to date, but for one symbol.",
    empty: "No quotes yet.",
    outage: `${figures.outage?.message}. The last figures stay.`,
  };
  return (
    <div role="status" class="unseen">
      {told[state]} {quote && `${quote.symbol} is selected.`}
    </div>
  );
}
