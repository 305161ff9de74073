//! The values of literals (Memgraph's `query/frontend/parsing.cpp`).

use crate::Error;

/// A decimal, octal (`017`) or hexadecimal (`0x1f`) number.
pub(crate) fn integer(digits: &str) -> Result<i64, Error> {
    let parsed = if let Some(hexadecimal) = digits.strip_prefix("0x") {
        i64::from_str_radix(hexadecimal, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        i64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    parsed.map_err(|_| Error::Refused("Integer literal exceeds 64 bits.".to_owned()))
}

/// A number with a fraction or an exponent.
pub(crate) fn float(digits: &str) -> Result<f64, Error> {
    let parsed: Option<f64> = digits.parse().ok();
    parsed
        .filter(|value| value.is_finite())
        .ok_or_else(|| Error::Refused("Couldn't parse string to double.".to_owned()))
}

/// A name between backticks, in which a doubled backtick stands for one.
pub(crate) fn quoted_name(quoted: &str) -> String {
    let inner = quoted
        .strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'))
        .unwrap_or(quoted);
    inner.replace("``", "`")
}

/// A string between quotes, with escapes. The lexer has let only known escapes through.
pub(crate) fn string(quoted: &str) -> Result<String, Error> {
    let mut chars = quoted.chars();
    chars.next();
    chars.next_back();
    let mut text = String::with_capacity(quoted.len());
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('b' | 'B') => text.push('\u{8}'),
            Some('f' | 'F') => text.push('\u{c}'),
            Some('n' | 'N') => text.push('\n'),
            Some('r' | 'R') => text.push('\r'),
            Some('t' | 'T') => text.push('\t'),
            Some('u') => text.push(short_codepoint(&mut chars)?),
            Some('U') => text.push(long_codepoint(&mut chars)?),
            Some(escaped) => text.push(escaped),
            None => {}
        }
    }
    Ok(text)
}

/// `\u` and four digits, or two of those that form a surrogate pair.
fn short_codepoint(chars: &mut std::str::Chars<'_>) -> Result<char, Error> {
    let first = hex_digits(chars, 4).ok_or_else(|| {
        Error::Refused(
            "Expected 4 hex digits as unicode codepoint started with \\u. Use \\U for 8 hex digits format."
                .to_owned(),
        )
    })?;
    if !(0xD800..0xE000).contains(&first) {
        return char::from_u32(first).ok_or_else(invalid_codepoint);
    }
    let follows = chars.next() == Some('\\') && matches!(chars.next(), Some('u' | 'U'));
    let second = hex_digits(chars, 4)
        .filter(|_| follows)
        .ok_or_else(invalid_codepoint)?;
    let units = [first, second].map(|unit| u16::try_from(unit).unwrap_or_default());
    match char::decode_utf16(units).next() {
        Some(Ok(c)) => Ok(c),
        _ => Err(invalid_codepoint()),
    }
}

/// `\U` and eight digits.
fn long_codepoint(chars: &mut std::str::Chars<'_>) -> Result<char, Error> {
    let codepoint = hex_digits(chars, 8).ok_or_else(|| {
        Error::Refused(
            "Expected 8 hex digits as unicode codepoint started with \\U. Use \\u for 4 hex digits format."
                .to_owned(),
        )
    })?;
    char::from_u32(codepoint).ok_or_else(invalid_codepoint)
}

fn invalid_codepoint() -> Error {
    Error::Refused("Invalid UTF codepoint.".to_owned())
}

/// The value of exactly `count` hexadecimal digits.
fn hex_digits(chars: &mut std::str::Chars<'_>, count: usize) -> Option<u32> {
    (0..count).try_fold(0_u32, |value, _| Some(value << 4 | chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_in_three_bases() {
        for (digits, value) in [
            ("0", 0),
            ("42", 42),
            ("017", 15),
            ("0x1F", 31),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(integer(digits), Ok(value), "{digits}");
        }
        let too_large = Err(Error::Refused("Integer literal exceeds 64 bits.".to_owned()));
        assert_eq!(integer("9223372036854775808"), too_large);
        assert_eq!(integer("0xFFFFFFFFFFFFFFFF"), too_large);
    }

    #[test]
    fn strings_with_escapes() {
        let cases = [
            (r#""plain""#, "plain"),
            (r"'it\'s'", "it's"),
            (r#""\"quoted\" \\ \n\t""#, "\"quoted\" \\ \n\t"),
            (r#""\u00fc\U0001F600\uD83D\uDE00""#, "ü😀😀"),
        ];
        for (quoted, text) in cases {
            assert_eq!(string(quoted).as_deref(), Ok(text), "{quoted}");
        }
    }

    #[test]
    fn broken_codepoints() {
        for quoted in [
            r#""\uD83D""#,
            r#""\uDE00\uDE00""#,
            r#""\U00110000""#,
            r#""\uD83Dx""#,
        ] {
            assert_eq!(string(quoted), Err(invalid_codepoint()), "{quoted}");
        }
        for quoted in [r#""\u12""#, r#""\U0001F60""#] {
            assert!(
                matches!(string(quoted), Err(Error::Refused(text)) if text.starts_with("Expected")),
                "{quoted}"
            );
        }
    }

    #[test]
    fn names_between_backticks() {
        assert_eq!(quoted_name("`mg-0`"), "mg-0");
        assert_eq!(quoted_name("`a``b`"), "a`b");
        assert_eq!(quoted_name("``"), "");
    }
}
