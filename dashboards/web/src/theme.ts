// The colour scheme: the system's, until the reader chooses the other one.

import { useLayoutEffect, useState } from "preact/hooks";
import { store, stored } from "./storage";

export type Theme = "light" | "dark";

const KEY = "theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

function systemTheme(): Theme {
  return system.matches ? "dark" : "light";
}

function chosenTheme(): Theme | undefined {
  const known = stored(KEY);
  return known === "light" || known === "dark" ? known : undefined;
}

/** The theme in use and a toggle. Choosing what the system has means following the system again. */
export function useTheme(): [Theme, () => void] {
  const [chosen, setChosen] = useState(chosenTheme);
  const [ofSystem, setOfSystem] = useState(systemTheme);
  useLayoutEffect(() => {
    const follow = () => setOfSystem(systemTheme());
    system.addEventListener("change", follow);
    return () => system.removeEventListener("change", follow);
  }, []);
  const theme = chosen ?? ofSystem;
  // Not in an effect: charts read the theme's colours from the document while they render.
  document.documentElement.dataset.theme = theme;
  const toggle = () =>
    setChosen((before) => {
      const next = (before ?? systemTheme()) === "dark" ? "light" : "dark";
      const choice = next === systemTheme() ? undefined : next;
      store(KEY, choice);
      return choice;
    });
  return [theme, toggle];
}

const NAMES = [
  "ink",
  "muted",
  "line",
  "panel",
  "up",
  "down",
  "neutral",
  "accent",
  "first",
  "second",
  "third",
  "fourth",
] as const;
export type Colours = Record<(typeof NAMES)[number], string>;

/** The style sheet's colours under the theme in use, as `rgb(…)`: a canvas does not understand CSS variables. */
export function currentColours(): Colours {
  const probe = document.createElement("span");
  document.documentElement.append(probe);
  const colours = Object.fromEntries(
    NAMES.map((name) => {
      probe.style.color = `var(--${name})`;
      return [name, getComputedStyle(probe).color];
    }),
  );
  probe.remove();
  return colours as Colours;
}
