import type { HealthAnswer, Kpi, PipelineAnswer, SymbolHealth } from "./api";
import { useNow } from "./clock";
import type { Asked } from "./figures";
import { duration, momentBeside, NONE, rate, sentence, share } from "./format";
import { CsvButton, FiguresTable, Panel } from "./panel";
import { Stations } from "./stations";

interface Props {
  asked: Asked<HealthAnswer>;
  pipeline: PipelineAnswer | undefined;
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

/** The states in which quotes come. */
const COMES: ReadonlySet<SymbolHealth["status"]> = new Set(["ok", "unknown"]);

export function HealthPanel({ asked, pipeline, quotes, clockOffset }: Props) {
  const { answer } = asked;
  const now = useNow(clockOffset);
  const at = (time: string | null) => (time === null ? NONE : momentBeside(new Date(time), now));
  const age = (time: string | null) => Math.max(0, (now.getTime() - Date.parse(time ?? "")) / 1_000);
  return (
    <Panel
      id="health"
      title="Pipeline"
      tools={
        <>
          {pipeline?.trouble && <p class="trouble">{sentence(pipeline.trouble)}</p>}
          {answer && (
            <CsvButton
              name="pipeline"
              head={[
                "symbol",
                "status",
                "fetched_at",
                "loaded_at",
                "market_time",
                "quotes_per_minute",
                "rejected_share",
              ]}
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
          )}
        </>
      }
      asked={asked}
    >
      {pipeline && <Stations pipeline={pipeline} quotes={quotes} now={now} isPaused={answer?.status === "closed"} />}
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
            // The rate is that up to the last load. It says nothing if no quotes come.
            one.quotes_per_minute === null || !COMES.has(one.status) ? NONE : rate(one.quotes_per_minute),
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
