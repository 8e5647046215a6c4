//! How long BigQuery takes to run a statement.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;

use crate::statement::{Kind, Statement};

/// How fast BigQuery is.
///
/// Public logs of dbt on tables of a few rows have 1.2 to 3.8 s for a SELECT, 1.1 to 1.5 s for CREATE VIEW, 2.8 to 4.4
/// s for CREATE TABLE AS, 5.6 to 12.5 s for DML, whatever the size. They include dbt's own requests around a statement,
/// so a statement alone is near the lower end: [`Speed::Typical`]. [`Speed::Slow`] is the upper end, [`Speed::Fast`]
/// two thirds of the lower end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// No delay: only the limits and the bill.
    None,
    /// Faster than any log.
    Fast,
    /// The lower end of the logs.
    Typical,
    /// The upper end of the logs.
    Slow,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "fast" => Ok(Self::Fast),
            "typical" => Ok(Self::Typical),
            "slow" => Ok(Self::Slow),
            _ => Err("the pace must be none, fast, typical or slow".to_owned()),
        }
    }
}

/// Milliseconds of a SELECT, CREATE VIEW (and other definitions), CREATE TABLE AS, and DML.
type Milliseconds = [u64; 4];

impl Speed {
    /// How long a SELECT takes.
    #[must_use]
    pub fn of_a_query(self) -> Duration {
        Duration::from_millis(self.of(Kind::Select))
    }

    const fn milliseconds(self) -> Milliseconds {
        match self {
            Self::None => [0; 4],
            Self::Fast => [800, 800, 1_900, 3_700],
            Self::Typical => [1_200, 1_100, 2_800, 5_600],
            Self::Slow => [3_800, 1_500, 4_400, 12_500],
        }
    }

    fn of(self, kind: Kind) -> u64 {
        let [select, define, create_table_as, dml] = self.milliseconds();
        match kind {
            Kind::Select => select,
            Kind::CreateView | Kind::Define => define,
            Kind::CreateTableAs => create_table_as,
            Kind::Insert | Kind::Mutate | Kind::Unknown => dml,
            Kind::Control => 0,
        }
    }
}

/// Durations of jobs: always the same for the same statements, or spread by a seed.
#[derive(Debug)]
pub struct Latency {
    speed: Speed,
    seed: Option<u64>,
    jobs: AtomicU64,
}

impl Latency {
    /// With `jitter`, a seed, each job takes from three quarters to five quarters of its time. The same seed gives the
    /// same sequence of factors.
    #[must_use]
    pub fn new(speed: Speed, jitter: Option<u64>) -> Self {
        Self { speed, seed: jitter, jobs: AtomicU64::new(0) }
    }

    /// How long a job with these statements runs. A script's statements run one after the other.
    #[must_use]
    pub fn of(&self, statements: &[Statement]) -> Duration {
        let all = statements.iter().map(|statement| self.speed.of(statement.kind)).sum();
        let whole = Duration::from_millis(all);
        let number = self.jobs.fetch_add(1, Ordering::Relaxed);
        self.seed.map_or(whole, |seed| whole.mul_f64(0.75 + 0.5 * fraction(seed.wrapping_add(number))))
    }
}

/// A number from 0 to 1 that looks random: splitmix64.
#[allow(clippy::cast_precision_loss, reason = "the upper 53 bits fit")]
fn fraction(number: u64) -> f64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Names, statements};

    fn took(latency: &Latency, sql: &str) -> u128 {
        latency.of(&statements(sql, Names { project: "p", dataset: Some("d") })).as_millis()
    }

    const MERGE: &str = "MERGE t USING s ON t.a = s.a WHEN NOT MATCHED THEN INSERT ROW";

    #[test]
    fn each_kind_of_statement_takes_as_long_as_in_the_logs_and_a_script_as_long_as_its_statements() {
        let typical = Latency::new(Speed::Typical, None);
        for (sql, milliseconds) in [
            ("SELECT 1", 1_200),
            ("CREATE OR REPLACE VIEW v AS SELECT * FROM t", 1_100),
            ("CREATE OR REPLACE TABLE n AS SELECT * FROM t", 2_800),
            (MERGE, 5_600),
            ("DELETE FROM t WHERE TRUE", 5_600),
            ("INSERT INTO t SELECT 1", 5_600),
            ("DECLARE d DEFAULT (SELECT MAX(a) FROM s); DELETE FROM t WHERE a > d", 6_800),
            ("what is this", 5_600),
        ] {
            assert_eq!(took(&typical, sql), milliseconds, "{sql}");
            assert_eq!(took(&Latency::new(Speed::None, Some(1)), sql), 0, "{sql}");
        }
        assert!(took(&Latency::new(Speed::Fast, None), MERGE) < took(&typical, MERGE));
        assert!(took(&Latency::new(Speed::Slow, None), MERGE) > took(&typical, MERGE));
    }

    #[test]
    fn a_seed_spreads_the_durations_and_gives_the_same_ones_again() {
        let all = |seed| {
            let latency = Latency::new(Speed::Typical, Some(seed));
            (0..200).map(|_| took(&latency, "SELECT 1")).collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
        let (least, most) = (all(7).into_iter().min(), all(7).into_iter().max());
        assert!(least >= Some(900) && least < Some(960), "{least:?}");
        assert!(most <= Some(1_500) && most > Some(1_440), "{most:?}");
    }
}
