// What the panels share.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type Cell, csvOf, download } from "./csv";
import type { Asked } from "./figures";

interface PanelProps {
  id: string;
  title: ComponentChildren;
  tools?: ComponentChildren;
  asked: Asked<unknown>;
  children: ComponentChildren;
}

/** A titled part of the page. */
export function Panel({ id, title, tools, asked, children }: PanelProps) {
  return (
    <section class={`panel ${id}`} aria-labelledby={id} aria-busy={!asked.answer && !asked.failure}>
      <div class="head">
        <h2 id={id}>{title}</h2>
        {asked.failure && asked.answer && <span class="badge last">Last figures</span>}
        {tools}
      </div>
      <Note asked={asked} />
      {children}
    </section>
  );
}

/** Says that figures are being loaded, or why they are missing. */
export function Note({ asked: { answer, failure } }: { asked: Asked<unknown> }) {
  if (answer) return null;
  return failure ? <p class="note">{failure.message}.</p> : <p class="note loading">Loading…</p>;
}

interface ChoiceProps<Value extends string> {
  legend: string;
  options: readonly (readonly [value: Value, label: string])[];
  chosen: Value | undefined;
  isDisabled?: boolean;
  choose: (value: Value) => void;
}

/** One of a few values. Radio buttons: the arrow keys move between them. */
export function Choice<Value extends string>(props: ChoiceProps<Value>) {
  const { legend, options, chosen, isDisabled, choose } = props;
  return (
    <fieldset class="choice" disabled={isDisabled ?? false}>
      <legend class="unseen">{legend}</legend>
      {options.map(([value, label]) => (
        <label key={value}>
          <input type="radio" name={legend} value={value} checked={value === chosen} onChange={() => choose(value)} />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}

interface FiguresTableProps {
  caption: string;
  head: readonly string[];
  rows: readonly (readonly ComponentChildren[])[];
}

/** A table whose first column names the row. It scrolls by itself if it is too wide or too long. */
export function FiguresTable({ caption, head, rows }: FiguresTableProps) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section class="scroll" tabIndex={0} aria-label={caption}>
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {head.map((cell) => (
              <th key={cell} scope="col">
                {cell}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([first, ...rest], row) => (
            <tr key={row}>
              <th scope="row">{first}</th>
              {rest.map((cell, column) => (
                <td key={column}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

interface CsvProps {
  /** The file's name, without its ending. */
  name: string;
  head: readonly string[];
  rows: () => readonly (readonly Cell[])[];
}

/** Downloads a table as a file. */
export function CsvButton({ name, head, rows }: CsvProps) {
  return (
    <button
      type="button"
      class="csv"
      aria-label={`Download ${name} as CSV`}
      onClick={() => download(`${name}.csv`, csvOf(head, rows()))}
    >
      CSV
    </button>
  );
}

type AlternativeProps = Omit<FiguresTableProps, "rows"> & { rows: () => FiguresTableProps["rows"]; csv: CsvProps };

/** A chart's figures, for readers who do not see it or want the numbers. The rows are made when the table is opened. */
export function TableAlternative({ csv, ...table }: AlternativeProps) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Show as a table</summary>
      {open && (
        <>
          <FiguresTable {...table} rows={table.rows()} />
          <CsvButton {...csv} />
        </>
      )}
    </details>
  );
}
