//! The cost of a run's requests: each amount times its price, extrapolated to a month.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Seconds of a month's trading hours: 21 days of six and a half hours.
pub const TRADING_SECONDS: f64 = 21.0 * 6.5 * 3_600.0;
/// Days of a month, and its seconds.
pub const DAYS: f64 = 365.0 / 12.0;
/// Seconds of a month.
pub const ALL_SECONDS: f64 = DAYS * 86_400.0;

/// The prices, with their date, region and sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// When they were looked up.
    pub date: jiff::civil::Date,
    /// The region in which they apply.
    pub region: String,
    /// How reliable they are.
    pub remark: String,
    /// Each by its name.
    pub prices: BTreeMap<String, Price>,
}

/// A price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// US dollars for `per` units.
    pub usd: f64,
    /// How many units `usd` pays for.
    pub per: f64,
    /// The unit.
    pub unit: String,
    /// How many units are free in a month.
    pub free_a_month: f64,
    /// The web page with the price.
    pub source: String,
}

impl Prices {
    /// The prices in `prices.json`.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn read() -> serde_json::Result<Self> {
        serde_json::from_str(include_str!("../prices.json"))
    }
}

/// A run's use of something that has a price.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The service whose bill has it.
    pub service: &'static str,
    /// The part of the flow that used it.
    pub by: String,
    /// The price's name in the file.
    pub price: &'static str,
    /// How much the run used, in the price's unit.
    pub amount: f64,
    /// How it is extrapolated to a month.
    pub grows: Grows,
    /// How the amount was determined.
    pub from: &'static str,
}

/// How the amount of a run is extrapolated to a month.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Grows {
    /// In proportion to the seconds in which quotes are fetched.
    WithTime {
        /// The seconds of the run.
        seconds: f64,
    },
    /// In proportion to the runs of a schedule, which has its own frequency.
    WithRuns {
        /// The runs of the schedule within the run.
        runs: f64,
        /// The runs of the schedule in a month of trading hours.
        trading: f64,
        /// The runs of the schedule in a month of 24-hour symbols.
        always: f64,
    },
    /// In proportion to the hours that a page is open: only in the price of an hour, not in a month.
    WithPage {
        /// How long pages were open in the run.
        seconds: f64,
    },
}

impl Grows {
    /// The factors for a month of trading hours, a month of 24-hour symbols, and an hour of a page.
    fn factors(self) -> [f64; 3] {
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        match self {
            Self::WithTime { seconds } => [ratio(TRADING_SECONDS, seconds), ratio(ALL_SECONDS, seconds), 0.0],
            Self::WithRuns { runs, trading, always } => [ratio(trading, runs), ratio(always, runs), 0.0],
            Self::WithPage { seconds } => [0.0, 0.0, ratio(3_600.0, seconds)],
        }
    }
}

/// The whole bill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bill {
    /// The date of the prices.
    pub prices_of: jiff::civil::Date,
    /// The region in which they apply.
    pub region: String,
    /// How reliable they are.
    pub remark: String,
    /// Everything that was used.
    pub lines: Vec<Line>,
    /// US dollars by service, without free allowances.
    pub services: BTreeMap<&'static str, Month>,
    /// The sum of the services.
    pub total: Month,
    /// The sum after each month's free allowances are subtracted.
    pub total_less_free: Month,
    /// The cost of one open page for an hour of trading, in addition to the total; absent if no page was open.
    pub page_usd_an_hour: Option<f64>,
}

/// US dollars a month.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Month {
    /// Symbols that trade six and a half hours on 21 days.
    pub trading_hours: f64,
    /// Symbols that trade all day, every day.
    pub all_hours: f64,
}

/// One use of something that has a price.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The service whose bill has it.
    pub service: &'static str,
    /// The part of the flow that used it.
    pub by: String,
    /// The unit of the amounts.
    pub unit: String,
    /// How much the run used.
    pub in_run: f64,
    /// How much a month of trading hours would.
    pub a_month_of_trading_hours: f64,
    /// How much a month of 24-hour symbols would.
    pub a_month_of_all_hours: f64,
    /// The cost of these months.
    pub usd: Month,
    /// The cost of an hour of an open page.
    pub page_usd_an_hour: f64,
    /// How the amount was determined.
    pub from: &'static str,
}

impl Bill {
    /// The bill for the uses. A use without a price in the file is left out.
    #[must_use]
    pub fn new(prices: Prices, used: &[Used]) -> Self {
        let mut lines = Vec::new();
        let mut services: BTreeMap<&'static str, Month> = BTreeMap::new();
        let (mut total, mut page) = (Month::default(), None);
        let mut amounts: BTreeMap<&'static str, [f64; 2]> = BTreeMap::new();
        for one in used {
            let Some(price) = prices.prices.get(one.price) else { continue };
            let [trading, always, hour] = one.grows.factors().map(|factor| factor * one.amount);
            let cost = |amount: f64| amount / price.per * price.usd;
            let month = Month { trading_hours: cost(trading), all_hours: cost(always) };
            for sum in [services.entry(one.service).or_default(), &mut total] {
                sum.trading_hours += month.trading_hours;
                sum.all_hours += month.all_hours;
            }
            if let Grows::WithPage { .. } = one.grows {
                *page.get_or_insert(0.0) += cost(hour);
            }
            let amount = amounts.entry(one.price).or_default();
            amount[0] += trading;
            amount[1] += always;
            lines.push(Line {
                service: one.service,
                by: one.by.clone(),
                unit: price.unit.clone(),
                in_run: one.amount,
                a_month_of_trading_hours: trading,
                a_month_of_all_hours: always,
                usd: month,
                page_usd_an_hour: cost(hour),
                from: one.from,
            });
        }
        let mut total_less_free = Month::default();
        for (name, [trading, always]) in amounts {
            if let Some(price) = prices.prices.get(name) {
                let cost = |amount: f64| (amount - price.free_a_month).max(0.0) / price.per * price.usd;
                total_less_free.trading_hours += cost(trading);
                total_less_free.all_hours += cost(always);
            }
        }
        Self {
            prices_of: prices.date,
            region: prices.region,
            remark: prices.remark,
            lines,
            services,
            total,
            total_less_free,
            page_usd_an_hour: page,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-6 * right.abs().max(1.0), "{left} is not {right}");
    }

    fn used(price: &'static str, amount: f64, grows: Grows) -> Used {
        Used { service: "BigQuery", by: "load-quotes".to_owned(), price, amount, grows, from: "counted" }
    }

    #[test]
    fn what_goes_on_all_the_time_grows_with_the_seconds_of_trading() {
        // 10 MiB every 6 s.
        let tib = 50.0 * 10.0 / 1_048_576.0;
        let bill = Bill::new(
            Prices::read().unwrap(),
            &[used("bigquery_tib", tib, Grows::WithTime { seconds: 300.0 })],
        );
        near(bill.lines[0].a_month_of_trading_hours, 491_400.0 / 6.0 * 10.0 / 1_048_576.0);
        near(bill.total.trading_hours, 81_900.0 * 10.0 / 1_048_576.0 * 6.25);
        near(bill.total.all_hours, 438_000.0 * 10.0 / 1_048_576.0 * 6.25);
        near(bill.services["BigQuery"].trading_hours, bill.total.trading_hours);
        // The first TiB is free.
        near(bill.total_less_free.trading_hours, 0.0);
        near(bill.total_less_free.all_hours, bill.total.all_hours - 6.25);
        assert_eq!(bill.page_usd_an_hour, None);
    }

    #[test]
    fn what_is_scheduled_grows_with_its_own_runs_however_often_it_ran_here() {
        let grows = |runs| Grows::WithRuns { runs, trading: 567.0, always: 2_920.0 };
        let month = |amount, runs| {
            Bill::new(Prices::read().unwrap(), &[used("bigquery_tib", amount, grows(runs))]).total
        };
        assert_eq!(month(0.001, 1.0), month(0.004, 4.0));
        near(month(0.001, 1.0).trading_hours, 0.567 * 6.25);
        assert_eq!(month(0.0, 0.0), Month::default());
    }

    #[test]
    fn a_page_costs_by_the_hour_and_is_in_no_month() {
        let page = used("http_requests", 120.0, Grows::WithPage { seconds: 300.0 });
        let bill = Bill::new(Prices::read().unwrap(), &[page]);
        near(bill.page_usd_an_hour.unwrap(), 1_440.0 / 1e6);
        assert_eq!(bill.total, Month::default());
    }

    #[test]
    fn every_price_is_dated_and_says_where_it_is_from() {
        let prices = Prices::read().unwrap();
        assert!(prices.date.year() >= 2026);
        for (name, price) in &prices.prices {
            assert!(price.usd > 0.0 && price.per > 0.0 && price.free_a_month >= 0.0, "{name}");
            assert!(price.source.contains("pricing page"), "{name}");
        }
    }
}
