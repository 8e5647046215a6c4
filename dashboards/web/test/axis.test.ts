import { TickMarkType, type Time } from "lightweight-charts";
import { expect, test } from "vitest";
import { axisLabels } from "../src/time-chart";

const seconds = (at: string) => (Date.parse(at) / 1_000) as number & Time;

test("a day is labelled where it begins in New York, not at UTC's midnight", () => {
  const [evening, utcMidnight, midnight] = [
    seconds("2019-02-15T23:00:00Z"),
    seconds("2019-02-16T00:00:00Z"),
    seconds("2019-02-16T05:00:00Z"),
  ] as const;
  const label = axisLabels([evening, utcMidnight, midnight]);
  expect(label(utcMidnight, TickMarkType.DayOfMonth)).toBe("19:00");
  expect(label(midnight, TickMarkType.Time)).toBe("Feb 16");
});

test("the hour that comes twice in November has its label twice", () => {
  const times = ["2024-11-03T04:00:00Z", "2024-11-03T05:30:00Z", "2024-11-03T06:30:00Z"].map(seconds);
  const label = axisLabels(times);
  expect(times.map((time) => label(time, TickMarkType.Time))).toEqual(["Nov 3", "01:30", "01:30"]);
});

test("seconds are told only where the chart asks for them", () => {
  const [first, second] = [seconds("2019-02-15T15:00:00Z"), seconds("2019-02-15T15:00:06Z")] as const;
  expect(axisLabels([first, second])(second, TickMarkType.TimeWithSeconds)).toBe("10:00:06");
  expect(axisLabels([first, second])(second, TickMarkType.Time)).toBe("10:00");
});

test("a daily candle's date is New York's already", () => {
  const label = axisLabels([]);
  expect(label("2019-02-15", TickMarkType.DayOfMonth)).toBe("Feb 15");
  expect(label({ year: 2019, month: 2, day: 5 }, TickMarkType.DayOfMonth)).toBe("Feb 5");
});
