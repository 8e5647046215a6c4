// Figures and times as text. Times are New York's, or the reader's if that is chosen. Dates of candles are always New
// York's.

const LOCALE = "en-US";
const NEW_YORK = "America/New_York";
/** Shown if a figure is missing. */
export const NONE = "–";

const percentFormat = new Intl.NumberFormat(LOCALE, {
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
  signDisplay: "exceptZero",
});
const rateFormats = {
  1: new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 1 }),
  2: new Intl.NumberFormat(LOCALE, { minimumFractionDigits: 2, maximumFractionDigits: 2 }),
};
const shareFormat = new Intl.NumberFormat(LOCALE, {
  style: "percent",
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
/** Whose clock the times are shown on. */
export type Zone = "market" | "reader";

function formatsOf(timeZone: string | undefined) {
  return {
    date: new Intl.DateTimeFormat(LOCALE, { timeZone, month: "short", day: "numeric", year: "numeric" }),
    day: new Intl.DateTimeFormat(LOCALE, { timeZone, month: "short", day: "numeric" }),
    weekday: new Intl.DateTimeFormat(LOCALE, { timeZone, weekday: "short" }),
    clock: new Intl.DateTimeFormat(LOCALE, { timeZone, timeStyle: "medium", hourCycle: "h23" }),
    minute: new Intl.DateTimeFormat(LOCALE, { timeZone, timeStyle: "short", hourCycle: "h23" }),
    zone: new Intl.DateTimeFormat(LOCALE, { timeZone, timeZoneName: "short" }),
    isoDate: new Intl.DateTimeFormat("en-CA", { timeZone }),
  };
}

const market = formatsOf(NEW_YORK);
let shown = market;

/** Shows times on another clock from now on. */
export function setZone(zone: Zone) {
  shown = zone === "market" ? market : formatsOf(undefined);
}

// A hyphen is read as nothing or as a dash; the minus sign is read as one.
const withMinus = (text: string) => text.replace("-", "\u2212");

// Making a format is slow.
const priceFormats = new Map<string, Intl.NumberFormat>();
function priceFormat(decimals: number, signDisplay: "auto" | "exceptZero", isHuge: boolean): Intl.NumberFormat {
  const key = `${decimals} ${signDisplay} ${isHuge}`;
  let format = priceFormats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(LOCALE, {
      minimumFractionDigits: 2,
      maximumFractionDigits: decimals,
      signDisplay,
      notation: isHuge ? "scientific" : "standard",
    });
    priceFormats.set(key, format);
  }
  return format;
}

/** Amounts from here on are shown as powers: their digits would fill the page. */
const HUGE = 1e12;

/** Decimals that a price is shown with: cents, and four significant digits below 1. */
export function decimalsOf(price: number): number {
  if (price >= 1 || price <= 0) return 2;
  return Math.min(12, 3 - Math.floor(Math.log10(price)));
}

/** A price in the instrument's currency: `1,602.15`, `0.00001234`. */
export function price(value: number): string {
  return amount(value, value);
}

/** An amount in a price's currency, with the price's own decimals: `0.53`. */
export function amount(value: number, of: number): string {
  return withMinus(priceFormat(decimalsOf(of), "auto", Math.abs(value) >= HUGE).format(value));
}

/** A price that the source does not know is 0. */
export function knownPrice(value: number): string {
  return value > 0 ? price(value) : NONE;
}

/** A change of a price, with its sign and the price's own decimals: `+0.21`. */
export function change(value: number | null, of: number): string {
  return value === null
    ? NONE
    : withMinus(priceFormat(decimalsOf(of), "exceptZero", Math.abs(value) >= HUGE).format(value));
}

/** A change in percent, with its sign: `−0.22 %`. */
export function percent(value: number | null): string {
  return value === null ? NONE : `${withMinus(percentFormat.format(value))}\u00a0%`;
}

/** A share from 0 to 1 in percent: `0.48 %`. */
export function share(value: number | null): string {
  return value === null ? NONE : shareFormat.format(value).replace("%", "\u00a0%");
}

/** A rate: `9.83`; with one digit at most: `50`, `49.5`. */
export function rate(value: number, digits: 1 | 2 = 2): string {
  return rateFormats[digits].format(value);
}

/** A latency in seconds, as short as it can be: `8 ms`, `2.1 s`, `1 min 5 s`. */
export function brief(seconds: number): string {
  if (seconds < 1) return `${Math.round(seconds * 1_000)}\u00a0ms`;
  return seconds < 60 ? `${seconds.toFixed(1)}\u00a0s` : duration(seconds);
}

/** The text as a sentence. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;
}

/** Seconds in the two largest units: `4 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3_600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0\u00a0s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}\u00a0${unit}`)
    .join(" ");
}

export type Direction = "up" | "down" | "level";

/** The direction of a change as its text shows it: 0.00 % is level. */
export function direction(changePercent: number | null): Direction {
  const shown = Math.round((changePercent ?? 0) * 100);
  if (shown === 0) return "level";
  return shown > 0 ? "up" : "down";
}

/** The date of a moment, `YYYY-MM-DD`. */
export function dateOf(at: Date): string {
  return shown.isoDate.format(at);
}

/** A moment: `Feb 15, 2019, 15:59:58`. */
export function moment(at: Date): string {
  return `${shown.date.format(at)}, ${shown.clock.format(at)}`;
}

/** The clock's name at a moment: `EST`. */
export function zoneName(at: Date): string {
  return shown.zone.formatToParts(at).find((part) => part.type === "timeZoneName")?.value ?? "";
}

/** A moment with its clock's name: `Feb 15, 2019, 15:59:58 EST`. */
export function momentWithZone(at: Date): string {
  return `${moment(at)} ${zoneName(at)}`.trimEnd();
}

/** A moment, as short as it can be beside another one: without the date if it is the same day. */
export function momentBeside(at: Date, other: Date): string {
  return dateOf(at) === dateOf(other) ? clock(at) : moment(at);
}

/** A moment of the coming days: `Fri 09:30`; later ones with their date. */
export function opening(at: Date, now: Date): string {
  const isSoon = at.getTime() - now.getTime() < 6 * 86_400_000;
  return `${isSoon ? shown.weekday.format(at) : shown.day.format(at)} ${shown.minute.format(at)}`;
}

/** A moment's time of day: `15:59:58`. */
export function clock(at: Date): string {
  return shown.clock.format(at);
}

/** A moment's time of day to the minute: `15:59`. */
export function minute(at: Date): string {
  return shown.minute.format(at);
}

/** A moment's day: `Feb 15`. */
export function day(at: Date): string {
  return shown.day.format(at);
}

/** A calendar date `YYYY-MM-DD` that is New York's already: `Feb 15, 2019`. */
export function calendarDate(date: string): string {
  return market.date.format(noonOf(date));
}

/** The same without its year: `Feb 15`. */
export function calendarDay(date: string): string {
  return market.day.format(noonOf(date));
}

// 17:00 UTC is the same date in New York all year.
function noonOf(date: string): Date {
  return new Date(`${date}T17:00:00Z`);
}
