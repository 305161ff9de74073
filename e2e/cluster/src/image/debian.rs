//! The files of Debian packages as a layer of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::layer::{Entries, Layer, Layout, MERGED_FOLDERS, Owner};
use super::spec::Debian;
use crate::folders;
use crate::preflight;
use crate::process::{self, command};

/// Packages on which others depend only for their installation scripts, which are not run here.
const FOR_SCRIPTS: [&str; 9] = [
    "adduser",
    "awk",
    "debconf",
    "debconf-2.0",
    "dpkg",
    "init-system-helpers",
    "install-info",
    "libc-bin",
    "ucf",
];

/// Folders that no program needs.
const SKIPPED: [&str; 5] = [
    "/usr/share/doc",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
];

/// A package as apt knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    version: String,
    /// What it depends on: one name of each group is needed.
    depends: Vec<Vec<String>>,
}

/// What is known of packages; `None` for a name that apt knows no package of.
type Known = BTreeMap<String, Option<Package>>;

/// The files of some packages and of all that they depend on, in the versions that apt would install now.
///
/// # Errors
/// When apt does not know a package or cannot download it.
pub fn layer(debian: &Debian, cache: &Path) -> Result<Layer> {
    folders::make(cache)?;
    let mut entries = Entries::new(Layout::Debian);
    let packages = resolve(debian)?;
    fetch(&packages, cache)?;
    for (name, version) in &packages {
        entries.tree(&folder_of(name, version, cache), "/", Owner::AsOnDisk, &|path| {
            SKIPPED.contains(&path)
        })?;
    }
    for folder in MERGED_FOLDERS {
        entries.merged_folder(folder);
    }
    entries.into_layer()
}

/// All packages needed, with their versions.
fn resolve(debian: &Debian) -> Result<BTreeMap<String, String>> {
    let mut known = Known::new();
    let mut lists_updated = false;
    loop {
        let unknown = match closure(debian, &known)? {
            Closure::Complete(packages) => return Ok(packages),
            Closure::Unknown(names) => names,
        };
        let mut found = look_up(&unknown)?;
        // On a fresh machine apt knows nothing but what is installed.
        if !lists_updated && unknown.iter().any(|name| !found.contains_key(name)) {
            preflight::update_package_lists()?;
            lists_updated = true;
            found = look_up(&unknown)?;
        }
        for name in unknown {
            let package = found.remove(&name);
            known.insert(name, package);
        }
    }
}

/// A step of finding all packages.
#[derive(Debug, PartialEq, Eq)]
enum Closure {
    /// All packages with their versions.
    Complete(BTreeMap<String, String>),
    /// These have to be looked up first.
    Unknown(BTreeSet<String>),
}

fn closure(debian: &Debian, known: &Known) -> Result<Closure> {
    let left_out =
        |name: &str| FOR_SCRIPTS.contains(&name) || debian.without.iter().any(|other| other == name);
    let mut packages = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    let mut groups: Vec<Vec<String>> = debian.packages.iter().map(|name| vec![name.clone()]).collect();
    while let Some(group) = groups.pop() {
        let chosen = group
            .iter()
            .any(|name| left_out(name) || packages.contains_key(name));
        let names = group.iter().filter(|name| !known.contains_key(*name));
        let names: Vec<String> = names.cloned().collect();
        if chosen {
            continue;
        }
        if !names.is_empty() {
            unknown.extend(names);
            continue;
        }
        let existing = group
            .iter()
            .find_map(|name| Some((name, known.get(name)?.as_ref()?)));
        let Some((name, package)) = existing else {
            bail!(
                "apt knows no package {}: if it is a virtual package, name a real one as well or leave it out \
                 (`debian.without`)",
                group.join(" or ")
            );
        };
        packages.insert(name.clone(), package.version.clone());
        groups.extend(package.depends.iter().cloned());
    }
    Ok(if unknown.is_empty() {
        Closure::Complete(packages)
    } else {
        Closure::Unknown(unknown)
    })
}

fn look_up(names: &BTreeSet<String>) -> Result<BTreeMap<String, Package>> {
    let mut show = command("apt-cache", ["show", "--no-all-versions"]);
    // It fails when it does not know one of the names, and still shows the others.
    let output = show
        .args(names)
        .stdin(Stdio::null())
        .output()
        .context("cannot start `apt-cache` (needed for images with Debian packages)")?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// Reads the output of `apt-cache show`.
fn parse(stanzas: &str) -> BTreeMap<String, Package> {
    let mut packages = BTreeMap::new();
    for stanza in stanzas.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .unwrap_or_default()
        };
        let (name, version) = (field("Package"), field("Version"));
        if name.is_empty() || version.is_empty() {
            continue;
        }
        let depends = [field("Pre-Depends"), field("Depends")]
            .into_iter()
            .flat_map(|field| field.split(','));
        let depends = depends
            .map(alternatives)
            .filter(|group| !group.is_empty())
            .collect();
        // The first stanza of a name is the version that apt prefers.
        packages.entry(name.to_owned()).or_insert(Package {
            version: version.to_owned(),
            depends,
        });
    }
    packages
}

/// `python3:any (>= 3.11) | python` names python3 and python.
fn alternatives(dependency: &str) -> Vec<String> {
    let names = dependency
        .split('|')
        .filter_map(|one| one.split_whitespace().next());
    names
        .filter_map(|name| name.split(':').next())
        .map(str::to_owned)
        .collect()
}

/// The folder in the cache with a package's files.
fn folder_of(name: &str, version: &str, cache: &Path) -> PathBuf {
    cache.join(format!("{name}_{}", version.replace([':', '/'], "%")))
}

/// Downloads and unpacks the packages that are not in the cache.
fn fetch(packages: &BTreeMap<String, String>, cache: &Path) -> Result<()> {
    let missing = packages
        .iter()
        .filter(|(name, version)| !folder_of(name, version, cache).is_dir());
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let work = cache.join(format!("unfinished.{}", std::process::id()));
    folders::make(&work)?;
    let mut apt = command("apt-get", ["download", "--quiet"]);
    apt.args(missing.iter().map(|(name, version)| format!("{name}={version}")));
    process::run(apt.current_dir(&work))?;
    let files = fs::read_dir(&work).with_context(|| format!("cannot read {}", work.display()))?;
    let files = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    for (name, version) in missing {
        let file = files.iter().find(|file| is_package_of(file, name));
        let file = file.with_context(|| format!("apt-get downloaded no file of {name}"))?;
        unpack(file, &work.join(name), &folder_of(name, version, cache))?;
    }
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
}

/// Unpacks a package in one folder, then moves it to another: a folder in the cache is complete.
fn unpack(file: &Path, unfinished: &Path, folder: &Path) -> Result<()> {
    process::run(command("dpkg-deb", ["--extract"]).arg(file).arg(unfinished))?;
    match fs::rename(unfinished, folder) {
        Err(error) if !folder.is_dir() => {
            Err(error).with_context(|| format!("cannot keep {}", folder.display()))
        }
        // Or another process has just unpacked the same.
        _ => Ok(()),
    }
}

/// Whether a file is called NAME_VERSION_ARCHITECTURE.deb.
fn is_package_of(file: &Path, name: &str) -> bool {
    let file = file.file_name().unwrap_or_default().to_string_lossy();
    file.ends_with(".deb") && file.split('_').next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOW: &str = "\
Package: python3
Version: 3.11.2-1+b1
Pre-Depends: python3-minimal (= 3.11.2-1+b1)
Depends: libssl3 (>= 3), python3:any | python
Description: a language
 Depends: not a field

Package: python3-minimal
Version: 3.11.2-1+b1
Depends: dpkg (>= 1.13), mawk | gawk

Package: libssl3
Version: 3.0.1
Depends: debconf (>= 0.5) | debconf-2.0

Package: libssl3
Version: 3.0.0

Package: gawk
Version: 1:5
";

    fn debian(packages: &[&str], without: &[&str]) -> Debian {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Debian {
            packages: owned(packages),
            without: owned(without),
        }
    }

    fn known() -> Known {
        let mut known: Known = parse(SHOW)
            .into_iter()
            .map(|(name, package)| (name, Some(package)))
            .collect();
        known.insert("mawk".into(), None);
        known.insert("python".into(), None);
        known
    }

    #[test]
    fn packages_and_their_dependencies_are_parsed() {
        let packages = parse(SHOW);
        assert_eq!(
            packages["libssl3"].version, "3.0.1",
            "the first is the preferred one"
        );
        assert_eq!(packages["python3"].depends[0], ["python3-minimal"]);
        assert_eq!(packages["python3"].depends[2], ["python3", "python"]);
    }

    #[test]
    fn all_dependencies_are_found_but_those_of_scripts() {
        let Closure::Complete(packages) = closure(&debian(&["python3"], &[]), &known()).unwrap() else {
            panic!()
        };
        let names: Vec<_> = packages.keys().map(String::as_str).collect();
        assert_eq!(names, ["gawk", "libssl3", "python3", "python3-minimal"]);
        assert_eq!(packages["gawk"], "1:5");
    }

    #[test]
    fn a_downloaded_file_is_found_by_its_package() {
        let file = Path::new("/cache/libacl1_1%3a2.3.1-3_amd64.deb");
        assert!(is_package_of(file, "libacl1") && !is_package_of(file, "libacl"));
        assert!(!is_package_of(Path::new("/cache/libacl1"), "libacl1"));
        assert_eq!(
            folder_of("libacl1", "1:2.3.1-3", Path::new("/c")),
            Path::new("/c/libacl1_1%2.3.1-3")
        );
    }

    #[test]
    fn a_package_can_be_left_out() {
        let Closure::Complete(packages) =
            closure(&debian(&["python3"], &["python3-minimal"]), &known()).unwrap()
        else {
            panic!()
        };
        assert!(!packages.contains_key("gawk") && !packages.contains_key("python3-minimal"));
    }

    #[test]
    fn unknown_packages_are_looked_up_once_and_then_refused() {
        let wanted = debian(&["python3", "nonsense"], &[]);
        let unknown = closure(&wanted, &Known::new()).unwrap();
        assert_eq!(
            unknown,
            Closure::Unknown(BTreeSet::from(["nonsense".into(), "python3".into()]))
        );
        let mut known = known();
        known.insert("nonsense".into(), None);
        assert!(
            closure(&wanted, &known)
                .unwrap_err()
                .to_string()
                .contains("nonsense")
        );
    }
}
