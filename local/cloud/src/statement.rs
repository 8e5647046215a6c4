//! Parses a job as BigQuery would: its statements, the tables that they read, and the table that each of them changes.

use std::{
    collections::{BTreeSet, HashSet},
    ops::ControlFlow,
};

use serde::Serialize;
use sqlparser::{
    ast::{
        CreateTable, CreateView, Delete, FromTable, Insert, Merge, ObjectName, Query, Statement as Ast,
        TableFactor, TableObject, Update, Visit, Visitor,
    },
    dialect::BigQueryDialect,
    parser::Parser,
};

/// A table or a view, as `project.dataset.table`.
pub type TableName = String;

/// A kind of statement for which BigQuery has a separate pace, price or limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `SELECT`, and a variable that is given the result of a query.
    Select,
    /// `CREATE VIEW`.
    CreateView,
    /// `CREATE TABLE … AS SELECT`, or a query whose result becomes a table: an overwrite.
    CreateTableAs,
    /// `INSERT`.
    Insert,
    /// `MERGE`, `UPDATE`, `DELETE`, `TRUNCATE`: BigQuery runs two at once on a table and lets others wait.
    Mutate,
    /// Other changes of a table's definition.
    Define,
    /// Variables, blocks and transactions, which take no time and cost nothing.
    Control,
    /// A statement that cannot be parsed. It counts as DML, and its tables are not known.
    Unknown,
}

/// One statement of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its kind.
    pub kind: Kind,
    /// The table or view that it changes or creates.
    pub target: Option<TableName>,
    /// The tables and views that it reads, and the target of a `MERGE`, `UPDATE` or `DELETE`. They are billed, except
    /// those of a `CREATE VIEW`, which its readers read.
    pub reads: BTreeSet<TableName>,
}

/// How the names of a job's statements are completed.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The job's project.
    pub project: &'a str,
    /// The job's default dataset.
    pub dataset: Option<&'a str>,
}

impl Names<'_> {
    fn of(self, parts: &[String]) -> Option<TableName> {
        match parts {
            [table] => Some(format!("{}.{}.{table}", self.project, self.dataset?)),
            [dataset, table] => Some(format!("{}.{dataset}.{table}", self.project)),
            [] => None,
            parts => Some(parts.join(".")),
        }
    }
}

/// The statements of `sql` in their order; a single [`Kind::Unknown`] if it cannot be parsed.
#[must_use]
pub fn statements(sql: &str, names: Names<'_>) -> Vec<Statement> {
    match Parser::new(&BigQueryDialect {}).with_recursion_limit(200).try_with_sql(sql) {
        Ok(mut parser) => match parser.parse_statements() {
            Ok(parsed) => parsed.iter().flat_map(|one| read(one, names)).collect(),
            Err(error) => unknown(sql, &error),
        },
        Err(error) => unknown(sql, &error),
    }
}

fn unknown(sql: &str, error: &dyn std::error::Error) -> Vec<Statement> {
    tracing::warn!("a statement's tables are unknown, so the bill is too low: {error}: {sql}");
    vec![Statement { kind: Kind::Unknown, target: None, reads: BTreeSet::new() }]
}

/// A statement; for a block, also the statements in it.
fn read(statement: &Ast, names: Names<'_>) -> Vec<Statement> {
    if let Ast::StartTransaction { statements, exception, .. } = statement {
        let handlers = exception.iter().flatten().flat_map(|when| &when.statements);
        return statements.iter().chain(handlers).flat_map(|one| read(one, names)).collect();
    }
    let tables = |node: &dyn Fn(&mut Relations) -> ControlFlow<()>| {
        let mut relations = Relations::default();
        let _ = node(&mut relations);
        relations.into_names(names)
    };
    let whole = || tables(&|relations| statement.visit(relations));
    let of_query = |query: &Option<Box<Query>>| tables(&|relations| query.visit(relations));
    let (kind, target, reads) = match statement {
        Ast::Query(_) => (Kind::Select, None, whole()),
        Ast::CreateView(CreateView { name, query, .. }) => {
            (Kind::CreateView, target(name, names), tables(&|relations| query.visit(relations)))
        }
        Ast::CreateTable(CreateTable { name, query: query @ Some(_), .. }) => {
            (Kind::CreateTableAs, target(name, names), of_query(query))
        }
        Ast::CreateTable(CreateTable { name, .. }) => (Kind::Define, target(name, names), BTreeSet::new()),
        Ast::Insert(Insert { table, source, .. }) => {
            let name = match table {
                TableObject::TableName(name) => target(name, names),
                _ => None,
            };
            (Kind::Insert, name, of_query(source))
        }
        Ast::Merge(Merge { table, .. }) => (Kind::Mutate, of_factor(table, names), whole()),
        Ast::Update(Update { table, .. }) => (Kind::Mutate, of_factor(&table.relation, names), whole()),
        Ast::Delete(Delete {
            from: FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from),
            ..
        }) => {
            let table = from.first().and_then(|table| of_factor(&table.relation, names));
            (Kind::Mutate, table, whole())
        }
        Ast::Truncate(truncate) => {
            let name = truncate.table_names.first().and_then(|table| target(&table.name, names));
            (Kind::Mutate, name, BTreeSet::new())
        }
        Ast::AlterTable(table) => (Kind::Define, target(&table.name, names), BTreeSet::new()),
        Ast::Drop { names: dropped, .. } => {
            (Kind::Define, dropped.first().and_then(|name| target(name, names)), BTreeSet::new())
        }
        Ast::CreateSchema { .. } | Ast::CreateFunction(_) => (Kind::Define, None, BTreeSet::new()),
        _ => {
            let reads = whole();
            (if reads.is_empty() { Kind::Control } else { Kind::Select }, None, reads)
        }
    };
    vec![Statement { kind, target, reads }]
}

fn parts(name: &ObjectName) -> Vec<String> {
    let idents = name.0.iter().filter_map(|part| part.as_ident());
    // A name in one pair of backticks may contain dots.
    idents.flat_map(|ident| ident.value.split('.').map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn target(name: &ObjectName, names: Names<'_>) -> Option<TableName> {
    names.of(&parts(name))
}

fn of_factor(factor: &TableFactor, names: Names<'_>) -> Option<TableName> {
    match factor {
        TableFactor::Table { name, .. } => target(name, names),
        _ => None,
    }
}

/// All names of relations, and those of them that are queries of a WITH or aliases.
#[derive(Default)]
struct Relations {
    named: Vec<Vec<String>>,
    queries: HashSet<String>,
    aliases: HashSet<String>,
}

impl Relations {
    fn into_names(self, names: Names<'_>) -> BTreeSet<TableName> {
        let Self { named, queries, aliases } = self;
        let is_own = |parts: &[String]| match parts {
            [query] => queries.contains(&query.to_lowercase()),
            // An array of a row: `FROM d.t AS a, a.items`.
            [alias, _] => aliases.contains(&alias.to_lowercase()),
            _ => false,
        };
        named.into_iter().filter(|parts| !is_own(parts)).filter_map(|parts| names.of(&parts)).collect()
    }
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let queries = query.with.iter().flat_map(|with| &with.cte_tables);
        self.queries.extend(queries.map(|query| query.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } = factor
        {
            self.aliases.insert(alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.named.push(parts(relation));
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names<'_> = Names { project: "p", dataset: Some("d") };

    fn of(sql: &str) -> Vec<(Kind, Option<String>, Vec<String>)> {
        let all = statements(sql, NAMES).into_iter();
        all.map(|one| (one.kind, one.target, one.reads.into_iter().collect())).collect()
    }

    fn one(kind: Kind, target: &str, reads: &[&str]) -> Vec<(Kind, Option<String>, Vec<String>)> {
        let target = (!target.is_empty()).then(|| target.to_owned());
        vec![(kind, target, reads.iter().map(|&name| name.to_owned()).collect())]
    }

    #[test]
    fn each_kind_of_statement_names_what_it_reads_and_what_it_changes() {
        for (sql, expected) in [
            ("SELECT 1", one(Kind::Select, "", &[])),
            ("SELECT * FROM t", one(Kind::Select, "", &["p.d.t"])),
            ("SELECT * FROM `x.y.z`", one(Kind::Select, "", &["x.y.z"])),
            ("SELECT * FROM `a-b`.`y`.`z`", one(Kind::Select, "", &["a-b.y.z"])),
            ("SELECT * FROM a-b.y.z", one(Kind::Select, "", &["a-b.y.z"])),
            ("SELECT a.x FROM y.a JOIN y.b AS q USING (k)", one(Kind::Select, "", &["p.y.a", "p.y.b"])),
            (
                "WITH w AS (SELECT * FROM t) SELECT * FROM W, UNNEST(w.items) AS i",
                one(Kind::Select, "", &["p.d.t"]),
            ),
            ("SELECT * FROM t, t.items", one(Kind::Select, "", &["p.d.t", "p.t.items"])),
            ("SELECT * FROM y.z AS s, s.items", one(Kind::Select, "", &["p.y.z"])),
            (
                "SELECT (SELECT MAX(x) FROM u) FROM t WHERE k IN (SELECT k FROM v)",
                one(Kind::Select, "", &["p.d.t", "p.d.u", "p.d.v"]),
            ),
            (
                "SELECT 1 FROM `p`.`y`.INFORMATION_SCHEMA.PARTITIONS",
                one(Kind::Select, "", &["p.y.INFORMATION_SCHEMA.PARTITIONS"]),
            ),
            (
                "CREATE OR REPLACE VIEW y.v OPTIONS(description='''x''') AS SELECT * FROM t",
                one(Kind::CreateView, "p.y.v", &["p.d.t"]),
            ),
            (
                "CREATE OR REPLACE TABLE y.n PARTITION BY DATE(x) CLUSTER BY k OPTIONS(expiration_timestamp=TIMESTAMP '2030-01-01') AS (SELECT * FROM t)",
                one(Kind::CreateTableAs, "p.y.n", &["p.d.t"]),
            ),
            ("CREATE TABLE IF NOT EXISTS y.n (a INT64)", one(Kind::Define, "p.y.n", &[])),
            ("INSERT INTO y.n (a) SELECT a FROM t", one(Kind::Insert, "p.y.n", &["p.d.t"])),
            ("INSERT y.n (a) VALUES (1)", one(Kind::Insert, "p.y.n", &[])),
            (
                "MERGE INTO y.n AS T USING (SELECT * FROM t) AS S ON T.a = S.a WHEN NOT MATCHED THEN INSERT (a) VALUES (a)",
                one(Kind::Mutate, "p.y.n", &["p.d.t", "p.y.n"]),
            ),
            ("UPDATE y.n SET a = 1 WHERE TRUE", one(Kind::Mutate, "p.y.n", &["p.y.n"])),
            ("DELETE FROM y.n WHERE a IN (SELECT a FROM t)", one(Kind::Mutate, "p.y.n", &["p.d.t", "p.y.n"])),
            ("TRUNCATE TABLE y.n", one(Kind::Mutate, "p.y.n", &[])),
            ("DROP TABLE IF EXISTS y.n", one(Kind::Define, "p.y.n", &[])),
            ("DROP VIEW y.n", one(Kind::Define, "p.y.n", &[])),
            ("ALTER TABLE y.n ADD COLUMN b INT64", one(Kind::Define, "p.y.n", &[])),
        ] {
            assert_eq!(of(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_script_is_its_statements_and_a_variable_that_asks_a_table_is_a_query() {
        let script = "DECLARE touched ARRAY<DATE>;
            DECLARE n INT64 DEFAULT 3;
            SET touched = (SELECT ARRAY_AGG(DISTINCT DATE(x)) FROM y.source);
            MERGE INTO y.n AS T USING y.source AS S ON T.a = S.a AND T.d IN UNNEST(touched) WHEN MATCHED THEN UPDATE SET a = S.a;";
        let kinds: Vec<_> = of(script).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [Kind::Control, Kind::Control, Kind::Select, Kind::Mutate]);
        let declared = "DECLARE touched DEFAULT (SELECT ARRAY_AGG(a) FROM y.source); SELECT 1";
        assert_eq!(of(declared)[0], one(Kind::Select, "", &["p.y.source"])[0]);
        let block = "BEGIN SELECT * FROM t; INSERT INTO n SELECT 1; END";
        let kinds: Vec<_> = of(block).into_iter().map(|(kind, ..)| kind).collect();
        assert_eq!(kinds, [Kind::Select, Kind::Insert]);
    }

    #[test]
    fn what_cannot_be_read_is_said_to_be_unknown() {
        assert_eq!(of("SELEKT * FROM t")[0].0, Kind::Unknown);
        assert_eq!(of("SELECT 'open")[0].0, Kind::Unknown);
    }

    #[test]
    fn without_a_default_dataset_a_bare_name_is_no_table() {
        let names = Names { project: "p", dataset: None };
        assert_eq!(statements("SELECT * FROM t", names)[0].reads.len(), 0);
    }
}
