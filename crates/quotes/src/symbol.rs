use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const MAX_LENGTH: usize = 64;
const PUNCTUATION: &[u8] = b" .^:-_=+&$!@";

/// A ticker symbol as Finnhub writes it: `AAPL`, `BRK.B`, `^DJI`, `BINANCE:BTCUSDT`, `OANDA:EUR_USD`.
///
/// A message's symbol becomes part of an object key, so only harmless characters are allowed:
/// 1 to 64 ASCII letters, digits, inner spaces and `. ^ : - _ = + & $ ! @`. It neither begins with a
/// dot nor contains `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Symbol(String);

/// Why a text is not a [`Symbol`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSymbol {
    /// Empty, or only spaces.
    #[error("the symbol is empty")]
    Empty,
    /// More than 64 bytes; contains the number of bytes.
    #[error("the symbol has {0} bytes, more than {MAX_LENGTH}")]
    TooLong(usize),
    /// A character that is not allowed.
    #[error("the symbol {symbol:?} contains {character:?}")]
    Character {
        /// The whole text.
        symbol: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// A leading dot, a `..`, or a space at either end.
    #[error("the symbol {0:?} begins with a dot, contains '..', or has a space at an end")]
    Path(String),
}

impl Symbol {
    /// The symbol as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the symbol names its exchange (`BINANCE:BTCUSDT`). Such markets never close.
    #[must_use]
    pub fn has_exchange(&self) -> bool {
        self.0.contains(':')
    }
}

impl Symbol {
    /// Checks that `text` is a symbol.
    ///
    /// # Errors
    /// [`InvalidSymbol`] says why it is not.
    pub fn check(text: &str) -> Result<(), InvalidSymbol> {
        if text.trim().is_empty() {
            return Err(InvalidSymbol::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(InvalidSymbol::TooLong(text.len()));
        }
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || (c.is_ascii() && PUNCTUATION.contains(&(c as u8)));
        if let Some(character) = text.chars().find(|c| !allowed(*c)) {
            return Err(InvalidSymbol::Character { symbol: text.to_owned(), character });
        }
        if text.starts_with('.') || text.contains("..") || text.trim() != text {
            return Err(InvalidSymbol::Path(text.to_owned()));
        }
        Ok(())
    }
}

impl FromStr for Symbol {
    type Err = InvalidSymbol;

    fn from_str(text: &str) -> Result<Self, InvalidSymbol> {
        Self::check(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Symbol {
    type Error = InvalidSymbol;

    fn try_from(text: String) -> Result<Self, InvalidSymbol> {
        text.parse()
    }
}

impl From<Symbol> for String {
    fn from(symbol: Symbol) -> Self {
        symbol.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn real_symbols_are_symbols() {
        for text in
            ["AAPL", "BRK.B", "^DJI", "BINANCE:BTCUSDT", "OANDA:EUR_USD", "M&M.NS", "IC MARKETS:1", "0700.HK"]
        {
            assert_eq!(text.parse::<Symbol>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_could_leave_its_folder_is_no_symbol() {
        for text in [
            "", " ", "a/b", "../x", "..", ".", "A..B", "A\nB", "A\0", "A\u{7f}", "é", "A\\B", " A", "A ",
            "%2e",
        ] {
            assert!(text.parse::<Symbol>().is_err(), "{text:?}");
        }
        assert_eq!("A".repeat(65).parse::<Symbol>(), Err(InvalidSymbol::TooLong(65)));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_safe_in_a_key(text in any::<String>()) {
            if let Ok(symbol) = text.parse::<Symbol>() {
                prop_assert_eq!(symbol.as_str(), text.as_str());
                prop_assert!(!text.contains('/') && !text.contains("..") && !text.contains(char::is_control));
            }
        }
    }
}
