//! What decides asks nobody and knows no time but what was observed.

use std::{fs, path::Path};

/// Parts of the language and of other crates by which it could: clients, runtimes, clocks, chance, files, sockets.
const FOREIGN: [&str; 11] = [
    "kube",
    "tokio",
    "neo4rs",
    "jiff",
    "rand",
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "fs",
    "TcpStream",
    "UdpSocket",
];

/// The words of a file's code, each with its line. Comments, texts and unit tests at the end of a file are none.
fn words(text: &str) -> impl Iterator<Item = (usize, String)> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    product.lines().enumerate().flat_map(|(number, line)| {
        let code = line.split("//").next().unwrap_or_default();
        // Every second part lies between quotation marks.
        let code: Vec<_> = code.split('"').step_by(2).collect();
        let words = code.join(" ");
        let words = words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .map(|word| (number + 1, word.to_owned()))
            .collect::<Vec<_>>()
    })
}

fn foreign(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut read = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        read += 1;
        for (line, word) in words(&fs::read_to_string(&path).unwrap()) {
            if FOREIGN.contains(&word.as_str()) {
                found.push(format!("{}:{line}: {word}", path.display()));
            }
        }
    }
    assert!(read > 5, "only {read} files were read in {folder}");
    found
}

#[test]
fn no_decision_asks_a_client_a_runtime_or_a_clock() {
    assert_eq!(foreign("src/plan"), [""; 0]);
    // Where these are used they are seen.
    let found = foreign("src/controller");
    for word in ["kube", "tokio", "Instant", "jiff"] {
        let seen = found.iter().any(|it| it.ends_with(&format!(": {word}")));
        assert!(seen, "{word}: {found:?}");
    }
}
