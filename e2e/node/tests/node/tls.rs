//! TLS of the instances, and TLS with clients that ends at the gateways, both at the same time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT};
use e2e_node::scene::Scene;
use e2e_node::secrecy::nothing_shows_a_secret;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;
use tokio::task::block_in_place;

/// Runs a statement over TLS, and prints the ids that it returns. Arguments: the authority, host and statement.
const ASK: &str = r#"
import neo4j, ssl, sys
authority, host, statement = sys.argv[1:]
trusted = ssl.create_default_context(cadata=authority)
with neo4j.GraphDatabase.driver(f"bolt://{host}:7687", ssl_context=trusted) as driver:
    print(",".join(sorted(record["id"] for record in driver.execute_query(statement).records)))
"#;

/// One transaction, which goes on when it is told to. Arguments: the authority and host.
const LONG: &str = r#"
import neo4j, ssl, sys
authority, host = sys.argv[1:]
trusted = ssl.create_default_context(cadata=authority)
with neo4j.GraphDatabase.driver(f"bolt://{host}:7687", ssl_context=trusted) as driver:
    with driver.session() as session, session.begin_transaction() as transaction:
        transaction.run("CREATE (:Token {id: 'long-1'})").consume()
        print("begun", flush=True)
        sys.stdin.readline()
        transaction.run("CREATE (:Token {id: 'long-2'})").consume()
        transaction.commit()
    print("committed", flush=True)
"#;

/// Shakes hands at these addresses with one who must be that host. Arguments: the authority, host and addresses.
const SHAKE_HANDS: &str = r#"
import socket, ssl, sys
authority, host, *addresses = sys.argv[1:]
trusted = ssl.create_default_context(cadata=authority)
for address in addresses:
    with socket.create_connection((address, 7687)) as connection:
        trusted.wrap_socket(connection, server_hostname=host).close()
"#;

/// An authority that vouches for this test's servers.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// As text (PEM).
    fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Puts a certificate for these hosts into a Secret, with its key and this authority.
    pub(super) fn sign(&self, scene: &Scene, secret: &str, hosts: &[&str]) -> Result<()> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(hosts)?;
        params.use_authority_key_identifier_extension = true;
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": secret},
            "stringData": {
                "tls.crt": params.signed_by(&key, &self.0)?.pem(),
                "tls.key": key.serialize_pem(),
                "ca.crt": self.certificate(),
            },
        });
        scene.apply(&secret.to_string())
    }
}

/// A transaction in the client's pod that waits for a word.
struct Transaction(Child);

impl Transaction {
    fn begin(scene: &Scene, authority: &str, host: &str) -> Result<Self> {
        let namespace = ["--namespace", &scene.namespace];
        let program = [
            "exec", "--stdin", "client", "--", "python3", "-c", LONG, authority, host,
        ];
        let mut command = scene
            .node
            .cluster
            .kubectl()
            .command(&[&namespace[..], &program].concat());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut transaction = Self(child.context("cannot start kubectl")?);
        transaction.expect("begun")?;
        Ok(transaction)
    }

    fn go_on(mut self) -> Result<()> {
        let tell = self.0.stdin.as_mut().context("it takes no word")?;
        tell.write_all(b"go on\n")?;
        self.expect("committed")
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        let told = self.0.stdout.as_mut().context("it tells nothing")?;
        // It says nothing between what is expected here, so nothing is left in this reader.
        block_in_place(|| BufReader::new(told).read_line(&mut line))?;
        ensure!(
            line.trim() == word,
            "the transaction says {line:?} instead of {word:?}"
        );
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program in the client's pod.
fn run(scene: &Scene, program: &str, arguments: &[&str]) -> Result<String> {
    let python = ["exec", "client", "--", "python3", "-c", program];
    Ok(scene
        .kubectl(&[&python[..], arguments].concat())?
        .trim()
        .to_owned())
}

/// Waits until the gateways of this Service lead to somebody who answers so, as a driver does that tries again.
async fn expect(scene: &Scene, authority: &str, host: &str, statement: &str, ids: &str) -> Result<()> {
    until(&format!("{statement} at {host}"), SETTLE_LIMIT, async || {
        let found = run(scene, ASK, &[authority, host, statement])?;
        ensure!(found == ids, "the answer is {found:?}");
        Ok(Some(()))
    })
    .await
}

async fn gateway_addresses(scene: &Scene) -> Result<Vec<String>> {
    let address = |pod: Pod| pod.status?.pod_ip;
    let addresses = scene.gateways().await?.into_iter().map(address);
    addresses
        .collect::<Option<_>>()
        .context("a gateway without an address")
}

pub async fn ends_at_gateways_leads_to_each_main_and_changes_without_a_session_cut(
    scene: Arc<Scene>,
) -> Result<()> {
    const ALL: &str = "MATCH (t:Token) RETURN t.id AS id";
    let hosts = ["demo-gateway", "demo-gateway-read"];
    let writers = hosts[0];
    let (of_instances, first) = (Authority::new("instances")?, Authority::new("gateways, first")?);
    let any_instance = format!("*.demo-instances.{}.svc", scene.namespace);
    of_instances.sign(&scene, "graph-tls", &[&any_instance])?;
    first.sign(&scene, "demo-gateway-tls", &hosts)?;
    let spec = json!({
        "tls": {"secretRef": {"name": "graph-tls"}},
        "gateway": {"tls": {"secretRef": {"name": "demo-gateway-tls"}}},
    });
    let database = scene.start("demo", spec).await?;
    expect_encrypted(&database).await?;
    scene.start_client()?;
    let trusted = first.certificate();
    let create = |id| format!("MERGE (t:Token {{id: '{id}'}}) RETURN t.id AS id");
    expect(&scene, &trusted, writers, &create("first"), "first").await?;

    // Another certificate, of another authority: connections from then on get it, and this one goes on.
    let transaction = Transaction::begin(&scene, &trusted, writers)?;
    let pods = gateway_addresses(&scene).await?;
    let second = Authority::new("gateways, second")?;
    second.sign(&scene, "demo-gateway-tls", &hosts)?;
    let distrusted = trusted;
    let trusted = second.certificate();
    let everywhere: Vec<&str> = [trusted.as_str(), writers]
        .into_iter()
        .chain(pods.iter().map(String::as_str))
        .collect();
    until(
        "all gateways to have the new certificate",
        SETTLE_LIMIT,
        async || run(&scene, SHAKE_HANDS, &everywhere).map(Some),
    )
    .await?;
    let refused = run(&scene, SHAKE_HANDS, &[&distrusted, writers, &pods[0]]);
    let refused = format!(
        "{:#}",
        refused.err().context("the former certificate is shown, too")?
    );
    ensure!(refused.contains("CERTIFICATE_VERIFY_FAILED"), "{refused}");
    transaction.go_on()?;
    ensure!(gateway_addresses(&scene).await? == pods, "gateways were replaced");
    expect(&scene, &trusted, writers, ALL, "first,long-1,long-2").await?;

    let (term, lost) = (database.ledger().await?.term, database.main().await?);
    scene.node.kill(&database.pod(&lost).await?)?;
    expect(&scene, &trusted, writers, &create("next"), "next").await?;
    database.settled_after(term).await?;
    ensure!(database.main().await? != lost, "{lost} is MAIN again");
    expect_encrypted(&database).await?;
    for host in hosts {
        expect(&scene, &trusted, host, ALL, "first,long-1,long-2,next").await?;
    }
    // Behind the gateways the instances speak TLS, too, each by its own name.
    let instance = database.main().await?;
    let name = format!("{instance}.demo-instances.{}.svc", scene.namespace);
    run(&scene, SHAKE_HANDS, &[&of_instances.certificate(), &name, &name])?;
    nothing_shows_a_secret(&scene, &[]).await
}

/// Every instance takes TLS only, as the status says.
async fn expect_encrypted(database: &Database) -> Result<()> {
    let status = database.status().await?;
    let plain: Vec<_> = status.instances.iter().filter(|instance| !instance.tls).collect();
    ensure!(plain.is_empty(), "without TLS: {plain:?}");
    ensure!(
        status.instances.len() == 3,
        "there are {} instances",
        status.instances.len()
    );
    Ok(())
}
