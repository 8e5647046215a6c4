// The quotes' way from the fetch to gold, and what is known of each part of it.

import { useState } from "preact/hooks";
import type { Kpi, PipelineAnswer, Station } from "./api";
import { brief, duration, rate } from "./format";

type Name = keyof PipelineAnswer["stations"];

interface Props {
  pipeline: PipelineAnswer;
  quotes: readonly Kpi[];
  now: Date;
  /** Whether nothing is polled because the market is closed: the few last prices have no rate. */
  isPaused: boolean;
}

const UNKNOWN = "not known here";

interface Told {
  name: string;
  does: string;
  /** What waits there, and what is put aside there. */
  waiting?: string;
  deadLetters?: string;
  /** The word for what is put aside, in the row. */
  aside?: string;
}

const STATIONS: Record<Name, Told> = {
  fetch: { name: "Fetch", does: "fetch-quotes asks Finnhub for each symbol every few seconds." },
  kafka: {
    name: "Kafka",
    does: "Each quote is a record of the topic stock-quotes.",
    waiting: "Waiting for archive-quotes (lag)",
  },
  s3: {
    name: "S3",
    does: "archive-quotes writes each record as an object. A record that is not a quote goes to the quarantine bucket.",
    waiting: "Waiting for load-quotes",
    deadLetters: "In quarantine",
    aside: "quarantined",
  },
  bronze: {
    name: "Bronze",
    does: "load-quotes adds each object to BigQuery once. What fails five times goes to the dead-letter queue.",
    deadLetters: "Dead letters",
    aside: "dead letters",
  },
  gold: {
    name: "Gold",
    does: "Views show what was loaded at once. transform-quotes runs dbt, which settles it from time to time.",
  },
};
const NAMES = Object.keys(STATIONS) as Name[];

/** The stations in a row. One of them says all that it knows below the row. */
export function Stations({ pipeline, quotes, now, isPaused }: Props) {
  const [opened, open] = useState<Name>();
  return (
    <>
      <ol class="stations">
        {NAMES.map((id) => {
          const station = pipeline.stations[id];
          const facts = factsOf(id, { pipeline, quotes, now });
          const isBad = (station.failures ?? 0) + (station.dead_letters ?? 0) > 0;
          return (
            <li key={id}>
              <button
                type="button"
                class={isBad ? "station bad" : "station"}
                aria-expanded={opened === id}
                aria-controls="station"
                onClick={() => open((before) => (before === id ? undefined : id))}
                onKeyDown={(event) => event.key === "Escape" && open(undefined)}
              >
                <span class="name">{STATIONS[id].name}</span>
                <span class={isPaused || station.quotes_per_minute === null ? "none" : "figure"}>
                  {isPaused
                    ? "Market closed"
                    : station.quotes_per_minute !== null
                      ? `${rate(station.quotes_per_minute, 1)} a minute`
                      : facts.length > 0 && `Rate ${pipeline.measured_by === "flow" ? "not known now" : UNKNOWN}`}
                </span>
                <span class="facts">{facts.join(" · ") || "Not known here"}</span>
              </button>
            </li>
          );
        })}
      </ol>
      <section
        id="station"
        class="opened"
        aria-label={opened && `What is known of ${STATIONS[opened].name}`}
        hidden={!opened}
      >
        {opened && (
          <>
            <p>{STATIONS[opened].does}</p>
            <dl>
              {rowsOf(opened, { pipeline, quotes, now, isPaused }).map(([term, value]) => (
                <div key={term}>
                  <dt>{term}</dt>
                  <dd>{value}</dd>
                </div>
              ))}
            </dl>
            {pipeline.measured_by === "warehouse" && (
              <p>These figures are from BigQuery. In the cloud, CloudWatch’s dashboard has the others.</p>
            )}
          </>
        )}
      </section>
    </>
  );
}

function ago(time: number, now: Date): string {
  return `${duration(Math.max(0, (now.getTime() - time) / 1_000))} ago`;
}

function lastFetch(quotes: readonly Kpi[]): number | undefined {
  const times = quotes.map((quote) => Date.parse(quote.fetched_at));
  return times.length === 0 ? undefined : Math.max(...times);
}

type Known = Omit<Props, "isPaused">;

/** What stands in the row: the median latency, what waits, what was put aside, how new it is. */
function factsOf(id: Name, { pipeline, quotes, now }: Known): string[] {
  const station = pipeline.stations[id];
  const facts: string[] = [];
  const fetched = lastFetch(quotes);
  // The warehouse's newest quote says nothing about a fetch that is running.
  if (station.missed !== null) facts.push(`${Object.values(station.missed).reduce((sum, one) => sum + one, 0)} missed`);
  else if (id === "fetch" && fetched !== undefined) facts.push(`last ${ago(fetched, now)}`);
  if (station.p50_seconds !== null) facts.push(`p50 ${brief(station.p50_seconds)}`);
  if (station.waiting !== null) facts.push(`${station.waiting} waiting`);
  if (station.dead_letters !== null) facts.push(`${station.dead_letters} ${STATIONS[id].aside}`);
  if (station.failures) facts.push(`${station.failures} failed`);
  if (id === "gold" && pipeline.settled_at) facts.push(`settled ${ago(Date.parse(pipeline.settled_at), now)}`);
  return facts;
}

/** What a station says when it is opened. */
function rowsOf(id: Name, { pipeline, quotes, now, isPaused }: Props): [string, string][] {
  const station: Station = pipeline.stations[id];
  const told = STATIONS[id];
  const of = (value: number | null, text: (value: number) => string) => (value === null ? UNKNOWN : text(value));
  const perMinute = isPaused ? "the market is closed" : of(station.quotes_per_minute, (value) => rate(value, 1));
  const rows: [string, string][] = [["Quotes a minute", perMinute]];
  const fetched = lastFetch(quotes);
  if (id === "fetch") {
    rows.push(["Last quote in gold", fetched === undefined ? "none yet" : ago(fetched, now)]);
    rows.push(["Missed", station.missed === null ? UNKNOWN : listed(station.missed)]);
  } else {
    rows.push(["From the fetch, p50", of(station.p50_seconds, brief)]);
    rows.push(["From the fetch, p95", of(station.p95_seconds, brief)]);
  }
  if (told.waiting) rows.push([told.waiting, of(station.waiting, String)]);
  if (told.deadLetters) rows.push([told.deadLetters, of(station.dead_letters, String)]);
  if (id === "gold") {
    rows.push(["Last settling", pipeline.settled_at ? ago(Date.parse(pipeline.settled_at), now) : UNKNOWN]);
  }
  if (id !== "kafka") rows.push(["Failed invocations", of(station.failures, String)]);
  if (station.last_failure) rows.push(["Last failure", station.last_failure]);
  return rows;
}

function listed(missed: Record<string, number>): string {
  const reasons = Object.entries(missed).map(([reason, times]) => `${times} (${reason})`);
  return reasons.join(", ") || "none";
}
