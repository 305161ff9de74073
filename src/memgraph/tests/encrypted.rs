//! Servers that take TLS only, and those that do not.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    memgraph::{
        Bolt, BoltError, Encryption, Neo4rsBolt, Question, Session, Trust, look, tls,
        tls::UnusableCertificate,
    },
    plan::observation::Sight,
};

const SOON: Duration = Duration::from_secs(10);
const NAME: &str = "demo-0.demo-instances.graphs.svc";
/// Version 4.3 of Bolt.
const VERSION: [u8; 4] = [0, 0, 3, 4];
/// SUCCESS with an empty list of fields, in a chunk of its own.
const SUCCESS: &[u8] = b"\x00\x0b\xb1\x70\xa1\x86fields\x90\x00\x00";

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// PEM of a certificate and of its key.
struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn trust(&self) -> Trust {
        Trust::of(self.0.pem().as_bytes()).unwrap()
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        Signed {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// How a server with a certificate of this authority's is spoken to.
    fn expects(&self, name: &str) -> Encryption {
        Encryption::Verified {
            name: ServerName::try_from(name.to_owned()).unwrap(),
            trust: self.trust(),
        }
    }
}

/// A server that agrees to whatever it is told, and is ended when it is dropped.
struct Server {
    at: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    async fn start(signed: Option<&Signed>) -> Self {
        let acceptor = signed.map(|signed| {
            let chain = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![chain], key)
                .unwrap();
            TlsAcceptor::from(Arc::new(config))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                sessions.spawn(serve(acceptor.clone(), stream));
            }
        });
        Self { at, serving }
    }
}

async fn serve(acceptor: Option<TlsAcceptor>, stream: TcpStream) -> std::io::Result<()> {
    match acceptor {
        Some(acceptor) => agree(acceptor.accept(stream).await?).await,
        None => agree(stream).await,
    }
}

async fn agree(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut proposals = [0; 20];
    stream.read_exact(&mut proposals).await?;
    if proposals[..4] != [0x60, 0x60, 0xB0, 0x17] {
        return Ok(());
    }
    stream.write_all(&VERSION).await?;
    stream.flush().await?;
    loop {
        let mut told = 0;
        loop {
            let size = stream.read_u16().await?;
            let mut chunk = vec![0; usize::from(size)];
            stream.read_exact(&mut chunk).await?;
            if size == 0 && told > 0 {
                break;
            }
            told += chunk.len();
        }
        stream.write_all(SUCCESS).await?;
        stream.flush().await?;
    }
}

async fn ask(bolt: &Neo4rsBolt, at: SocketAddr) -> Result<(), BoltError> {
    bolt.session(at).run("SHOW VERSION", SOON).await.map(drop)
}

#[tokio::test]
async fn a_server_that_shows_who_it_is_is_told_statements_again_and_again() {
    let authority = Authority::new("ours");
    let server = Server::start(Some(&authority.sign("*.demo-instances.graphs.svc", |_| {}))).await;
    let bolt = Neo4rsBolt::anonymous();
    bolt.encrypt(server.at, authority.expects(NAME));
    let mut session = bolt.session(server.at);
    for _ in 0..3 {
        assert!(session.run("SHOW VERSION", SOON).await.unwrap().is_empty());
    }
    bolt.handshake(server.at, SOON).await.unwrap();

    let mut watching = bolt.session(server.at);
    let mut watch = std::pin::pin!(watching.watch(SOON));
    assert!(timeout(Duration::from_millis(300), &mut watch).await.is_err());
    let at = server.at;
    drop(server);
    timeout(SOON, watch).await.unwrap().unwrap();
    // The port is closed once the task of the server has ended.
    while !matches!(ask(&bolt, at).await, Err(BoltError::Refused { .. })) {
        tokio::task::yield_now().await;
    }
    assert!(session.run("SHOW VERSION", SOON).await.is_err());
}

#[tokio::test]
async fn one_that_is_somebody_else_is_told_nothing_and_is_alive_all_the_same() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let ended = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    for (signed, expected) in [
        (theirs.sign(NAME, |_| {}), "UnknownIssuer"),
        (
            ours.sign("demo-1.demo-instances.graphs.svc", |_| {}),
            "not valid for",
        ),
        (ours.sign(NAME, ended), "expired"),
    ] {
        let server = Server::start(Some(&signed)).await;
        let bolt = Neo4rsBolt::anonymous();
        bolt.encrypt(server.at, ours.expects(NAME));
        let refused = ask(&bolt, server.at).await.unwrap_err();
        let BoltError::Untrusted { why, .. } = &refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains(expected), "{why}");
        bolt.handshake(server.at, SOON).await.unwrap();
        let question = Question {
            version: None,
            emptiness: false,
            storage_mode: false,
            replica_mode: false,
            patience: SOON,
        };
        let sight = look(&bolt, server.at, &question).await;
        assert!(matches!(sight, Sight::Untrusted { .. }), "{sight:?}");
    }
}

#[tokio::test]
async fn without_an_authority_hands_are_shaken_and_nothing_is_told() {
    let authority = Authority::new("ours");
    let server = Server::start(Some(&authority.sign(NAME, |_| {}))).await;
    let bolt = Neo4rsBolt::anonymous();
    bolt.encrypt(server.at, Encryption::Unverified);
    bolt.handshake(server.at, SOON).await.unwrap();
    assert!(matches!(
        ask(&bolt, server.at).await,
        Err(BoltError::Untrusted { .. })
    ));
}

#[tokio::test]
async fn plain_text_and_tls_do_not_understand_each_other() {
    let authority = Authority::new("ours");
    let plain = Server::start(None).await;
    let encrypted = Server::start(Some(&authority.sign(NAME, |_| {}))).await;
    let bolt = Neo4rsBolt::anonymous();
    bolt.encrypt(plain.at, authority.expects(NAME));
    for at in [plain.at, encrypted.at] {
        let told = ask(&bolt, at).await;
        assert!(
            told.is_err() && !matches!(told, Err(BoltError::Untrusted { .. })),
            "{told:?}"
        );
    }
    assert!(bolt.handshake(plain.at, SOON).await.is_err());
    // Its pod has been replaced by one without a certificate.
    bolt.encrypt(plain.at, Encryption::None);
    ask(&bolt, plain.at).await.unwrap();
}

#[tokio::test]
async fn where_nobody_listens_connections_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let bolt = Neo4rsBolt::anonymous();
    bolt.encrypt(at, Authority::new("ours").expects(NAME));
    assert!(matches!(ask(&bolt, at).await, Err(BoltError::Refused { .. })));
    assert!(matches!(
        bolt.handshake(at, SOON).await,
        Err(BoltError::Refused { .. })
    ));
}

#[test]
fn what_no_instance_could_show_is_found_before() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let names: Vec<_> = (0..3)
        .map(|ordinal| tls::server_name("demo", "graphs", &format!("demo-{ordinal}")).unwrap())
        .collect();
    let examine = |signed: &Signed, key: &str| {
        let (certificate, key) = (signed.certificate.as_bytes(), key.as_bytes());
        ours.trust().examine(certificate, key, &names, UnixTime::now())
    };
    let good = ours.sign("*.demo-instances.graphs.svc", |_| {});
    examine(&good, &good.key).unwrap();
    let one = ours.sign(NAME, |_| {});
    let foreign = theirs.sign("*.demo-instances.graphs.svc", |_| {});
    let ended = ours.sign("*.demo-instances.graphs.svc", |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    for (signed, expected) in [
        (&one, "make it for *.demo-instances.graphs.svc"),
        (&foreign, "UnknownIssuer"),
        (&ended, "expired"),
    ] {
        let why = examine(signed, &signed.key).unwrap_err().to_string();
        assert!(why.contains(expected), "{why}");
    }
    assert!(matches!(
        examine(&good, &one.key),
        Err(UnusableCertificate::Key(_))
    ));
    assert!(matches!(
        examine(&good, "nothing"),
        Err(UnusableCertificate::Pem { key: "tls.key", .. })
    ));
    assert!(matches!(
        Trust::of(b"nothing"),
        Err(UnusableCertificate::Empty("ca.crt"))
    ));
}
