// The client of the dashboard API. Its types are generated from openapi.json.

import type { Interval, Range } from "./api-types";

export type * from "./api-types";

const TIMEOUT_MS = 10_000;
/** The message if no answer came at all. */
export const NO_SERVER = "The server does not answer";

/** Why a request has no figures. A permanent failure stays until the request is another one. */
export class Failure extends Error {
  /**
   * @param message What the reader is shown: a sentence without its full stop.
   * @param permanent Whether asking again cannot help.
   * @param retryAfterSeconds When the server wants to be asked again, if it says so.
   */
  constructor(
    message: string,
    readonly permanent: boolean,
    readonly retryAfterSeconds?: number,
  ) {
    super(message);
    this.name = "Failure";
  }
}

/** An answer, and what its headers say of it. */
export interface Answered {
  body: unknown;
  /** For each part, the time up to which it has everything that was loaded, in milliseconds since 1970. */
  asOf: ReadonlyMap<string, number>;
  /** The server's clock less ours, in milliseconds; undefined if it does not say its time. */
  clockOffset: number | undefined;
  /** When it is worth asking again. */
  maxAgeSeconds: number | undefined;
}

/** Asks the API. An answer that has not changed is not sent again: it is the same object as before. */
export class Client {
  readonly #known = new Map<string, { etag: string; body: unknown }>();

  /**
   * @param path Path and query, such as `/api/kpi`.
   * @throws {Failure} if no figures come; the signal's reason if it was aborted.
   */
  async get(path: string, signal: AbortSignal): Promise<Answered> {
    const known = this.#known.get(path);
    const response = await this.#fetch(path, signal, known?.etag);
    if (response.status === 304 && known) return { ...toldBy(response.headers), body: known.body };
    if (!response.ok) throw await failureOf(response);
    const body = await response.json().catch(() => {
      signal.throwIfAborted();
      throw new Failure("The server's answer broke off or is no JSON", false);
    });
    const etag = response.headers.get("ETag");
    if (etag) this.#known.set(path, { etag, body });
    return { ...toldBy(response.headers), body };
  }

  async #fetch(path: string, signal: AbortSignal, etag: string | undefined): Promise<Response> {
    try {
      return await fetch(path, {
        // Without "no-store" the browser may answer from its own cache, and hides a 304.
        cache: "no-store",
        headers: { Accept: "application/json", ...(etag && { "If-None-Match": etag }) },
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
    } catch {
      signal.throwIfAborted();
      throw new Failure(NO_SERVER, false);
    }
  }
}

function toldBy(headers: Headers): Omit<Answered, "body"> {
  const parts = (headers.get("Quoteflow-As-Of") ?? "").matchAll(/(\w+)="([^"]+)"/g);
  const date = Date.parse(headers.get("Date") ?? "");
  const maxAge = /max-age=(\d+)/.exec(headers.get("Cache-Control") ?? "")?.[1];
  return {
    asOf: new Map([...parts].map(([, name = "", time = ""]) => [name, Date.parse(time)])),
    clockOffset: Number.isNaN(date) ? undefined : date - Date.now(),
    maxAgeSeconds: maxAge === undefined ? undefined : Number(maxAge),
  };
}

async function failureOf(response: Response): Promise<Failure> {
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail ?? problem.title ?? `The server answers ${response.status}`;
  const permanent = response.status < 500 && response.status !== 408 && response.status !== 429;
  const retryAfter = Number(response.headers.get("Retry-After") ?? Number.NaN);
  return new Failure(sentence(String(detail)), permanent, Number.isFinite(retryAfter) ? retryAfter : undefined);
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/\.$/, "");
}

/** What a page asks for. */
export interface Asked {
  symbol: string | undefined;
  interval: Interval | undefined;
  range: Range | undefined;
  compared: readonly string[];
}

/** The page's one request: path and query. */
export function snapshotPath({ symbol, interval, range, compared }: Asked): string {
  const query = new URLSearchParams({
    ...(symbol && { symbol }),
    ...(interval && { interval }),
    ...(range && { range }),
    ...(compared.length > 0 && { compare: compared.join(",") }),
  });
  return query.size > 0 ? `/api/snapshot?${query}` : "/api/snapshot";
}
