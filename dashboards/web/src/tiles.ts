// Area and colour of the treemap's tiles.

import { hierarchy, treemap } from "d3-hierarchy";
import type { Tile } from "./api";

export type Size = "equal" | "volatility";

/** The smallest tile's part of the largest one. Without it a price that never moved would have no area. */
export const SMALLEST = 0.05;

/** The space between two tiles, in pixels. */
const GAP = 2;

/** The day change, in percent, from which on a colour does not get stronger. A fixed scale: colours compare across days. */
export const STRONGEST_PERCENT = 2;

/** The tiles from the largest rise to the largest fall; those without a known change last. */
export function byChange(tiles: readonly Tile[]): Tile[] {
  const change = (tile: Tile) => tile.change_percent ?? Number.NEGATIVE_INFINITY;
  return tiles.toSorted((one, other) => change(other) - change(one) || (one.symbol < other.symbol ? -1 : 1));
}

/** Each tile's part of the whole area, in the tiles' order; together 1. */
export function areasOf(tiles: readonly Tile[], size: Size): number[] {
  const volatilities = tiles.map((tile) => tile.relative_volatility ?? 0);
  const largest = Math.max(...volatilities);
  const weights = volatilities.map((value) =>
    size === "equal" || largest === 0 ? 1 : Math.max(value, SMALLEST * largest),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Where a tile is, in pixels from the map's upper left corner. */
export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

/** A map's tiles of these areas, in their order, as square as they can be. */
export function boxesOf(areas: readonly number[], width: number, height: number): Box[] {
  if (width <= 0 || height <= 0) return [];
  interface Node {
    area: number;
    children?: Node[];
  }
  const root: Node = { area: 0, children: areas.map((area) => ({ area })) };
  const tree = hierarchy(root).sum((node) => node.area);
  return (treemap<Node>().size([width, height]).paddingInner(GAP)(tree).children ?? []) as Box[];
}

/** The smallest text of a tile, in pixels: its height, and the width of a wide letter. */
const TEXT_HEIGHT = 12;
const LETTER_WIDTH = 7;

/** Whether a name can be read in a tile. A part of a name may be the name of another symbol. */
export function hasRoom({ x0, y0, x1, y1 }: Box, name: string): boolean {
  return y1 - y0 >= TEXT_HEIGHT && x1 - x0 >= LETTER_WIDTH * name.length;
}

type Rgb = readonly [red: number, green: number, blue: number];

/** The parts of `rgb(…)`, from 0 to 255. */
export function rgbOf(colour: string): Rgb {
  const [red = 0, green = 0, blue = 0] = (colour.match(/[\d.]+/g) ?? []).map(Number);
  return [red, green, blue];
}

/** The colour of a day change: from `down` over `neutral` to `up`; neutral if the change is not known. */
export function fillOf(changePercent: number | null, colours: { up: string; neutral: string; down: string }): string {
  const strength = Math.min(Math.abs(changePercent ?? 0) / STRONGEST_PERCENT, 1);
  const from = rgbOf(colours.neutral);
  const to = rgbOf((changePercent ?? 0) < 0 ? colours.down : colours.up);
  return `rgb(${from.map((part, index) => Math.round(part + ((to[index] ?? 0) - part) * strength)).join(", ")})`;
}

/** Black or white, whichever reads better on a colour (WCAG 2.2, relative luminance and contrast ratio). */
export function textOn(colour: string): "#000" | "#fff" {
  const [red = 0, green = 0, blue = 0] = rgbOf(colour).map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) ? "#000" : "#fff";
}
