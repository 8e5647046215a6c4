//! Exact decimal numbers for prices.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A number with four decimals: dollars for a price, percent for a change.
///
/// It is exact, so that sums and comparisons of prices need no tolerance. It is written as Finnhub writes numbers: in
/// the shortest form, a whole number without a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i32);

impl Decimal {
    const ONE: i32 = 10_000;

    /// The number of ten-thousandths.
    #[must_use]
    pub const fn ten_thousandths(self) -> i32 {
        self.0
    }

    /// The nearest floating-point number, as a JSON parser reads the written form.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ONE)
    }

    /// `self - other`, in the same unit.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self` in percent of `whole`, rounded half away from zero; `None` if `whole` is not positive.
    #[must_use]
    pub fn percent_of(self, whole: Self) -> Option<Self> {
        if whole.0 <= 0 {
            return None;
        }
        let (part, whole) = (i64::from(self.0) * 100 * i64::from(Self::ONE), i64::from(whole.0));
        let rounded = (2 * part + whole * part.signum()) / (2 * whole);
        i32::try_from(rounded).ok().map(Self)
    }
}

impl FromStr for Decimal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("not a number with up to four decimals: {text:?}");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty()
            || fraction.len() > 4
            || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
        {
            return Err(bad());
        }
        format!("{whole}{fraction:0<4}").parse().map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_f64())
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % Self::ONE == 0 {
            serializer.serialize_i32(self.0 / Self::ONE)
        } else {
            serializer.serialize_f64(self.to_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn is_written_plainly() {
        for text in ["150.25", "0", "170", "1638.1591", "0.0001", "303.0075", "-2.5"] {
            let number =
                text.strip_prefix('-').map_or_else(|| decimal(text), |t| Decimal(0).minus(decimal(t)));
            assert_eq!(number.to_string(), text);
            assert_eq!(serde_json::to_string(&number).unwrap(), text);
        }
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        for text in ["", ".5", "1.23456", "1e3", "-1", "99999999", "1,5"] {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn percent_is_rounded_half_away_from_zero() {
        assert_eq!(decimal("2.5").percent_of(decimal("147.75")), Some(decimal("1.692")));
        assert_eq!(decimal("1").percent_of(decimal("3")), Some(decimal("33.3333")));
        assert_eq!(decimal("2").percent_of(decimal("3")), Some(decimal("66.6667")));
        assert_eq!(decimal("0").minus(decimal("2")).percent_of(decimal("3")), Some(Decimal(-666_667)));
        assert_eq!(decimal("1").percent_of(decimal("0")), None);
    }
}
