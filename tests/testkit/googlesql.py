"""GoogleSQL's own analyzer (the wheel zetasql: ZetaSQL as WebAssembly), which checks names and types as BigQuery does.

Its first start takes half a minute, a statement a fifth of a second. It does not know quotas, permissions and costs.
"""

import json
import re
from typing import Any

from wasmtime import Config
from zetasql.api import Analyzer, CatalogBuilder, FunctionBuilder, TableBuilder, TypeFactory
from zetasql.core import wasm_client
from zetasql.types import (
    AnalyzerOptions,
    FunctionArgumentType,
    FunctionArgumentTypeOptions,
    FunctionEnums,
    FunctionSignature,
    LanguageOptions,
    ProductMode,
    SignatureArgumentKind,
    Type,
    TypeKind,
    ZetaSQLBuiltinFunctionOptions,
)

from testkit.dbt import ROOT

COMPILED = ROOT / "target" / "wasmtime"

KINDS = {
    "BOOL": TypeKind.TYPE_BOOL,
    "DATE": TypeKind.TYPE_DATE,
    "DATETIME": TypeKind.TYPE_DATETIME,
    "FLOAT64": TypeKind.TYPE_DOUBLE,
    "INT64": TypeKind.TYPE_INT64,
    "STRING": TypeKind.TYPE_STRING,
    "TIMESTAMP": TypeKind.TYPE_TIMESTAMP,
}
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.S)
DECLARE = re.compile(r"DECLARE\s+(\w+)\s+([\w<>]+)\s+DEFAULT\s+(.*)", re.S)
CREATE = re.compile(r"CREATE\s+OR\s+REPLACE\s+(?:TABLE|VIEW)\s+(\w+)", re.I)


def type_of(text: str) -> Type:
    """The type with this name in GoogleSQL, such as ARRAY<DATE>."""
    if text.startswith("ARRAY<"):
        return TypeFactory.create_array_type(type_of(text[len("ARRAY<") : -1]))
    return TypeFactory.create_simple_type(KINDS[text])


class CachedConfig(Config):
    """Keeps the compiled module for later runs. Compiling takes 25 s of a core, loading 0.2 s."""

    def __init__(self) -> None:
        super().__init__()
        COMPILED.mkdir(parents=True, exist_ok=True)
        settings = COMPILED / "cache.toml"
        settings.write_text(f"[cache]\ndirectory = {json.dumps(str(COMPILED / 'modules'))}\n")
        self.cache = str(settings)


wasm_client.Config = CachedConfig


class GoogleSql:
    """The analyzer with a catalog of tables. Tables that a statement creates are known to later statements."""

    def __init__(self) -> None:
        self._language = LanguageOptions.maximum_features()
        self._language.product_mode = ProductMode.PRODUCT_EXTERNAL
        self._language.reserved_keywords = ["QUALIFY"]
        self._catalog = CatalogBuilder("bigquery").with_builtin_functions(
            ZetaSQLBuiltinFunctionOptions(language_options=self._language)
        )
        # BigQuery has these functions, but the analyzer does not.
        for name in ("min_by", "max_by"):
            self._catalog.add_function(_chooses_by(name))
        self._tables: set[str] = set()

    def add_table(self, name: str, columns: dict[str, str]) -> None:
        """Add a table, named dataset.table, with the columns' types."""
        self._add(name, [(column, type_of(kind)) for column, kind in columns.items()])

    def errors(self, project: str, script: str, parameters: dict[str, str]) -> list[str]:
        """The analyzer's errors in the statements of a script, which names its tables project.dataset.table."""
        types = {name: type_of(kind) for name, kind in parameters.items()}
        path = rf"`?{re.escape(project)}`?\.`?(\w+)`?\.`?(\w+)`?(?:\.`?(\w+)`?)?"
        script = re.sub(path, lambda match: _flat(".".join(filter(None, match.groups()))), COMMENT.sub(" ", script))
        errors = []
        for statement in filter(str.strip, script.split(";")):
            variable = DECLARE.match(statement.strip())
            text = f"SELECT CAST({variable[3]} AS {variable[2]})" if variable else statement
            try:
                self._analyze(text, types)
            except Exception as error:
                errors.append(f"{error} in {' '.join(statement.split())[:300]}")
            if variable:
                types[variable[1]] = type_of(variable[2])
        return errors

    def _analyze(self, sql: str, types: dict[str, Type]) -> None:
        # A script's variables are checked as parameters, because the analyzer accepts only one statement.
        for name in types:
            sql = re.sub(rf"(?<![@\w.]){name}\b", f"@{name}", sql)
        options = AnalyzerOptions(language_options=self._language, prune_unused_columns=False)
        options.query_parameters = [AnalyzerOptions.QueryParameter(name=name, type=of) for name, of in types.items()]
        analyzed: Any = Analyzer(options, self._catalog.build()).analyze_statement(sql)
        created = CREATE.search(sql)
        if created:
            self._add(created[1], [(column.name, column.column.type) for column in analyzed.output_column_list])

    def _add(self, name: str, columns: list[tuple[str, Type]]) -> None:
        if _flat(name) not in self._tables:
            self._tables.add(_flat(name))
            table = TableBuilder(_flat(name))
            for column, of in columns:
                table.add_column(column, of)
            self._catalog.add_table(table.build())


def _flat(name: str) -> str:
    """A table's path as one word, because the catalog has no datasets."""
    return name.replace(".", "__")


def _chooses_by(name: str) -> Any:
    def argument(kind: SignatureArgumentKind) -> FunctionArgumentType:
        required = FunctionArgumentTypeOptions(cardinality=FunctionEnums.ArgumentCardinality.REQUIRED)
        return FunctionArgumentType(kind=kind, options=required)

    value, key = (
        argument(kind) for kind in (SignatureArgumentKind.ARG_TYPE_ANY_1, SignatureArgumentKind.ARG_TYPE_ANY_2)
    )
    signature = FunctionSignature(argument=[value, key], return_type=value)
    return FunctionBuilder(name, mode=FunctionEnums.Mode.AGGREGATE).add_signature(signature).build()
