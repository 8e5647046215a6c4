import { describe, expect, test } from "vitest";
import { delayAfter } from "../src/polling";

describe("the delay before the next cycle", () => {
  test("is what the answer serves for, within reason", () => {
    expect([undefined, 0, 6, 3_600].map((maxAge) => delayAfter(0, 0, maxAge, 0))).toEqual([
      5_000, 1_000, 6_000, 60_000,
    ]);
    expect(delayAfter(0, 0, 6, 1)).toBe(6_250);
  });
  test("doubles with each failure, up to a minute", () =>
    expect([1, 2, 3, 10, 1000].map((failures) => delayAfter(failures, 0, undefined, 1))).toEqual([
      2_000, 4_000, 8_000, 60_000, 60_000,
    ]));
  test("differs between pages", () => expect(delayAfter(3, 0, undefined, 0)).toBe(6_000));
  test("is at least what the server asks for, within reason", () => {
    expect(delayAfter(1, 30, undefined, 1)).toBe(30_000);
    expect(delayAfter(1, 86_400, undefined, 1)).toBe(60_000);
  });
});
