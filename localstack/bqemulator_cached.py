"""Run bqemulator with a cache of parsed statements.

    python localstack/bqemulator_cached.py start --rest-port 9050 ...

bqemulator 1.4.0 replaces each view in a statement by the view's text, and parses the result some thirty times while it
translates it to DuckDB's SQL. That takes half a second for a view of gold, which is most of the statement's time.
Parsing and translating depend only on their arguments, so their results are cached. Views, policies and rows are
looked up each time.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import sqlglot
from bqemulator.cli import main
from bqemulator.sql.translator import SQLTranslator

# A flow has a few hundred different statements. Trees are large, and a running statement needs only the last few.
TRANSLATIONS = 512
TREES = 128
# A statement that contains its rows is not repeated.
LONGEST = 100_000


def remember_parsing() -> None:
    """Cache the results of sqlglot's `parse_one` and `parse`. Each caller gets a copy, because most change the tree."""
    for name in ("parse_one", "parse"):
        parse = getattr(sqlglot, name)
        remembered = functools.lru_cache(TREES)(parse)

        def answer(sql: str, *dialect: str, parse: Any = parse, remembered: Any = remembered, **options: Any) -> Any:
            # With `into`, `sql` is a part of a statement, and the option may not be hashable.
            if len(sql) > LONGEST or "into" in options:
                return parse(sql, *dialect, **options)
            found = remembered(sql, *dialect, **options)
            return (
                [None if tree is None else tree.copy() for tree in found] if isinstance(found, list) else found.copy()
            )

        setattr(sqlglot, name, answer)


def remember_translations() -> None:
    """Cache translations by the statement, the columns of its tables and the caller."""
    translate = SQLTranslator.translate

    @functools.lru_cache(TRANSLATIONS)
    def remembered(translator: SQLTranslator, bq_sql: str, schema: str, caller: Any) -> Any:
        return translate(translator, bq_sql, schema=json.loads(schema), caller=caller)

    def answer(self: SQLTranslator, bq_sql: str, *, schema: Any = None, caller: Any = None, **context: Any) -> Any:
        if len(bq_sql) > LONGEST or context:
            return translate(self, bq_sql, schema=schema, caller=caller, **context)
        return remembered(self, bq_sql, json.dumps(schema), caller)

    SQLTranslator.translate = answer


if __name__ == "__main__":
    remember_parsing()
    remember_translations()
    main()
