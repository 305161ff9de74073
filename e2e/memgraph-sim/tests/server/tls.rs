//! TLS for clients and between instances.

use std::{path::Path, process::Output, sync::Arc};

use neo4rs::{ConfigBuilder, Graph, query};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    certificates::Authority,
    instance::{Folder, Instance},
    startup::run,
};

/// The magic number of Bolt and an offer of 4.1.
const HELLO: &[u8] = b"\x60\x60\xb0\x17\0\0\x01\x04\0\0\0\0\0\0\0\0\0\0\0\0";

fn bolt_flags((cert, key): &(String, String)) -> [String; 2] {
    [
        format!("--bolt-cert-file={cert}"),
        format!("--bolt-key-file={key}"),
    ]
}

fn borrowed(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

async fn connect(port: u16, authority: &Authority) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn shakes_hands(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> bool {
    let mut answer = [0; 4];
    stream.write_all(HELLO).await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && answer == [0, 0, 1, 4]
}

#[tokio::test]
async fn bolt_is_encrypted_when_both_files_are_given() {
    let folder = Folder::new();
    let authority = Authority::new(folder.path(), "ours");
    let flags = bolt_flags(&authority.issue("localhost"));
    let instance = Instance::new(&borrowed(&flags));
    assert!(shakes_hands(connect(instance.bolt, &authority).await.unwrap()).await);
    let plain = TcpStream::connect(("127.0.0.1", instance.bolt)).await.unwrap();
    assert!(!shakes_hands(plain).await);

    let half = Instance::new(&[&flags[0]]);
    assert!(shakes_hands(TcpStream::connect(("127.0.0.1", half.bolt)).await.unwrap()).await);
}

async fn reload(port: u16) -> Result<(), neo4rs::Error> {
    let config = ConfigBuilder::new()
        .uri(format!("bolt+ssc://127.0.0.1:{port}"))
        .user("")
        .password("")
        .build()?;
    Graph::connect(config)?.run(query("RELOAD BOLT_SERVER TLS")).await
}

#[tokio::test]
async fn certificates_are_read_again_on_demand() {
    let folder = Folder::new();
    let [before, after] = ["before", "after"].map(|name| Authority::new(folder.path(), name));
    let files = before.issue("localhost");
    let instance = Instance::new(&borrowed(&bolt_flags(&files)));
    let (new_cert, new_key) = after.issue("localhost");
    std::fs::rename(new_cert, &files.0).unwrap();
    std::fs::rename(new_key, &files.1).unwrap();
    assert!(connect(instance.bolt, &before).await.is_ok());
    reload(instance.bolt).await.unwrap();
    assert!(connect(instance.bolt, &before).await.is_err());
    assert!(connect(instance.bolt, &after).await.is_ok());
    // What is not usable changes nothing.
    std::fs::write(&files.0, "nothing").unwrap();
    let error = reload(instance.bolt).await.unwrap_err().to_string();
    assert!(
        error.contains("Couldn't load server certificate from file"),
        "{error}"
    );
    assert!(connect(instance.bolt, &after).await.is_ok());

    let without = Instance::new(&[]);
    let error = without
        .query("RELOAD BOLT_SERVER TLS")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("key or certificate file aren't set"), "{error}");
}

fn says(output: &Output, text: &str) -> bool {
    assert_eq!(output.status.code(), Some(134));
    String::from_utf8_lossy(&output.stderr).contains(text)
}

#[test]
fn unusable_certificates_stop_the_start() {
    let folder = Folder::new();
    let ours = Authority::new(folder.path(), "ours").issue("localhost");
    let theirs = Authority::new(folder.path(), "theirs").issue("localhost");
    let flags = bolt_flags(&("missing.pem".to_owned(), ours.1.clone()));
    let output = run(&folder, &borrowed(&flags), &[]);
    assert!(says(
        &output,
        "Couldn't load server certificate from file missing.pem. Error: "
    ));
    let flags = bolt_flags(&(ours.0.clone(), theirs.1));
    let output = run(&folder, &borrowed(&flags), &[]);
    assert!(says(&output, "Couldn't load server private key from file "));
}

fn cluster_flags(authority: &Authority, (cert, key): &(String, String)) -> [String; 3] {
    [
        format!("--cluster-cert-file={cert}"),
        format!("--cluster-key-file={key}"),
        format!("--cluster-ca-file={}", authority.file()),
    ]
}

fn member(folder: &Path, authority: &str) -> Instance {
    let authority = Authority::new(folder, authority);
    // Nobody compares the name.
    let flags = cluster_flags(&authority, &authority.issue("any-host"));
    Instance::new(&borrowed(&flags))
}

#[tokio::test]
async fn instances_of_one_authority_replicate_and_nobody_else() {
    let folder = Folder::new();
    let authority = Authority::new(folder.path(), "ours");
    let flags = cluster_flags(&authority, &authority.issue("any-host"));
    let (main, replica) = (Instance::new(&borrowed(&flags)), Instance::new(&borrowed(&flags)));
    main.must("CREATE (:T)").await;
    replica.demote().await;
    main.register("r", &replica, "STRICT_SYNC").await;
    // It lacks a transaction; as long as that is so, writes fail.
    main.until_ready("r").await;
    main.must("CREATE (:T)").await;
    assert_eq!(replica.count().await, 2);

    for stranger in [member(folder.path(), "theirs"), Instance::new(&[])] {
        stranger.demote().await;
        let port = stranger.replication;
        let register = format!("REGISTER REPLICA s ASYNC TO '127.0.0.1:{port}'");
        assert!(main.query(&register).await.is_err());
        main.must("DROP REPLICA s").await;
    }
}

#[test]
fn cluster_certificates_come_together_or_not_at_all() {
    let folder = Folder::new();
    let authority = Authority::new(folder.path(), "ours");
    let flags = cluster_flags(&authority, &authority.issue("any-host"));
    let output = run(&folder, &borrowed(&flags[..2]), &[]);
    assert!(says(
        &output,
        "Intra-cluster TLS requires --cluster-cert-file, --cluster-key-file, and"
    ));
    assert!(says(&output, "ca_file=\"\""));
    let output = run(&folder, &borrowed(&flags), &[("MEMGRAPH_SIM_VERSION", "3.10")]);
    assert_eq!(output.status.code(), Some(1), "3.10 has no such flags");
}
