//! A gateway that is out of file descriptors recovers.

use std::{
    fs::File,
    io::{self, Write},
    process::Command,
    sync::{Arc, Mutex},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing_subscriber::fmt::MakeWriter;

use super::{
    cluster::{Build, demo},
    harness::{Instance, TestGateway, assert_connected, soon},
};
use crate::gateway::descriptors::raise_limit;

const INNER: &str = "gateway::tests::descriptors::inner_accepting_goes_on_when_descriptors_are_free_again";

#[test]
fn accepting_goes_on_when_descriptors_are_free_again() {
    // The bound holds for a whole process, hence one of its own.
    let inner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", INNER, "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&inner.stdout);
    assert!(inner.status.success() && output.contains("1 passed"), "{output}");
}

/// What the gateway has logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().unwrap()).contains(text)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
#[ignore = "takes all descriptors of its process; run by the test above"]
async fn inner_accepting_goes_on_when_descriptors_are_free_again() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let main = Instance::start().await;
    let gateway = TestGateway::serving(&demo().main_at("demo-0", main.address)).await;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let bound = |current| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(current),
                maximum,
            },
        )
        .unwrap();
    };
    bound(64);
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // One for the client; none for the gateway's end of it.
    hoard.pop();
    let mut client = gateway.client().await;
    client.write_all(b"early").await.unwrap();
    soon(async {
        while !log.contains("cannot accept connections") {
            tokio::task::yield_now().await;
        }
    })
    .await;

    drop(hoard);
    let mut instance = main.accept().await;
    let mut early = [0; 5];
    soon(instance.read_exact(&mut early)).await.unwrap();
    assert_connected(&mut client, &mut instance).await;

    raise_limit();
    assert_eq!(getrlimit(Resource::Nofile).current, maximum);
}
