// When the page asks again: every few seconds, less often while it fails, never while nobody looks.

const SHORTEST_MS = 1_000;
const INTERVAL_MS = 5_000;
const LONGEST_MS = 60_000;

/**
 * How long to wait before the next cycle.
 *
 * @param failures Cycles that failed in a row; 0 after a success.
 * @param maxAgeSeconds How long the answer may be used, if the server said so.
 * @param retryAfterSeconds How long the server asked to wait, if it did.
 * @param random From 0 to 1: spreads many pages' tries over time.
 * @returns Milliseconds.
 */
export function delayAfter(
  failures: number,
  retryAfterSeconds = 0,
  maxAgeSeconds: number | undefined = undefined,
  random = Math.random(),
): number {
  if (failures === 0) {
    const asked = maxAgeSeconds === undefined ? INTERVAL_MS : maxAgeSeconds * 1_000;
    // A random delay spreads the pages' requests, because their answers expire at the same moment.
    return Math.min(Math.max(asked, SHORTEST_MS), LONGEST_MS) + 250 * random;
  }
  const backOff = Math.min(1_000 * 2 ** failures, LONGEST_MS) * (0.75 + 0.25 * random);
  return Math.max(backOff, Math.min(retryAfterSeconds * 1_000, LONGEST_MS));
}

/** The result of a cycle. */
export interface Outcome {
  failed: boolean;
  retryAfterSeconds?: number | undefined;
  maxAgeSeconds?: number | undefined;
}

/** Runs cycles until it is stopped: one at once, then each after the delay that the last one's outcome asks for. */
export class Poller {
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #running: AbortController | undefined;
  readonly #cycle: (signal: AbortSignal) => Promise<Outcome>;

  constructor(cycle: (signal: AbortSignal) => Promise<Outcome>) {
    this.#cycle = cycle;
    document.addEventListener("visibilitychange", this.now);
    window.addEventListener("online", this.now);
    this.now();
  }

  /** Begins a cycle at once, instead of the one that runs or waits. */
  readonly now = () => {
    this.#cancel();
    if (document.visibilityState !== "hidden") void this.#run();
  };

  /** Ends the cycle that runs; begins no other. */
  stop() {
    document.removeEventListener("visibilitychange", this.now);
    window.removeEventListener("online", this.now);
    this.#cancel();
  }

  #cancel() {
    clearTimeout(this.#timer);
    this.#running?.abort();
  }

  async #run() {
    const running = new AbortController();
    this.#running = running;
    const outcome = await this.#cycle(running.signal);
    if (running.signal.aborted) return;
    this.#failures = outcome.failed ? this.#failures + 1 : 0;
    this.#timer = setTimeout(this.now, delayAfter(this.#failures, outcome.retryAfterSeconds, outcome.maxAgeSeconds));
  }
}
