import { expect, test } from "vitest";
import { csvOf } from "../src/csv";

test("a cell with a comma, a quote or a line break is quoted, and what is not known is empty", () => {
  expect(
    csvOf(
      ["symbol", "price"],
      [
        ["A,B", 1.5],
        ['C"D', null],
      ],
    ),
  ).toBe('symbol,price\r\n"A,B",1.5\r\n"C""D",\r\n');
});
