//! The page, as headless Chromium shows it.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let answers = fleet().filter().map(Reply::into_response);
    let answer = warp::test::request().path("/").reply(&answers).await;
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert!(header("content-security-policy").starts_with("default-src 'none'"));
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    let outside = text.replace("http://www.w3.org/2000/svg", "");
    assert!(!outside.contains("http://") && !outside.contains("https://"));
    assert!(!text.contains("innerHTML"), "what is told is text, never markup");
}

/// `e2e/page/browser.py`.
struct Browser {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    fn start() -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("e2e/page/browser.py");
        let mut process = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self {
            process,
            orders,
            answers: BufReader::new(answers),
        }
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "ok\n", "{line}");
    }

    fn end(self) {
        drop(self.orders);
        let mut process = self.process;
        assert!(process.wait().unwrap().success(), "the page has logged errors");
    }
}

/// The cluster while its MAIN is being replaced, and afterwards.
fn failing_over() -> [MemgraphCluster; 2] {
    let (mut during, mut after) = (demo("demo"), demo("demo"));
    let status = during.status.as_mut().unwrap();
    status.phase = Some(crate::api::Phase::FailingOver);
    status.main = None;
    status.instances[0].health = crate::api::Health::Down;
    status.conditions[0].status = "False".to_owned();
    status.conditions[0].message = "demo-0 is gone, and demo-1 takes over".to_owned();
    let ledger = status.ledger.as_mut().unwrap();
    ledger.route = Route::Closed;
    ledger.term = 4;
    let operation = json!({"kind": "Failover", "target": "demo-1", "from": "demo-0", "startedAt": "2026-01-02T00:00:00Z"});
    ledger.operation = Some(serde_json::from_value(operation).unwrap());
    let status = after.status.as_mut().unwrap();
    status.main = Some("demo-1".to_owned());
    status.instances[0].role = crate::api::InstanceRole::Replica;
    status.instances[1].role = crate::api::InstanceRole::Main;
    let mut record = status.history[0].clone();
    (record.term, record.from, record.to) = (4, Some("demo-0".to_owned()), "demo-1".to_owned());
    status.history.insert(0, record);
    status.ledger.as_mut().unwrap().term = 4;
    [during, after]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: make page-test"]
async fn the_page_follows_a_failover() {
    let (fleet, _eyes) = leading();
    let listener = crate::http::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(crate::http::serve(
        listener,
        Arc::clone(&fleet).filter(),
        stop.clone(),
    ));
    let looking = tokio::task::spawn_blocking(move || {
        let shots = PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let shots = shots.join("page");
        std::fs::create_dir_all(&shots).unwrap();
        let shot = |name: &str| format!("shot {}/{name}.png", shots.display());
        let mut browser = Browser::start();
        browser.order("size 1100 800");
        browser.order(&format!("open http://{address}/"));
        for text in [
            "graphs/demo",
            "Operational",
            "MAIN demo-0",
            "lag 4",
            "12 sessions, 1 wait",
            "Failover demo-1 → demo-0",
        ] {
            browser.order(&format!("see {text}"));
        }
        browser.order("light");
        browser.order(&shot("light"));
        browser.order("dark");
        browser.order(&shot("dark"));

        let [during, after] = failing_over();
        fleet.see(during);
        browser.order("see MAIN moves from demo-0 to demo-1; clients wait.");
        browser.order("see demo-0 is gone, and demo-1 takes over");
        browser.order("see MAIN none");
        browser.order(&shot("failover"));
        fleet.see(after);
        browser.order("see MAIN demo-1");
        browser.order("see Failover demo-0 → demo-1");
        browser.order("gone clients wait");

        // By keyboard: the filter, then the one cluster that is left is closed and opened.
        for number in 0..200 {
            fleet.see(demo(&format!("c{number}")));
        }
        browser.order("see graphs/c199");
        browser.order("run document.querySelectorAll('details').length === 201");
        browser.order("run (filter.value = 'c17', filter.dispatchEvent(new Event('input')), true)");
        browser.order("gone graphs/c199");
        browser.order("see graphs/c17");
        browser.order("run (document.querySelector('details:not([hidden]) summary').focus(), document.activeElement.tagName === 'SUMMARY')");
        browser.order("size 390 800");
        browser.order("run document.documentElement.scrollWidth <= 390");
        browser.order(&shot("phone"));

        fleet.keep_only(&[]);
        browser.order("see There is no MemgraphCluster.");
        browser.end();
    });
    looking.await.unwrap();
    stop.cancel();
    serving.await.unwrap();
}
