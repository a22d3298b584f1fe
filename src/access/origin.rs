//! Origins of web pages, as browsers write them.

use std::str::FromStr;

/// An origin whose pages may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Every one. No cookies are in play, so this gives away only what any client on the network has.
    Any,
    /// This one, as browsers write it: `https://shop.example`.
    One(String),
}

/// Why a text is no origin.
#[derive(Debug, thiserror::Error)]
#[error("an origin is a scheme, a host and perhaps a port, such as https://shop.example, or * for all")]
pub struct NoOrigin;

impl FromStr for Origin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Self, NoOrigin> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, authority) = text.split_once("://").ok_or(NoOrigin)?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let is_host = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@' | '\\' | '*' | ',');
        if scheme.is_empty() || authority.is_empty() || !scheme.chars().all(is_word) || !authority.chars().all(is_host)
        {
            return Err(NoOrigin);
        }
        // Browsers leave the port out where it is the scheme's own.
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        Ok(Self::One(format!("{scheme}://{authority}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        for (text, expected) in [
            ("https://shop.example", "https://shop.example"),
            ("HTTPS://Shop.Example:443", "https://shop.example"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            let Ok(Origin::One(origin)) = text.parse() else { panic!("{text}") };
            assert_eq!(origin, expected);
        }
        assert_eq!("*".parse::<Origin>().expect("all"), Origin::Any);
        for text in
            ["", "null", "shop.example", "https://", "https://shop.example/", "https://*.example", "https://a@b"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
