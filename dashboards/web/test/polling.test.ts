import { describe, expect, test } from "vitest";
import { delayAfter } from "../src/polling";

describe("the delay before the next cycle", () => {
  test("is the same after each success", () => expect(delayAfter(0)).toBe(5_000));
  test("doubles with each failure, up to a minute", () =>
    expect([1, 2, 3, 10, 1000].map((failures) => delayAfter(failures, 0, 1))).toEqual([
      2_000, 4_000, 8_000, 60_000, 60_000,
    ]));
  test("differs between pages", () => expect(delayAfter(3, 0, 0)).toBe(6_000));
  test("is at least what the server asks for, within reason", () => {
    expect(delayAfter(1, 30, 1)).toBe(30_000);
    expect(delayAfter(1, 86_400, 1)).toBe(60_000);
  });
});
