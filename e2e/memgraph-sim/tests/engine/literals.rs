//! The string literals of C++ and Rust sources.

/// All string literals outside of comments, with their escapes resolved. Literals that follow each other are
/// one, as C++ has it.
pub fn all(source: &str) -> Vec<String> {
    let mut literals: Vec<String> = Vec::new();
    let mut adjacent = false;
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else if c == '\'' {
            rest = after_character(rest);
            adjacent = false;
        } else if let Some(raw) = rest.strip_prefix("R\"(") {
            let end = raw.find(")\"").unwrap_or(raw.len());
            literals.push(raw[..end].to_owned());
            rest = raw.get(end + 2..).unwrap_or_default();
            adjacent = true;
        } else if let Some(text) = rest.strip_prefix('"') {
            let (literal, after) = literal(text);
            match literals.last_mut() {
                Some(last) if adjacent => last.push_str(&literal),
                _ => literals.push(literal),
            }
            rest = after;
            adjacent = true;
        } else {
            adjacent &= c.is_whitespace();
            rest = &rest[c.len_utf8()..];
        }
    }
    literals
}

/// Leaves a character literal behind; a quote that starts none (a lifetime, a digit separator) is skipped.
fn after_character(source: &str) -> &str {
    let inner = &source[1..];
    let length = if let Some(escaped) = inner.strip_prefix('\\') {
        escaped.chars().next().map_or(1, |c| 1 + c.len_utf8())
    } else {
        inner.chars().next().map_or(0, char::len_utf8)
    };
    match inner[length..].strip_prefix('\'') {
        Some(after) => after,
        None => inner,
    }
}

/// The literal whose opening quote is gone, and what follows its closing one.
fn literal(source: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut chars = source.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (literal, &source[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => literal.push('\n'),
                Some((_, 't')) => literal.push('\t'),
                // Rust goes on in the next line, behind the indentation.
                Some((at, '\n')) => {
                    let line = &source[at + 1..];
                    let skipped = line.len() - line.trim_start().len();
                    for _ in line[..skipped].chars() {
                        chars.next();
                    }
                }
                Some((_, escaped)) => literal.push(escaped),
                None => break,
            },
            c => literal.push(c),
        }
    }
    (literal, "")
}

/// The literals among the arguments of calls that are written so.
pub fn within_calls(source: &str, calls: &[&str]) -> Vec<String> {
    let starts = calls
        .iter()
        .flat_map(|call| source.match_indices(call).map(|(at, call)| at + call.len()));
    starts
        .flat_map(|start| all(&source[start..start + arguments(&source[start..])]))
        .collect()
}

/// The length of the arguments of a call whose opening parenthesis is gone.
fn arguments(source: &str) -> usize {
    let mut depth = 1_usize;
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '"' => literal(&rest[1..]).1,
            '\'' => after_character(rest),
            _ => &rest[c.len_utf8()..],
        };
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    source.len() - rest.len()
}

/// What stands between the places of a format string.
pub fn pieces(format: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut inside = false;
    for c in format.chars() {
        match c {
            '{' => inside = true,
            '}' if inside => {
                inside = false;
                pieces.push(String::new());
            }
            c if !inside => pieces.last_mut().expect("there is one").push(c),
            _ => {}
        }
    }
    pieces
}

/// Whether each of the formats can be found in a text, with something in the place of their places.
pub fn covers(formats: &[String], text: &str) -> bool {
    formats.iter().all(|format| {
        let mut rest = text;
        pieces(format)
            .iter()
            .all(|piece| match rest.find(piece.as_str()) {
                Some(at) => {
                    rest = &rest[at + piece.len()..];
                    true
                }
                None => false,
            })
    })
}

#[test]
fn literals_are_found() {
    let source =
        "// \"no\"\nf(\"a\"\n  \"b\", 'x', '\"', \"c\\\"d\"); /* \"no\" */ g(\"e \\\n    f\") R\"(raw)\"";
    assert_eq!(all(source), ["ab", "c\"d", "e f", "raw"]);
    assert_eq!(within_calls(source, &["g("]), ["e f"]);
    assert_eq!(pieces("a {} b{x}"), ["a ", " b", ""]);
    assert!(covers(&["a {} c".into()], "a b c"));
    assert!(!covers(&["a {} c".into()], "a b d"));
}
