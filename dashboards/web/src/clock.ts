// The time now, on the server's clock, updated each second.

import { useEffect, useState } from "preact/hooks";

/** The server's time, which changes each second while the page is looked at. */
export function useNow(clockOffset: number): Date {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState !== "hidden" && setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return new Date(now + clockOffset);
}
