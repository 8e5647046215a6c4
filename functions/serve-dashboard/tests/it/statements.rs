//! The statements of the warehouse and of the dashboard.

use std::collections::BTreeSet;

use warehouse::{
    WarehouseConfig,
    statements::{self, Statement},
};

fn all() -> impl Iterator<Item = &'static Statement> {
    statements::ALL.iter().chain(serve_dashboard::statements())
}

#[test]
fn every_parameter_of_a_statement_is_declared_and_every_declared_one_is_in_it() {
    let config = WarehouseConfig::stand_in("http://127.0.0.1", "test", "stock");
    for statement in all() {
        let sql = statement.sql(&config);
        let after_at = sql.split('@').skip(1);
        let word = |text| str::split(text, |it: char| !it.is_ascii_alphanumeric() && it != '_').next();
        let named: BTreeSet<&str> = after_at.filter_map(word).collect();
        let declared = statement.parameters().iter().map(|(name, _)| *name).collect();
        assert_eq!(named, declared, "{}", statement.name());
    }
}

#[test]
fn no_two_statements_have_one_name() {
    let names: BTreeSet<&str> = all().map(Statement::name).collect();
    assert_eq!(names.len(), all().count());
}
