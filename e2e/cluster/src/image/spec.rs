//! What an image consists of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::folders;

/// An image. In a file it is written in YAML with the field names as they are here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Name without a tag, with a registry part, such as `localhost/pause`: the tag comes from the content.
    pub name: String,
    /// Files and whole folders of this machine.
    #[serde(default)]
    pub files: Vec<File>,
    /// Empty folders.
    #[serde(default)]
    pub folders: Vec<Folder>,
    /// Symbolic links: path in the image -> what it points to.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Files of Debian packages.
    #[serde(default)]
    pub debian: Debian,
    /// Users besides `root` and `nobody`, for /etc/passwd and /etc/group.
    #[serde(default)]
    pub users: Vec<User>,
    /// Environment variables, besides `PATH`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The program and its first arguments.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Arguments that a pod's `args` replaces.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// Who runs the program: `uid:gid` in numbers; empty for root.
    #[serde(default)]
    pub user: String,
    /// Folder that the program starts in; empty for `/`.
    #[serde(default)]
    pub workdir: String,
    /// Of the processors that its programs are made for.
    #[serde(default)]
    pub architecture: Architecture,
}

/// A kind of processors, as images name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// x86_64.
    #[default]
    Amd64,
    /// aarch64. No Debian packages can be in it: they are those of this machine.
    Arm64,
}

/// A file, or a folder with all in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where it is on this machine.
    pub source: PathBuf,
    /// Absolute path in the image.
    pub path: String,
    /// Permissions, in octal digits such as `"0755"`; without, those of the source.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
}

impl File {
    /// A program that root owns and everybody may run.
    pub fn program(source: &Path, path: &str) -> Self {
        Self {
            source: source.to_owned(),
            path: path.to_owned(),
            mode: Some(Mode(0o755)),
            uid: 0,
            gid: 0,
        }
    }
}

/// An empty folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Absolute path in the image.
    pub path: String,
    /// Permissions, in octal digits; without, `0755`.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
}

/// A user with a group of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Name of both.
    pub name: String,
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Home folder.
    pub home: String,
}

/// Files of Debian packages, as `dpkg --extract` gives them: no package script is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// Names of packages; what they depend on is added.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Packages to leave out although others depend on them, with what only they need.
    #[serde(default)]
    pub without: Vec<String>,
}

/// Permissions of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

impl TryFrom<String> for Mode {
    type Error = anyhow::Error;

    fn try_from(digits: String) -> Result<Self> {
        match u32::from_str_radix(&digits, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(Self(mode)),
            _ => bail!("'{digits}' is no file mode: write octal digits in quotes, such as \"0755\""),
        }
    }
}

impl From<Mode> for String {
    fn from(mode: Mode) -> Self {
        format!("{:04o}", mode.0)
    }
}

impl ImageSpec {
    /// Reads a specification, replacing `${NAME}` by the values given. Relative sources are meant from the current folder.
    ///
    /// # Errors
    /// When the file cannot be read or understood, or uses a name without a value.
    pub fn read(file: &Path, values: &BTreeMap<String, String>) -> Result<Self> {
        let text = String::from_utf8(folders::read(file)?)
            .with_context(|| format!("{} is not text", file.display()))?;
        let parsed = substitute(&text, values).and_then(|text| Ok(serde_yaml::from_str(&text)?));
        let spec: Self = parsed.with_context(|| format!("cannot understand {}", file.display()))?;
        spec.check()
            .with_context(|| format!("wrong image specification {}", file.display()))?;
        Ok(spec)
    }

    /// Whether the values make sense.
    ///
    /// # Errors
    /// Names the value and the reason.
    pub fn check(&self) -> Result<()> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "./-_".contains(c);
        if !self.name.contains('/') || !self.name.chars().all(allowed) {
            bail!(
                "name '{}': write REGISTRY/NAME in lower case, without a tag, such as localhost/demo",
                self.name
            );
        }
        let files = self.files.iter().map(|file| &file.path);
        for path in files
            .chain(self.folders.iter().map(|folder| &folder.path))
            .chain(self.links.keys())
        {
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                bail!("path '{path}': write an absolute path without '..'");
            }
        }
        Ok(())
    }
}

fn substitute(text: &str, values: &BTreeMap<String, String>) -> Result<String> {
    let (mut result, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').context("'${' without '}'")?;
        let value = values
            .get(name)
            .with_context(|| format!("no value for ${{{name}}}: give {name}=VALUE"))?;
        result.push_str(before);
        result.push_str(value);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, values: &[(&str, &str)]) -> Result<ImageSpec> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("image.yaml");
        std::fs::write(&file, text).unwrap();
        ImageSpec::read(
            &file,
            &values
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn a_specification_is_read_with_its_values() {
        let text = "name: localhost/demo\nfiles:\n- {source: \"${TARGET}/demo\", path: /bin/demo, mode: \"0755\"}\n\
                    entrypoint: [/bin/demo]\n";
        let spec = read(text, &[("TARGET", "/out")]).unwrap();
        assert_eq!(spec.files, [File::program(Path::new("/out/demo"), "/bin/demo")]);
        assert_eq!(spec.entrypoint, ["/bin/demo"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("name: localhost/demo:latest", "without a tag"),
            ("name: demo", "REGISTRY/NAME"),
            ("name: localhost/a\nfolders: [{path: a}]", "absolute path"),
            ("name: localhost/a\nfolders: [{path: /a/../b}]", "absolute path"),
            (
                "name: localhost/a\nfolders: [{path: /a, mode: \"0999\"}]",
                "octal",
            ),
            ("name: localhost/${X}", "X=VALUE"),
            ("name: localhost/a\ncolour: red", "colour"),
        ] {
            let error = format!("{:#}", read(text, &[]).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
