//! Runs tests one after the other, each in a namespace of its own.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e_cluster::interrupt::Interrupt;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Mutex;

use crate::node::Node;
use crate::scene::Scene;

/// How long one test may take. It guards against hanging, and each wait in a test has a limit of its own: a machine that
/// does much else at once is slow, and that is no failure.
const LIMIT: Duration = Duration::from_secs(900);

/// A test.
pub type Body = fn(Arc<Scene>) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// The tests of some modules by name.
#[macro_export]
macro_rules! tests {
    ($($module:ident: $($test:ident)*;)*) => {
        &[$($((
            concat!(stringify!($module), "::", stringify!($test)),
            (|scene| Box::pin($module::$test(scene))) as $crate::stage::Body,
        )),*),*]
    };
}

/// Runs those of these tests that the arguments of this program ask for, on the node that `up` makes.
///
/// # Errors
/// When there is no node, or it cannot be removed.
pub fn run(
    tests: impl Iterator<Item = &'static (&'static str, Body)>,
    up: impl AsyncFnOnce(&Interrupt) -> Result<Node>,
) -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // They share a node of two cores or so, and measure times.
    arguments.test_threads = Some(1);
    let wanted = arguments.ignored || arguments.include_ignored;
    if arguments.list || !wanted {
        let trials = tests.map(|(name, _)| Trial::test(*name, || Ok(())).with_ignored_flag(true));
        return Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code());
    }
    // Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = Runtime::new().context("cannot start the asynchronous runtime")?;
    let interrupt = Interrupt::on_signals()?;
    let node = Arc::new(runtime.block_on(up(&interrupt))?);
    runtime.spawn(Arc::clone(&node).down_on_signal());
    let leaving = Arc::new(Mutex::new(None));
    let trials = tests.map(|(name, body)| {
        let stage = Stage {
            node: Arc::clone(&node),
            leaving: Arc::clone(&leaving),
        };
        trial(name, *body, stage, runtime.handle())
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    node.down()?;
    Ok(conclusion.exit_code())
}

/// Where tests play, one after the other.
struct Stage {
    node: Arc<Node>,
    /// The last test's namespace, which vanishes while the next test plays.
    leaving: Arc<Mutex<Option<Arc<Scene>>>>,
}

fn trial(name: &'static str, body: Body, stage: Stage, runtime: &Handle) -> Trial {
    let runtime = runtime.clone();
    let test = move || {
        let begin = Instant::now();
        let result = runtime.block_on(play(name, body, stage));
        eprintln!("          {name}: {:.1} s", begin.elapsed().as_secs_f64());
        result.map_err(|error| Failed::from(format!("{error:#}")))
    };
    Trial::test(name, test).with_ignored_flag(true)
}

async fn play(name: &str, body: Body, stage: Stage) -> Result<()> {
    let scene = Arc::new(Scene::new(stage.node, name).await?);
    let ended = tokio::time::timeout(LIMIT, body(Arc::clone(&scene))).await;
    let result = ended.unwrap_or_else(|_| Err(anyhow::anyhow!("not done after {} s", LIMIT.as_secs())));
    if result.is_err() {
        scene.tell_state();
    }
    let removed = scene.remove().await;
    let before = stage.leaving.lock().await.replace(scene);
    let vanished = match before {
        Some(before) => before.vanished().await,
        None => Ok(()),
    };
    result.and(removed).and(vanished)
}
