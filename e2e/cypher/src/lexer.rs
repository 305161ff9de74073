//! From text to tokens.

use std::ops::Range;

use bolt_server::Version;
use winnow::{
    ModalResult, Parser,
    ascii::digit0,
    ascii::digit1,
    combinator::{alt, delimited, opt, preceded, repeat},
    error::EmptyError,
    stream::{LocatingSlice, Location, Stream},
    token::{any, none_of, one_of, rest, take_till, take_until, take_while},
};

use crate::{Error, literal};

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A keyword or an unquoted name: which of them depends on where it stands.
    Word(String),
    /// A name between backticks, decoded.
    QuotedName(String),
    /// An integer literal.
    Integer(i64),
    /// A floating point literal.
    Float(f64),
    /// A string literal, decoded.
    String(String),
    /// `$name`, without the dollar.
    Parameter(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    /// The text of a trigger's statement, which is parsed when the trigger is created.
    Trigger(String),
}

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    /// Bytes of the source.
    pub(crate) span: Range<usize>,
    /// How Memgraph shows the token in messages: literals are replaced before it parses.
    pub(crate) shown: String,
}

/// Longest first where one starts another.
const SYMBOLS: [&str; 29] = [
    "<=", ">=", "<>", "!=", "=~", "+=", "..", "(", ")", "[", "]", "{", "}", ",", ".", ":", ";", "$", "|",
    "=", "<", ">", "+", "-", "*", "/", "%", "^", "&",
];

type Input<'a> = LocatingSlice<&'a str>;
type Lexed<T> = ModalResult<T, EmptyError>;

/// Cuts a statement into tokens, without white space and comments.
pub(crate) fn lex(source: &str, version: Version) -> Result<Vec<Lexeme>, Error> {
    let mut input = LocatingSlice::new(source);
    let mut lexemes: Vec<Lexeme> = Vec::new();
    loop {
        skipped(&mut input);
        let start = input.current_token_start();
        if input.eof_offset() == 0 {
            return Ok(lexemes);
        }
        let token = if starts_trigger_statement(&lexemes) {
            trigger_statement(&mut input).map_err(|_| wrong_token(source, start, version))?
        } else {
            let raw = raw_token(&mut input).map_err(|_| wrong_token(source, start, version))?;
            raw.decode()?
        };
        let span = start..input.current_token_start();
        let shown = shown(&token, &source[span.clone()]);
        lexemes.push(Lexeme { token, span, shown });
    }
}

/// What `StrippedQuery` says about a character that starts no token.
fn wrong_token(source: &str, at: usize, version: Version) -> Error {
    let position = if version >= Version::V3_8 {
        "position"
    } else {
        "postion"
    };
    let start = source[at..].chars().next().unwrap_or_default();
    if "⟨〈﹤＜⟩〉﹥＞\u{AD}‐‑‒–—―−﹘﹣－".contains(start) {
        return Error::Unsupported("arrows drawn with other characters than <, - and >".to_owned());
    }
    Error::Refused(format!(
        "Invalid query. There is a wrong token at {position} {at} starting with {start}. Remove that part of the \
         query and try to rerun it."
    ))
}

fn shown(token: &Token, source: &str) -> String {
    match token {
        Token::Integer(_) => "0".to_owned(),
        Token::Float(_) => "0.0".to_owned(),
        Token::String(_) => "\"a\"".to_owned(),
        Token::Word(word) if word.eq_ignore_ascii_case("false") || word.eq_ignore_ascii_case("true") => {
            "true".to_owned()
        }
        Token::Parameter(name) => format!("${name}"),
        Token::Trigger(text) => text.clone(),
        Token::Word(_) | Token::QuotedName(_) | Token::Symbol(_) => source.to_owned(),
    }
}

/// Whether `CREATE TRIGGER name .. EXECUTE` was read: what follows is not looked at now.
fn starts_trigger_statement(lexemes: &[Lexeme]) -> bool {
    let is_word = |index: usize, word: &str| matches!(lexemes.get(index).map(|lexeme| &lexeme.token), Some(Token::Word(w)) if w.eq_ignore_ascii_case(word));
    // A trigger may itself be called "execute".
    lexemes.len() > 3
        && is_word(0, "create")
        && is_word(1, "trigger")
        && is_word(lexemes.len() - 1, "execute")
}

/// White space and comments, as much as there is.
fn skipped(input: &mut Input<'_>) {
    let comment_line = preceded("//", take_till(0.., ['\r', '\n'])).void();
    let comment_block = delimited("/*", take_until(0.., "*/"), "*/").void();
    let space = take_while(1.., is_space).void();
    let skipped: Lexed<()> = repeat(0.., alt((space, comment_line, comment_block))).parse_next(input);
    // Skipping nothing is fine, and there is no other way to fail.
    let _ = skipped;
}

fn is_space(c: char) -> bool {
    c.is_whitespace() && c != '\u{85}' || ('\u{1C}'..='\u{1F}').contains(&c) || c == '\u{180E}'
}

fn trigger_statement(input: &mut Input<'_>) -> Lexed<Token> {
    rest.map(|text: &str| {
        let text = text.trim_end_matches(is_space);
        let text = text.strip_suffix(';').unwrap_or(text);
        Token::Trigger(text.trim_end_matches(is_space).to_owned())
    })
    .parse_next(input)
}

/// A token before its value is looked at.
enum RawToken<'a> {
    Word(&'a str),
    QuotedName(&'a str),
    Integer(&'a str),
    Float(&'a str),
    /// With its quotes.
    String(&'a str),
    Parameter(&'a str),
    Symbol(&'static str),
}

impl RawToken<'_> {
    fn decode(self) -> Result<Token, Error> {
        Ok(match self {
            Self::Word(word) => Token::Word(word.to_owned()),
            Self::QuotedName(name) => Token::QuotedName(literal::quoted_name(name)),
            Self::Integer(digits) => Token::Integer(literal::integer(digits)?),
            Self::Float(digits) => Token::Float(literal::float(digits)?),
            Self::String(quoted) => Token::String(literal::string(quoted)?),
            Self::Parameter(name) if name.starts_with('`') => Token::Parameter(literal::quoted_name(name)),
            Self::Parameter(name) => Token::Parameter(name.to_owned()),
            Self::Symbol(symbol) => Token::Symbol(symbol),
        })
    }
}

fn raw_token<'a>(input: &mut Input<'a>) -> Lexed<RawToken<'a>> {
    alt((
        word.map(RawToken::Word),
        quoted_name.map(RawToken::QuotedName),
        float.map(RawToken::Float),
        integer.map(RawToken::Integer),
        string.map(RawToken::String),
        parameter.map(RawToken::Parameter),
        symbol.map(RawToken::Symbol),
    ))
    .parse_next(input)
}

fn word<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    let first = |c: char| c.is_alphabetic() || c == '_';
    let further = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '€' | '£' | '¥');
    (one_of(first), take_while(0.., further)).take().parse_next(input)
}

fn quoted_name<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    let part = delimited('`', take_till(0.., '`'), '`').void();
    repeat::<_, _, (), _, _>(1.., part).take().parse_next(input)
}

/// The forms of `FloatingLiteral` in CypherLexer.g4; no digits may follow an `e` by halves.
fn float<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    let exponent = || (one_of(['e', 'E']), opt('-'), digit1);
    alt((
        (digit0, '.', digit1, opt(exponent())).void(),
        (digit1, opt(('.', digit0)), exponent()).void(),
    ))
    .take()
    .parse_next(input)
}

fn integer<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    alt((
        ("0x", take_while(1.., |c: char| c.is_ascii_hexdigit())).void(),
        ('0', take_while(1.., '0'..='7')).void(),
        '0'.void(),
        digit1.void(),
    ))
    .take()
    .parse_next(input)
}

fn string<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    let content = |quote: char| {
        let escape = ('\\', one_of(|c: char| "bfnrtuBFNRTU\\'\"".contains(c))).void();
        repeat::<_, _, (), _, _>(0.., alt((none_of(['\\', quote]).void(), escape)))
    };
    alt((
        delimited('"', content('"'), '"'),
        delimited('\'', content('\''), '\''),
    ))
    .take()
    .parse_next(input)
}

fn parameter<'a>(input: &mut Input<'a>) -> Lexed<&'a str> {
    let name = alt((word, quoted_name, digit1));
    preceded(('$', take_while(0.., is_space)), name).parse_next(input)
}

fn symbol(input: &mut Input<'_>) -> Lexed<&'static str> {
    let text: &str = input.as_ref();
    let found = SYMBOLS.iter().find(|symbol| text.starts_with(**symbol));
    match found {
        Some(symbol) => repeat::<_, _, (), _, _>(symbol.chars().count(), any)
            .map(|()| *symbol)
            .parse_next(input),
        None => Err(winnow::error::ErrMode::Backtrack(EmptyError)),
    }
}
