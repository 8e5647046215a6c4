// What is said about the figures as a whole: how old they are, and why there are no newer ones.

import type { Kpi } from "./api";
import type { Figures } from "./figures";
import { duration, momentWithZone } from "./format";

type State = "loading" | "ok" | "stale" | "empty" | "outage";

const BADGE: Record<State, string> = {
  loading: "Loading",
  ok: "Live",
  stale: "Stale",
  empty: "No data yet",
  outage: "Not updating",
};

function stateOf({ health, kpi, outage }: Figures): State {
  if (outage) return "outage";
  return health.answer?.status ?? (kpi.answer ? "ok" : "loading");
}

/** The badge and when the figures were read. */
export function Status({ figures }: { figures: Figures }) {
  const state = stateOf(figures);
  const asOf = figures.kpi.answer?.as_of;
  return (
    <p class="status">
      <span class={`badge ${state}`}>{BADGE[state]}</span>
      {asOf && (
        <span class="as-of">
          As of <time dateTime={asOf}>{momentWithZone(new Date(asOf))}</time>
        </span>
      )}
    </p>
  );
}

/** Says in words when figures do not come, or are old. */
export function ConnectionNotice({ figures, retry }: { figures: Figures; retry: () => void }) {
  const { outage, kpi, health } = figures;
  if (outage) {
    return (
      <div class="notice outage">
        <p>
          <strong>{outage.message}.</strong>{" "}
          {kpi.answer
            ? `These are the last figures, as of ${momentWithZone(new Date(kpi.answer.as_of))}.`
            : "There are no figures to show."}{" "}
          The page keeps trying.
        </p>
        <button type="button" onClick={retry}>
          Try now
        </button>
      </div>
    );
  }
  if (health.answer?.status !== "stale") return null;
  const { symbols, stale_after_seconds } = health.answer;
  const freshest = Math.min(...symbols.map((one) => one.freshness_seconds));
  return (
    <div class="notice stale">
      <p>
        <strong>No new quotes{symbols.length > 0 && ` for ${duration(freshest)}`}.</strong> More than{" "}
        {duration(stale_after_seconds)} is stale: the market may be closed, or the pipeline stands still.
      </p>
    </div>
  );
}

/** Tells a screen reader what changed for the reader, and never each new price. */
export function Announcement({ figures, quote }: { figures: Figures; quote: Kpi | undefined }) {
  const state = stateOf(figures);
  const told: Record<State, string> = {
    loading: "Loading the figures.",
    ok: "Figures are up to date.",
    stale: "The figures are stale.",
    empty: "No quotes yet.",
    outage: `${figures.outage?.message}. The last figures stay.`,
  };
  return (
    <div role="status" class="unseen">
      {told[state]} {quote && `${quote.symbol} is selected.`}
    </div>
  );
}
