// What the page knows: the latest answer of each part, and whether the server answers.

import { useCallback, useLayoutEffect, useRef, useState } from "preact/hooks";
import {
  type Answered,
  type Asked as AskedFor,
  type CandlesAnswer,
  Client,
  Failure,
  type HealthAnswer,
  type KpiAnswer,
  type PipelineAnswer,
  type SnapshotAnswer,
  type Sparkline,
  snapshotPath,
} from "./api";
import { Poller } from "./polling";

/** The state of one part. Figures stay when a later try fails; both are missing while the first one runs. */
export interface Asked<Answer> {
  answer?: Answer | undefined;
  failure?: Failure | undefined;
}

export interface Figures {
  /** What is known of a part. */
  part: <Name extends Part>(name: Name) => Asked<NonNullable<Parts[Name]>>;
  kpi: Asked<KpiAnswer>;
  candles: Asked<CandlesAnswer>;
  compared: readonly CandlesAnswer[];
  sparklines: ReadonlyMap<string, Sparkline>;
  health: Asked<HealthAnswer>;
  pipeline: PipelineAnswer | undefined;
  /** The symbol that is shown: the chosen one, else the first. */
  symbol: string | undefined;
  /** Whether the quotes were read after the candles. */
  quotesAreNewer: boolean;
  /** Up to when everything that was loaded is on the page, in milliseconds since 1970. */
  asOf: number | undefined;
  /** The server's clock less ours, in milliseconds. */
  clockOffset: number;
  /** Why there are no newer figures, if that may pass. */
  outage: Failure | undefined;
}

type Part = Exclude<keyof SnapshotAnswer, "symbol" | "missing">;
type Parts = Pick<SnapshotAnswer, Part>;

export interface Known {
  /** The question that was answered last. */
  path: string;
  parts: Partial<Parts>;
  missing: SnapshotAnswer["missing"];
  symbol: string | undefined;
  asOf: Answered["asOf"];
  clockOffset: number;
  failure?: Failure | undefined;
}

const NOTHING: Known = { path: "", parts: {}, missing: {}, symbol: undefined, asOf: new Map(), clockOffset: 0 };

/** The parts after a new snapshot: its own, and those that it misses as they were before. */
export function joined(before: Partial<Parts>, { missing, symbol: _, ...parts }: SnapshotAnswer): Partial<Parts> {
  const given = Object.entries(parts).filter(([name]) => !(name in missing));
  return { ...before, ...Object.fromEntries(given) };
}

/** Keeps the figures up to date, and gives a way to ask at once. */
export function useFigures(asked: AskedFor): [Figures, () => void] {
  const [known, setKnown] = useState(NOTHING);
  const client = useRef(new Client());
  const poller = useRef<Poller>(undefined);
  const path = snapshotPath(asked);

  // useEffect would run too late: until then an answer to the last question would be taken for this one's.
  useLayoutEffect(() => {
    const current = new Poller(async (signal) => {
      try {
        const answered = await client.current.get(path, signal);
        signal.throwIfAborted();
        const snapshot = answered.body as SnapshotAnswer;
        setKnown((before) => ({
          path,
          parts: joined(before.parts, snapshot),
          missing: snapshot.missing,
          symbol: snapshot.symbol ?? undefined,
          asOf: new Map([...before.asOf, ...answered.asOf]),
          clockOffset: answered.clockOffset ?? before.clockOffset,
        }));
        return { failed: false, maxAgeSeconds: answered.maxAgeSeconds };
      } catch (error) {
        if (signal.aborted) return { failed: true };
        const failure = error instanceof Failure ? error : new Failure(String(error), false);
        setKnown((before) => ({ ...before, path, failure }));
        return { failed: !failure.permanent, retryAfterSeconds: failure.retryAfterSeconds };
      }
    });
    poller.current = current;
    return () => current.stop();
  }, [path]);

  const now = useCallback(() => poller.current?.now(), []);
  return [figuresOf(known, asked), now];
}

const PENDING = "it is still being read";

/** The figures for a question, which may not have been answered yet. */
export function figuresOf(known: Known, asked: AskedFor): Figures {
  const { parts, missing, asOf, clockOffset } = known;
  const isAnswered = known.path === snapshotPath(asked);
  // The former answer may be of another symbol, and an answer without quotes names none.
  const shown = asked.symbol ?? (isAnswered ? known.symbol : undefined) ?? parts.kpi?.quotes[0]?.symbol;
  // A question that is refused says nothing about the next one.
  const failure = isAnswered || known.failure?.permanent === false ? known.failure : undefined;
  const part = <Name extends Part>(name: Name): Asked<NonNullable<Parts[Name]>> => {
    const reason = missing[name];
    const missed = reason === undefined || reason === PENDING ? undefined : new Failure(sentence(reason), false);
    return { answer: parts[name] ?? undefined, failure: failure ?? missed };
  };
  const candles = parts.candles?.symbol === shown ? parts.candles : undefined;
  const quotesAreNewer = (asOf.get("kpi") ?? 0) > (asOf.get("candles") ?? 0);
  return {
    part,
    kpi: part("kpi"),
    candles: { ...part("candles"), answer: candles ?? undefined },
    compared: (parts.compared ?? []).filter((one) => asked.compared.includes(one.symbol)),
    sparklines: new Map(parts.sparklines?.symbols.map((one) => [one.symbol, one])),
    health: part("health"),
    pipeline: parts.pipeline ?? undefined,
    symbol: shown,
    quotesAreNewer,
    asOf: asOf.get("kpi"),
    clockOffset,
    outage: failure?.permanent === false ? failure : undefined,
  };
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
