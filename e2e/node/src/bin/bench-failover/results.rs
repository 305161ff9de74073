//! What was measured, kept in a file until all of it is there: a run that was broken off is gone on with.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Of what.
    pub part: Part,
    /// The operator's image: what another one did is not counted with it.
    pub image: String,
    /// For how long the client could not write: from a fault to the next acknowledgement; while MAIN moves, the longest time
    /// between two.
    pub pause: Duration,
    /// From the fault to the operator's decision; zero where there is no fault.
    pub noticed: Duration,
    /// From the operator's decision to the write that opens the route.
    pub replaced: Duration,
    /// What the operator worked on meanwhile.
    pub steps: Vec<(String, Duration)>,
    /// Tries of the client that failed; where it has a driver that tries again, transactions that did.
    pub failed: usize,
    /// The operator's writes of the cluster's status until the route was open.
    pub statuses: usize,
    /// Its Events until then.
    pub events: usize,
}

/// The measurements so far, of one image.
pub struct Results {
    file: PathBuf,
    image: String,
    all: Vec<Measured>,
}

impl Results {
    /// Takes up what a file has of this image. Lines that are not understood are another version's.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn take_up(file: &Path, image: &str) -> Result<Self> {
        let failed = || format!("cannot read {}", file.display());
        let mut all = Vec::new();
        match File::open(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            opened => {
                for line in BufReader::new(opened.with_context(failed)?).lines() {
                    let measured = serde_json::from_str::<Measured>(&line.with_context(failed)?);
                    all.extend(measured.ok().filter(|measured| measured.image == image));
                }
            }
        }
        Ok(Self {
            file: file.to_owned(),
            image: image.to_owned(),
            all,
        })
    }

    /// The image.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The measurements of one kind.
    pub fn of(&self, part: Part) -> impl Iterator<Item = &Measured> + Clone {
        self.all.iter().filter(move |measured| measured.part == part)
    }

    /// Adds one, and keeps it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, measured: Measured) -> Result<()> {
        let mut line = serde_json::to_string(&measured)?;
        line.push('\n');
        let opened = OpenOptions::new().create(true).append(true).open(&self.file);
        opened
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .with_context(|| format!("cannot write to {}", self.file.display()))?;
        self.all.push(measured);
        Ok(())
    }

    /// All is there: the next time begins anew.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn done(self) -> Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.file.display()))
            }
            _ => Ok(()),
        }
    }
}
