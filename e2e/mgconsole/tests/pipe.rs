//! Statements through a pipe, to a simulated server.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// How long a test waits for something that happens within milliseconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A server in this process, which ends with it.
struct Server {
    port: u16,
    data: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

impl Server {
    fn start() -> Self {
        Self::start_with(|_| Vec::new())
    }

    /// Starts a server with more flags, which may name files in a folder of its own.
    fn start_with(flags: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let port = free_port();
        let data = std::env::temp_dir().join(format!("mgconsole-test-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let mut arguments = vec![
            format!("--bolt-port={port}"),
            "--bolt-address=127.0.0.1".into(),
            format!("--data-directory={}", data.join("data").display()),
            // Only one of several servers can have them.
            format!("--monitoring-port={}", free_port()),
            format!("--metrics-port={}", free_port()),
        ];
        arguments.extend(flags(&data));
        std::thread::spawn(move || memgraph_sim::server::run(arguments).unwrap());
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < limit, "the server does not open its port");
            std::thread::yield_now();
        }
        Self { port, data }
    }

    fn pipe(&self, flags: &[&str], statements: &str) -> Output {
        pipe(self.port, flags, statements)
    }

    /// What is printed for statements that work.
    fn prints(&self, flags: &[&str], statements: &str) -> String {
        let output = self.pipe(flags, statements);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn pipe(port: u16, flags: &[&str], statements: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_mgconsole"))
        .arg(format!("--port={port}"))
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who has failed already does not read.
    let _ = process.stdin.take().unwrap().write_all(statements.as_bytes());
    process.wait_with_output().unwrap()
}

#[test]
fn as_a_library_it_returns_the_rows_of_one_statement() {
    let server = Server::start();
    let server = mgconsole::Server {
        host: "127.0.0.1".into(),
        port: server.port,
        tls: false,
        username: String::new(),
        password: String::new(),
        patience: Duration::ZERO,
    };
    let rows = mgconsole::ask(&server, "UNWIND ['a', 'b'] AS x RETURN x, 1 AS one").unwrap();
    let texts: Vec<_> = rows.iter().map(|row| row["x"].as_str()).collect();
    assert_eq!(texts, [Some("a"), Some("b")]);
    assert_eq!(rows[0]["one"].as_str(), None);
    let refused = mgconsole::ask(&server, "SHOW NONSENSE").unwrap_err();
    assert!(matches!(refused, mgconsole::Failure::Query(_)), "{refused}");
    let nobody = mgconsole::Server {
        port: free_port(),
        ..server
    };
    let unanswered = mgconsole::ask(&nobody, "RETURN 1").unwrap_err();
    assert!(
        matches!(unanswered, mgconsole::Failure::Connection(_)),
        "{unanswered}"
    );
}

#[test]
fn the_recipe_of_the_manual_works() {
    let server = Server::start();
    let flags = ["--output-format", "csv", "--username=memgraph"];
    assert_eq!(
        server.prints(&flags, "SHOW REPLICATION ROLE;\n"),
        "\"replication role\"\n\"\"\"main\"\"\"\n"
    );
    assert_eq!(
        server.prints(&flags, "SHOW REPLICAS;\n"),
        "",
        "no rows, no header"
    );
}

#[test]
fn rows_are_shown_and_what_has_no_end_is_dropped() {
    let server = Server::start();
    let shown = server.prints(
        &[],
        "CREATE (:A:B {x: 1.5, name: 'it''s'})-[:R]->(:C);\nMATCH (n)-[r]->(m) RETURN n, r, m; CREATE (:Never)\n"
            .replace("it''s", "it\\'s")
            .as_str(),
    );
    assert_eq!(
        shown,
        "+--------------------------------+--------------------------------+--------------------------------+\n\
         | n                              | r                              | m                              |\n\
         +--------------------------------+--------------------------------+--------------------------------+\n\
         | (:A:B {name: \"it\\'s\", x: 1.5}) | [:R]                           | (:C)                           |\n\
         +--------------------------------+--------------------------------+--------------------------------+\n"
    );
    let count = "MATCH (n) RETURN count(n) AS n;";
    assert_eq!(
        server.prints(&["-output_format=csv"], &format!("{count}\n")),
        "\"n\"\n\"2\"\n"
    );
    assert_eq!(server.prints(&[], count), "", "the last line has no end, either");
    let many = "UNWIND range(1, 3) AS i RETURN 'CREATE (:T {i: ' + toString(i) + '});' AS q;\n";
    assert_eq!(
        server.prints(&["--output-format=cypherl"], many),
        "CREATE (:T {i: 1});\nCREATE (:T {i: 2});\nCREATE (:T {i: 3});\n"
    );
}

#[test]
fn the_first_failure_is_the_end() {
    let server = Server::start();
    let output = server.pipe(&[], "CREATE (:T);\nnonsense;\nCREATE (:T);\n");
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    let (first, second) = errors.split_once('\n').unwrap();
    assert_eq!(first, "Failed query: nonsense");
    assert!(
        second.starts_with("Client received query exception: "),
        "{errors}"
    );
    let count = server.prints(&["--output-format=csv"], "MATCH (n) RETURN count(n) AS n;\n");
    assert_eq!(count, "\"n\"\n\"1\"\n");
}

#[test]
fn who_does_not_get_in_is_told_why() {
    let nobody = pipe(free_port(), &[], "RETURN 1;\n");
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&nobody.stderr),
        "Connection failure: couldn't connect to host: Connection refused\n"
    );
    let server = Server::start();
    server.prints(&[], "CREATE USER memgraph IDENTIFIED BY 'secret';\n");
    let wrong = server.pipe(&["--username=memgraph", "--password=wrong"], "RETURN 1;\n");
    assert_eq!(wrong.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(errors.starts_with("Connection failure: "), "{errors}");
    let right = ["--username=memgraph", "--password=secret", "--output-format=csv"];
    assert_eq!(server.prints(&right, "RETURN 1 AS one;\n"), "\"one\"\n\"1\"\n");
}

#[test]
fn large_results_arrive_whole() {
    let server = Server::start();
    let long = "x".repeat(100_000);
    let shown = server.prints(&["--output-format=csv"], &format!("RETURN '{long}' AS text;\n"));
    assert_eq!(shown, format!("\"text\"\n\"\"\"{long}\"\"\"\n"));
    let shown = server.prints(&["--output-format=csv"], "UNWIND range(1, 5000) AS i RETURN i;\n");
    assert_eq!(shown.lines().count(), 5001);
}

#[test]
fn a_server_with_tls_is_reached_with_tls() {
    let server = Server::start_with(|folder| {
        let made = rcgen::generate_simple_self_signed(["anybody".to_owned()]).unwrap();
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        vec![
            format!("--bolt-cert-file={}", certificate.display()),
            format!("--bolt-key-file={}", key.display()),
        ]
    });
    let flags = ["--use-ssl", "--output-format=csv"];
    assert_eq!(server.prints(&flags, "RETURN 1 AS one;\n"), "\"one\"\n\"1\"\n");
    let plain = server.pipe(&[], "RETURN 1 AS one;\n");
    assert_eq!(plain.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&plain.stderr).into_owned();
    assert!(errors.starts_with("Connection failure: "), "{errors}");
}
