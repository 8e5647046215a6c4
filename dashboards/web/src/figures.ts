// What the page knows: the latest answer to each request, and whether the server answers.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import {
  type CandlesAnswer,
  Client,
  Failure,
  type HealthAnswer,
  type HistoryAnswer,
  type Interval,
  type KpiAnswer,
  path,
  type TreemapAnswer,
} from "./api";
import { Poller } from "./polling";

/** The state of one request. Figures stay when a later try fails; both are missing while the first one runs. */
export interface Asked<Answer> {
  answer?: Answer | undefined;
  failure?: Failure | undefined;
}

export interface Figures {
  kpi: Asked<KpiAnswer>;
  candles: Asked<CandlesAnswer>;
  history: Asked<HistoryAnswer>;
  treemap: Asked<TreemapAnswer>;
  health: Asked<HealthAnswer>;
  /** The symbol that candles and history are of: the one asked for, else the first there is. */
  symbol: string | undefined;
  /** Why the latest figures are not there, while that may pass. */
  outage: Failure | undefined;
}

/** Keeps the figures of a symbol (none: the first there is) up to date, and gives a way to ask at once. */
export function useFigures(wanted: string | undefined, interval: Interval): [Figures, () => void] {
  const [answers, setAnswers] = useState<ReadonlyMap<string, Asked<unknown>>>(new Map());
  const [outage, setOutage] = useState<Failure>();
  const client = useRef(new Client());
  const poller = useRef<Poller>(undefined);

  const asked = <Answer>(key: string | undefined) => ((key && answers.get(key)) || {}) as Asked<Answer>;
  const kpi = asked<KpiAnswer>(path.kpi);
  const symbol = wanted ?? kpi.answer?.quotes[0]?.symbol;
  const candles = symbol && path.candles(symbol, interval);
  const history = symbol && path.history(symbol);

  useEffect(() => {
    const requests = [path.kpi, path.treemap, path.health, candles, history].filter((key) => key !== undefined);
    const current = new Poller(async (signal) => {
      const failures: Failure[] = [];
      await Promise.all(
        requests.map(async (key) => {
          try {
            const answer = await client.current.get(key, signal);
            setAnswers((all) =>
              all.get(key)?.answer === answer && !all.get(key)?.failure ? all : new Map(all).set(key, { answer }),
            );
          } catch (error) {
            if (signal.aborted) return;
            const failure = error instanceof Failure ? error : new Failure(String(error), false);
            if (!failure.permanent) failures.push(failure);
            setAnswers((all) => new Map(all).set(key, { answer: all.get(key)?.answer, failure }));
          }
        }),
      );
      if (!signal.aborted) setOutage(failures[0]);
      return { failed: failures.length > 0, retryAfterSeconds: failures[0]?.retryAfterSeconds };
    });
    poller.current = current;
    return () => current.stop();
  }, [candles, history]);

  const now = useCallback(() => poller.current?.now(), []);
  return [
    {
      kpi,
      candles: asked(candles),
      history: asked(history),
      treemap: asked(path.treemap),
      health: asked(path.health),
      symbol,
      outage,
    },
    now,
  ];
}
