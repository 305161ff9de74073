//! What runs in the simulation is what runs in production: no code of the product asks whether it is simulated. And what
//! else is to be seen in its code.

use std::{fs, io, path::Path};

/// Words by which a branch for the simulation would be known.
const SUSPICIOUS: [&str; 5] = [
    "feature = \"sim",
    "cfg(sim",
    "simulat",
    "test_clock",
    "start_paused",
];

fn look(folder: &Path, words: &[&str], found: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                look(&path, words, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_some_and(|name| name != "tests")
        {
            let text = fs::read_to_string(&path)?;
            // Unit tests at the end of a file are no part of the product.
            let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for (number, line) in product.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if words.iter().any(|word| code.to_lowercase().contains(word)) {
                    found.push(format!("{}:{}: {line}", path.display(), number + 1));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_product_has_no_branch_for_the_simulation() {
    let mut found = Vec::new();
    look(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src"),
        &SUSPICIOUS,
        &mut found,
    )
    .unwrap();
    assert_eq!(found, Vec::<String>::new());
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml")).unwrap();
    assert!(
        !manifest.contains("[features]"),
        "the product has no features to be simulated with"
    );
}

/// Elsewhere: parts of the state are used by several threads without a lock. Here the compiler does not let that be.
#[test]
fn l14_threads_share_nothing_without_the_compilers_consent() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"deny\"") || manifest.contains("unsafe_code = \"forbid\""));
    let package = manifest.split("\n[package]").nth(1).unwrap();
    assert!(package.contains("[lints]\nworkspace = true"));
    let mut allowed = Vec::new();
    let marks = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe extern",
        "allow(unsafe",
    ];
    look(&root.join("src"), &marks, &mut allowed).unwrap();
    assert_eq!(allowed, Vec::<String>::new());
}
