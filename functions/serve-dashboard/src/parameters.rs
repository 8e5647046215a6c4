use std::{collections::HashMap, fmt::Display, ops::RangeInclusive, str::FromStr};

use quotes::Symbol;

use crate::problem::Problem;

/// The parameters of a request. Unknown ones are ignored. If one occurs twice, the last counts.
pub struct Query(HashMap<String, String>);

impl Query {
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// # Errors
    /// [`Problem::Parameter`] if `symbol` is missing or not a symbol.
    pub fn symbol(&self) -> Result<Symbol, Problem> {
        let text = self.text("symbol").ok_or_else(|| Problem::Parameter("symbol is missing".to_owned()))?;
        symbol(text)
    }

    /// # Errors
    /// [`Problem::Parameter`] if the value is not one of `values`.
    pub fn one_of<T: Copy>(&self, name: &str, values: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = values.iter().find(|(value, _)| *value == text);
        found.map(|(_, value)| Some(*value)).ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            Problem::Parameter(format!("{name} is {text:?}; it must be one of {}", names.join(", ")))
        })
    }

    /// # Errors
    /// [`Problem::Parameter`] if the value is not in `limits`.
    pub fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &str,
        limits: RangeInclusive<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| limits.contains(number));
        number.map(Some).ok_or_else(|| {
            let (least, most) = limits.into_inner();
            Problem::Parameter(format!("{name} is {text:?}; it must be from {least} to {most}"))
        })
    }
}

/// # Errors
/// [`Problem::Parameter`] if `text` is not a symbol.
pub fn symbol(text: &str) -> Result<Symbol, Problem> {
    text.parse().map_err(|error| Problem::Parameter(format!("{error}")))
}
