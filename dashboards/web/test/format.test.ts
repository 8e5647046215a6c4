import { describe, expect, test } from "vitest";
import * as format from "../src/format";

describe("prices", () => {
  test.each([
    [1602.15, "1,602.15"],
    [170.4, "170.40"],
    [0.5, "0.50"],
    [0.00001234, "0.00001234"],
    [0.1234567, "0.1235"],
    [1234567.891, "1,234,567.89"],
  ])("%d is %s", (value, text) => expect(format.price(value)).toBe(text));

  test("a price that the source does not know is not shown as 0", () => expect(format.knownPrice(0)).toBe("–"));
});

describe("changes", () => {
  test("a fall has a minus sign, not a hyphen", () => expect(format.change(-0.38, 170.42)).toBe("\u22120.38"));
  test("a rise has a plus sign", () => expect(format.percent(0.2225)).toBe("+0.22\u00a0%"));
  test("nothing has no sign, even from below", () => expect(format.percent(-0.001)).toBe("0.00\u00a0%"));
  test("what is not known is not 0", () => {
    expect(format.percent(null)).toBe("–");
    expect(format.change(null, 10)).toBe("–");
    expect(format.share(null)).toBe("–");
  });
  test("a change has its price's decimals", () => expect(format.change(0.0000012, 0.00001234)).toBe("+0.0000012"));
});

test("shares and rates have two decimals, so that their columns line up", () => {
  expect(format.share(0.2)).toBe("20.00\u00a0%");
  expect(format.share(0.00125)).toBe("0.13\u00a0%");
  expect(format.rate(10)).toBe("10.00");
});

test("an amount has its price's decimals", () => {
  expect(format.amount(0.534, 170.42)).toBe("0.53");
  expect(format.amount(0.0000012, 0.00001234)).toBe("0.0000012");
});

describe("directions", () => {
  test.each([
    [0.2, "up"],
    [-0.2, "down"],
    [0, "level"],
    [null, "level"],
    [0.004, "level"],
    [-0.004, "level"],
  ] as const)("%d goes %s", (value, way) => expect(format.direction(value)).toBe(way));
});

describe("durations", () => {
  test.each([
    [0, "0 s"],
    [0.4, "0 s"],
    [4, "4 s"],
    [60, "1 min"],
    [725, "12 min 5 s"],
    [3600, "1 h"],
    [3605, "1 h"],
    [187_200, "2 d 4 h"],
  ])("%d seconds are %s", (seconds, text) => expect(format.duration(seconds).replaceAll("\u00a0", " ")).toBe(text));
});

describe("New York's time", () => {
  test("winter is five hours behind UTC, summer four", () => {
    expect(format.minute(new Date("2019-02-15T14:30:00Z"))).toBe("09:30");
    expect(format.minute(new Date("2019-07-15T13:30:00Z"))).toBe("09:30");
  });

  test("an hour is skipped in March", () => {
    expect(format.clock(new Date("2024-03-10T06:59:59Z"))).toBe("01:59:59");
    expect(format.clock(new Date("2024-03-10T07:00:00Z"))).toBe("03:00:00");
  });

  test("an hour comes twice in November, told apart by its zone", () => {
    expect(format.momentWithZone(new Date("2024-11-03T05:30:00Z"))).toBe("Nov 3, 2024, 01:30:00 EDT");
    expect(format.momentWithZone(new Date("2024-11-03T06:30:00Z"))).toBe("Nov 3, 2024, 01:30:00 EST");
  });

  test("midnight is hour 00 of the next date", () => {
    expect(format.moment(new Date("2019-02-15T05:00:00Z"))).toBe("Feb 15, 2019, 00:00:00");
    expect(format.dateOf(new Date("2019-02-15T04:59:59Z"))).toBe("2019-02-14");
    expect(format.dateOf(new Date("2019-02-15T05:00:00Z"))).toBe("2019-02-15");
  });

  test("a calendar date stays the same date all year", () => {
    expect(format.calendarDate("2024-03-10")).toBe("Mar 10, 2024");
    expect(format.calendarDate("2024-11-03")).toBe("Nov 3, 2024");
  });

  test("a moment of the same New York day has no date", () => {
    const asOf = new Date("2019-02-15T20:00:00Z");
    expect(format.momentBeside(new Date("2019-02-15T05:00:00Z"), asOf)).toBe("00:00:00");
    expect(format.momentBeside(new Date("2019-02-15T04:59:59Z"), asOf)).toBe("Feb 14, 2019, 23:59:59");
  });
});

describe("the reader's own time", () => {
  test("is chosen, and New York's comes back", () => {
    const at = new Date("2019-02-15T20:59:58Z");
    format.setZone("reader");
    expect(format.clock(at)).toBe("21:59:58");
    expect(format.calendarDate("2019-02-15")).toBe("Feb 15, 2019");
    format.setZone("market");
    expect(format.clock(at)).toBe("15:59:58");
  });
});

test("an opening is a weekday, or a date where it is far", () => {
  const now = new Date("2026-11-26T15:00:00Z");
  expect(format.opening(new Date("2026-11-27T14:30:00Z"), now)).toBe("Fri 09:30");
  expect(format.opening(new Date("2026-12-07T14:30:00Z"), now)).toBe("Dec 7 09:30");
});

test("an absurd price does not fill the page", () => {
  expect(format.price(1.797e308).length).toBeLessThan(12);
  expect(format.change(-1.797e308, 1).length).toBeLessThan(12);
});
