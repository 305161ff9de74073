//! What `--help` prints (`DescribeOneFlag` in gflags as Memgraph patches it).

use std::fmt::Write as _;

use super::{Flag, Flags, Kind};

/// Where lines end.
const WIDTH: usize = 80;
const INDENT: &str = "        ";

impl Flags {
    /// The text of `--help`.
    pub fn help(&self, program: &str) -> String {
        let mut text = format!("{program}: Memgraph database server\n\n");
        for flag in self.shown() {
            describe(flag, self.text(flag.name), &mut text);
        }
        text
    }
}

fn describe(flag: &Flag, current: &str, text: &mut String) {
    let quoted = |value: &str| match flag.kind {
        Kind::Text => format!("\"{value}\""),
        _ => value.to_owned(),
    };
    let first = format!("    --{} ({})", flag.name.replace('_', "-"), flag.description);
    let mut words: Vec<String> = first.trim_start().split(' ').map(str::to_owned).collect();
    words.push(format!("type: {}", flag.kind.name()));
    words.push(format!("default: {}", quoted(flag.default)));
    if current != flag.default {
        words.push(format!("currently: {}", quoted(current)));
    }
    let mut line = "   ".to_owned();
    for word in words {
        if line.len() + 1 + word.len() >= WIDTH {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
            line = format!("{INDENT}{word}");
        } else {
            line.push(' ');
            line.push_str(&word);
        }
    }
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use bolt_server::Version;

    use super::*;

    #[test]
    fn help_tells_type_and_default_and_hides_what_is_hidden() {
        let text = Flags::new(Version::V3_12).help("memgraph");
        assert!(text.contains(
            "    --bolt-port (Port on which the Bolt server should listen.) type: int32\n        default: 7687\n"
        ));
        assert!(!text.contains("also-log-to-stderr"));
        assert!(text.lines().all(|line| line.len() < 160));
    }
}
