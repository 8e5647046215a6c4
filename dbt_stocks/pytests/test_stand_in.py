"""The stand-in caches parsed statements, and no data that they read."""

from decimal import Decimal


def test_a_statement_that_comes_again_sees_new_rows_views_and_types(bare):
    bare.query("CREATE TABLE stock.plain (n INT64)")
    bare.query("CREATE VIEW stock.shown AS SELECT n + 1 AS n FROM stock.plain")

    def shown() -> list[tuple]:
        return bare.rows("stock.shown", "n, AVG(n) OVER () AS mean")

    assert shown() == []
    bare.query("INSERT INTO stock.plain (n) VALUES (1)")
    assert shown() == [(2, 2.0)]
    bare.query("CREATE OR REPLACE VIEW stock.shown AS SELECT n + 2 AS n FROM stock.plain")
    assert shown() == [(3, 3.0)]
    bare.query("CREATE OR REPLACE TABLE stock.plain AS SELECT NUMERIC '1.5' AS n")
    assert shown() == [(Decimal("3.5"), Decimal("3.5"))]


def test_each_statement_has_its_own_parameters(bare):
    for number in (1, 2):
        bare.insert({"t": 1_700_000_000 + number, "quote_id": f"quote {number}"})
    assert bare.rows("stock.bronze_stock_quotes_raw", "quote_id") == [("quote 1",), ("quote 2",)]
