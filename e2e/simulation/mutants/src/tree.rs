//! The copy of the sources that has the mutants in it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{edit, mutant::Mutant};

/// What tells in the copy which mutant runs: the environment, asked once.
const SWITCH: &str = r#"//! Which safeguard is removed in this run.

use std::sync::OnceLock;

/// Whether it is this one.
pub fn removed(name: &str) -> bool {
    static REMOVED: OnceLock<Option<String>> = OnceLock::new();
    REMOVED.get_or_init(|| std::env::var("MUTANT").ok()).as_deref() == Some(name)
}
"#;
const SWITCH_FILE: &str = "src/mutants.rs";
const DECLARED_IN: &str = "src/lib.rs";
const CALL: &str = "removed(\"";
const FULL_CALL: &str = "crate::mutants::removed(\"";

/// The files that mutants change, as they are with all of them.
///
/// # Errors
/// When a file cannot be read, or a safeguard is not where its mutant says.
pub fn mutated(root: &Path, mutants: &[Mutant]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut edits: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for edit in mutants.iter().flat_map(|mutant| &mutant.edits) {
        edits.entry(&edit.file).or_default().push(edit);
    }
    let mut files = BTreeMap::new();
    for (file, edits) in edits {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        let text = edit::apply(&text, &edits)?;
        files.insert(file.to_owned(), text.replace(CALL, FULL_CALL));
    }
    Ok(files)
}

/// Puts a copy of the sources with all mutants into `folder`. What has not changed is not touched, so that it is not compiled
/// again.
///
/// # Errors
/// When a file cannot be read or written, or a safeguard is not where its mutant says.
pub fn lay_out(root: &Path, folder: &Path, mutants: &[Mutant]) -> anyhow::Result<()> {
    let mut mutated = mutated(root, mutants)?;
    mutated.insert(SWITCH_FILE.to_owned(), SWITCH.to_owned());
    let declared = mutated.remove(DECLARED_IN);
    let declared = declared.map_or_else(|| fs::read_to_string(root.join(DECLARED_IN)), Ok)?;
    let declared = format!("{declared}\n#[allow(missing_docs)]\npub mod mutants;\n");
    mutated.insert(DECLARED_IN.to_owned(), declared);
    for file in sources(root)? {
        let text = match mutated.remove(&file) {
            Some(text) => text.into_bytes(),
            None => match fs::read(root.join(&file)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("cannot read {file}"))?,
            },
        };
        put(&folder.join(&file), &text)?;
    }
    for (file, text) in mutated {
        put(&folder.join(file), text.as_bytes())?;
    }
    Ok(())
}

/// Every file that is or would be under version control.
fn sources(root: &Path) -> anyhow::Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    anyhow::ensure!(listed.status.success(), "git ls-files failed");
    let names = String::from_utf8(listed.stdout).context("a file's name is no text")?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

fn put(path: &PathBuf, text: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
