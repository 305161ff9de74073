//! The commands of the guides in docs/, from top to bottom.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, tokens};
use e2e_node::guide::Desk;
use e2e_node::installation::{PROJECT, PUBLISHED_IMAGE};
use e2e_node::scene::Scene;
use serde_json::json;

use super::plugin;

/// Runs every box of a document. Returns what each has printed.
fn play(scene: &Arc<Scene>, document: &str, headings: &[&str]) -> Result<Vec<String>> {
    play_at(&Desk::new(scene, document)?, document, headings)
}

/// The same, where somebody sits already.
fn play_at(desk: &Desk, document: &str, headings: &[&str]) -> Result<Vec<String>> {
    let there: Vec<_> = desk
        .guide()
        .boxes()
        .iter()
        .map(|(heading, _)| heading.to_string())
        .collect();
    ensure!(there == headings, "the boxes of {document} are {there:?}");
    let mut said = Vec::new();
    for (index, heading) in headings.iter().enumerate() {
        let number = headings[..index]
            .iter()
            .filter(|before| *before == heading)
            .count();
        said.push(desk.run(heading, number)?);
    }
    Ok(said)
}

/// Puts a file of this project where somebody sits, with the image of the operator under test in place of the published one.
fn lay_out(desk: &Desk, path: &str) -> Result<()> {
    let text = fs::read_to_string(Path::new(PROJECT).join(path))?;
    let published = format!("{PUBLISHED_IMAGE}:0.1.0");
    ensure!(text.contains(&published), "{path} has no {published}");
    let images = &desk.scene().node.images;
    let file = desk.folder().join(path);
    fs::create_dir_all(file.parent().context("a path without a folder")?)?;
    fs::write(file, text.replace(&published, &images.operator))?;
    Ok(())
}

fn shows(said: &str, expected: &[&str]) -> Result<()> {
    for text in expected {
        ensure!(said.contains(text), "{text:?} is not in {said}");
    }
    Ok(())
}

pub async fn the_first_steps_are_as_the_guide_says(scene: Arc<Scene>) -> Result<()> {
    let headings = [
        "A cluster",
        "Write and read",
        "Lose MAIN",
        "Lose MAIN",
        "Remove it",
    ];
    let said = play(&scene, "docs/getting-started.md", &headings)?;
    shows(&said[0], &["condition met", "demo-0"])?;
    shows(&said[1], &["Zagreb"])?;
    shows(&said[2], &["condition met", "\"cities\"\n\"1\"\n"])?;
    ensure!(
        said[3].lines().count() == 2 && said[3].contains("Bootstrap"),
        "the history is {}",
        said[3]
    );
    let left = scene.kubectl(&["get", "memgraphclusters,pvc", "--output=name"])?;
    ensure!(left.is_empty(), "there are still {left}");
    Ok(())
}

pub async fn a_cluster_grows_and_shrinks_as_the_guide_says(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let said = play(
        &scene,
        "docs/how-to/scale.md",
        &["Instances", "Instances", "Larger volumes"],
    )?;
    shows(&said[2], &["data-demo-0", "20Gi"])?;
    database.settled().await?;
    database.expect_everywhere(&["before"]).await
}

pub async fn a_running_cluster_is_looked_at_and_changed_as_the_guides_say(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let said = play(&scene, "docs/how-to/monitor.md", &[""])?;
    shows(
        &said[0],
        &["\"cluster_state\"", "\"demo-0\"", "memgraph_operator_ready 1"],
    )?;
    play(
        &scene,
        "docs/how-to/upgrade.md",
        &["Before", "Before", "Change and watch"],
    )?;
    database.settled().await?;
    database.expect_everywhere(&["before"]).await
}

pub async fn a_backup_is_made_and_restored_as_the_guide_says(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.settled().await?;
    let desk = Desk::new(&scene, "docs/how-to/backup.md")?.with_programs(&plugin::folder()?);
    lay_out(&desk, "examples/backup/nightly.yaml")?;
    let headings = ["By hand", "Each night", "Restore", "Restore", "Restore"];
    let said = play_at(&desk, "docs/how-to/backup.md", &headings)?;
    let by_hand = said[0].lines().last().context("nothing is printed")?;
    let held = format!("backups/{}/demo/", scene.namespace);
    ensure!(by_hand.starts_with(&held), "the file is {by_hand}");
    ensure!(
        fs::metadata(desk.folder().join(by_hand))?.len() > 0,
        "the file is empty"
    );
    shows(&said[1], &[&format!("/{held}")])?;
    shows(&said[4], &["\"nodes\"\n\"1\"\n"])?;
    let restored = Database::new(Arc::clone(&scene), "restored");
    restored.settled().await?;
    restored.expect_everywhere(&["before"]).await?;
    restored.write("after").await?;
    // The old one goes on, and knows nothing of it.
    let old = tokens(database.gateway().await?).await?;
    ensure!(
        old.iter().eq(["before"]),
        "the cluster that was backed up has {old:?}"
    );
    Ok(())
}
