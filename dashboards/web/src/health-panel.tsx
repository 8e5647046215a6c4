import type { HealthAnswer } from "./api";
import type { Asked } from "./figures";
import { duration, moment, momentBeside, NONE, rate, share } from "./format";
import { FiguresTable, Panel } from "./panel";

export function HealthPanel({ asked }: { asked: Asked<HealthAnswer> }) {
  const { answer } = asked;
  const asOf = new Date(answer?.as_of ?? 0);
  const at = (time: string | null) => (time === null ? NONE : momentBeside(new Date(time), asOf));
  return (
    <Panel
      id="health"
      title="Pipeline"
      tools={
        answer && (
          <p class="as-of">
            {answer.status === "stale" && <span class="badge stale">Stale</span>} As of{" "}
            <time dateTime={answer.as_of}>{moment(new Date(answer.as_of))}</time>
          </p>
        )
      }
      asked={asked}
    >
      {answer && (
        <FiguresTable
          caption="How fresh each symbol’s quotes are"
          head={["Symbol", "Age", "Per minute", "Rejected", "Fetched", "Loaded", "Traded"]}
          rows={answer.symbols.map((one) => [
            one.symbol,
            <span key="age" class={one.freshness_seconds > answer.stale_after_seconds ? "old" : undefined}>
              {duration(one.freshness_seconds)}
            </span>,
            rate(one.quotes_per_minute),
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
