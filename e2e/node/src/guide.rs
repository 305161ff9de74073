//! What the documentation tells people to type, as it stands there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use e2e_cluster::process;

use crate::scene::Scene;
use crate::shell::Terminal;

/// What stands for a test's namespace in the documentation.
const NAMESPACE: &str = "graphs";

/// The image of Memgraph, in whose place the tests have their own.
const MEMGRAPH: &str = "memgraph/memgraph:3.12.0";

/// The image of Memgraph's command line client, in whose place the tests have their own.
const MGCONSOLE: &str = "memgraph/mgconsole";

/// What stands for somebody's image of the operator, as the chart's values.
const OPERATOR: &str = "image.repository=registry.example.com/memgraph-operator --set image.tag=0.1.0";

/// A document with commands in boxes that begin with ```` ```sh ````.
pub struct Guide {
    text: String,
}

impl Guide {
    /// Reads a document of this project.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn read(name: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { text })
    }

    /// The boxes by the heading that they stand under, in their order.
    pub fn boxes(&self) -> Vec<(&str, String)> {
        let (mut boxes, mut heading, mut open) = (Vec::new(), "", None::<Vec<&str>>);
        for line in self.text.lines() {
            open = match open {
                Some(script) if line == "```" => {
                    boxes.push((heading, script.join("\n")));
                    None
                }
                Some(mut script) => {
                    script.push(line);
                    Some(script)
                }
                None if line == "```sh" => Some(Vec::new()),
                None => {
                    heading = line.strip_prefix("## ").unwrap_or(heading);
                    None
                }
            };
        }
        boxes
    }

    /// The box of that number, from 0 on, under a heading, with the names of a test in place of the document's.
    ///
    /// # Errors
    /// When there is none.
    pub fn script(&self, heading: &str, number: usize, scene: &Scene) -> Result<String> {
        let boxes = self.boxes();
        let script = boxes
            .iter()
            .filter(|(found, _)| *found == heading)
            .nth(number)
            .map(|(_, script)| script)
            .with_context(|| format!("there is no box {number} under {heading:?}"))?;
        let images = &scene.node.images;
        let operator = images.operator.replacen(':', " --set-string image.tag=", 1);
        Ok(script
            .replace(NAMESPACE, &scene.namespace)
            .replace(MEMGRAPH, &images.memgraph)
            .replace(MGCONSOLE, &images.mgconsole)
            .replace(OPERATOR, &format!("image.repository={operator}")))
    }
}

/// Where somebody sits who types what a document says. Its folder is removed in the end.
pub struct Desk {
    guide: Guide,
    scene: Arc<Scene>,
    folder: PathBuf,
    programs: Vec<PathBuf>,
    environment: Vec<(String, PathBuf)>,
}

impl Desk {
    /// With a document, in an empty folder.
    ///
    /// # Errors
    /// When the document or the folder is not to be had.
    pub fn new(scene: &Arc<Scene>, document: &str) -> Result<Self> {
        let folder = std::env::temp_dir().join(&scene.namespace);
        fs::create_dir(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self {
            guide: Guide::read(document)?,
            scene: Arc::clone(scene),
            folder,
            programs: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// With further programs: a folder of the search path.
    #[must_use]
    pub fn with_programs(mut self, folder: &Path) -> Self {
        self.programs.push(folder.to_owned());
        self
    }

    /// With a folder in a variable of the environment.
    #[must_use]
    pub fn with_environment(mut self, variable: &str, folder: &Path) -> Self {
        self.environment.push((variable.to_owned(), folder.to_owned()));
        self
    }

    /// The document.
    pub fn guide(&self) -> &Guide {
        &self.guide
    }

    /// The test that it belongs to.
    pub fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    /// Where commands run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a box of the document and returns what it prints.
    ///
    /// # Errors
    /// When there is no such box, or one of its commands fails.
    pub fn run(&self, heading: &str, number: usize) -> Result<String> {
        let mut command = self.command(&self.guide.script(heading, number, &self.scene)?)?;
        tokio::task::block_in_place(|| process::output(&mut command))
    }

    /// Starts a box of the document at a terminal.
    ///
    /// # Errors
    /// When there is no such box, or it cannot be started.
    pub fn type_in(&self, heading: &str, number: usize) -> Result<Terminal> {
        Terminal::start(self.command(&self.guide.script(heading, number, &self.scene)?)?)
    }

    /// A script, to be run here.
    ///
    /// # Errors
    /// When there is no search path for its programs.
    pub fn command(&self, script: &str) -> Result<Command> {
        let mut command = self.scene.node.shell(script, &self.folder, &self.programs)?;
        command.envs(self.environment.iter().cloned());
        Ok(command)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // It is among temporary files, which are removed now and then.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_found_under_their_headings() {
        let text = "# A\n\n```sh\nzero\n```\n\n## B\n\n```sh\none\n## two\n```\n```\nno command\n```\ntext\n```sh\nthree\n```\n";
        let guide = Guide {
            text: text.to_owned(),
        };
        let expected = [("", "zero"), ("B", "one\n## two"), ("B", "three")];
        assert_eq!(
            guide.boxes(),
            expected.map(|(heading, script)| (heading, script.to_owned()))
        );
    }
}
