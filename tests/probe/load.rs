//! What nodes say that they carry, read beside the probes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use witness::model::{LoadFigure, LoadSource, Outcome, ProbeSettings, Secret};
use witness::probe::Prober;
use witness_lab::node::{Answer, Health, Mode, Node, NodeConfig};
use witness_lab::tls::Authority;

use crate::support::{HOST, https_settings, look, node, only, only_https};

const TOKEN: &str = "not-a-real-token";

/// A node that tells its health to those who have the token, and how to probe it.
struct Edge {
    lab: Node,
    folder: TempDir,
}

impl Edge {
    fn start() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new().unwrap());
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = NodeConfig::new("edge7", at, authority.identity(&[HOST]).unwrap());
        config.token = Some(TOKEN.to_owned());
        Self { lab: Node::start(config).unwrap(), folder }
    }

    fn settings(&self, path: &str, token: Option<&str>) -> ProbeSettings {
        let port = self.lab.address().port();
        let mut https = https_settings(port, self.folder.path().join("ca.pem"));
        https.url = format!("https://{HOST}:{port}{path}");
        https.token = token.map(Secret::new);
        only_https(https)
    }

    /// What a passing probe of `path` learns.
    async fn figures(&self, path: &str, token: Option<&str>) -> Vec<LoadFigure> {
        let prober = Prober::new(self.settings(path, token)).unwrap();
        let seen = only(look(&prober, &node(&["127.0.0.1"])).await);
        assert_eq!(seen.outcome, Outcome::Passed, "{seen:?}");
        prober.loads()
    }
}

#[tokio::test]
async fn the_health_document_is_read_where_the_token_opens_it() {
    let edge = Edge::start();
    edge.lab.set_health(Health {
        egress_bps: 912_000_000,
        active_connections: 2210,
        shed_step: 2,
        ..Health::of("edge7")
    });
    let figures = edge.figures("/.witness/health", Some(TOKEN)).await;
    let [figure] = figures.as_slice() else { panic!("{figures:?}") };
    let expected = LoadFigure {
        tx_bps: Some(912_000_000),
        capacity_bps: Some(1_000_000_000),
        active: Some(2210),
        shed_step: Some(2),
        // The name is the one that we know the node by.
        ..LoadFigure::new(node(&["127.0.0.1"]).id, figure.at, LoadSource::Health)
    };
    assert_eq!(*figure, expected);
    let asked = edge.lab.seen().requests.pop_back().unwrap();
    assert_eq!(asked.headers["authorization"], format!("Bearer {TOKEN}"));

    // `status` alone: the probe passes, and that is all.
    assert_eq!(edge.figures("/.witness/health", None).await, []);
    assert_eq!(edge.figures("/.witness/health", Some("another")).await, []);
}

#[tokio::test]
async fn figures_are_taken_once_and_the_newest_counts() {
    let edge = Edge::start();
    let (prober, node) = (Prober::new(edge.settings("/.witness/health", Some(TOKEN))).unwrap(), node(&["127.0.0.1"]));
    assert_eq!(prober.loads(), []);
    look(&prober, &node).await;
    edge.lab.set_health(Health { egress_bps: 7, ..Health::of("edge7") });
    look(&prober, &node).await;
    let figures = prober.loads();
    assert_eq!(figures.iter().map(|figure| figure.tx_bps).collect::<Vec<_>>(), [Some(7)]);
    assert_eq!(prober.loads(), []);
}

#[tokio::test]
async fn what_is_no_health_document_is_no_figure_and_no_fault() {
    let edge = Edge::start();
    assert_eq!(edge.figures("/", Some(TOKEN)).await, []);
    let answer = |body: &str| {
        let headers = Vec::new();
        edge.lab.set(Mode::Answer(Answer { status: 200, headers, body: body.into() })).unwrap();
    };
    // Elsewhere it is somebody else's document.
    answer(r#"{"egress_bps":7}"#);
    assert_eq!(edge.figures("/health", Some(TOKEN)).await, []);
    assert_eq!(edge.figures("/.witness/health?deep=1", Some(TOKEN)).await.len(), 1);
    for rubbish in ["", "<html>", "{\"egress_bps\":\"7\"}", "[7]", "{\"egress_bps\":7"] {
        answer(rubbish);
        assert_eq!(edge.figures("/.witness/health", Some(TOKEN)).await, [], "{rubbish}");
    }
    // Longer than is read: its beginning is not taken for the whole.
    answer(&format!("{{\"egress_bps\":7{}}}", " ".repeat(70_000)));
    assert_eq!(edge.figures("/.witness/health", Some(TOKEN)).await, []);
}

#[tokio::test]
async fn a_document_from_a_cache_is_as_old_as_it_is() {
    let edge = Edge::start();
    let mut ages = Vec::new();
    for age in ["30", "rubbish"] {
        let headers = vec![("Age".to_owned(), age.to_owned())];
        edge.lab.set(Mode::Answer(Answer { status: 200, headers, body: b"{\"egress_bps\":7}".to_vec() })).unwrap();
        let prober = Prober::new(edge.settings("/.witness/health", None)).unwrap();
        let round = look(&prober, &node(&["127.0.0.1"])).await;
        let figure = prober.loads().remove(0);
        ages.push(round.finished.since(figure.at).as_secs() >= 30);
    }
    assert_eq!(ages, [true, false]);
}

/// A node_exporter that has sent 1 MB more each time it is read, and answers only while the gate is open.
struct Exporter {
    port: u16,
    gate: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Exporter {
    async fn start(text: fn(u64) -> String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (gate, opened) = watch::channel(true);
        let task = tokio::spawn(async move {
            for turn in 1.. {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut opened = opened.clone();
                tokio::spawn(async move {
                    opened.wait_for(|open| *open).await.unwrap();
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).await;
                    let body = text(turn);
                    let head =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    let _ = stream.write_all((head + &body).as_bytes()).await;
                });
            }
        });
        Self { port, gate, task }
    }

    fn prober(&self) -> Prober {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let metrics = BTreeMap::from([(node(&["127.0.0.1"]).id, url)]);
        let settings = ProbeSettings { load_every: Duration::from_secs(3600), metrics, ..ProbeSettings::default() };
        Prober::new(settings).unwrap()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn counters(turn: u64) -> String {
    format!(
        "node_load1 0.5\nnode_cpu_seconds_total{{cpu=\"0\",mode=\"idle\"}} 1\n\
         node_network_transmit_bytes_total{{device=\"eth0\"}} {}\n\
         node_network_transmit_bytes_total{{device=\"lo\"}} {}\n",
        1_000_000 * turn,
        u64::MAX / 2048 * turn
    )
}

#[tokio::test]
async fn a_node_exporter_gives_a_rate_with_its_second_answer() {
    let exporter = Exporter::start(counters).await;
    let prober = exporter.prober();
    assert_eq!(prober.loads(), [], "nobody is read before a first round");
    prober.round(&node(&["127.0.0.1"])).await;
    prober.loads_settled().await;
    let figures = prober.loads();
    let [figure] = figures.as_slice() else { panic!("{figures:?}") };
    let about = (LoadSource::Metrics, Some(500), Some(1));
    assert_eq!((figure.source, figure.load1_milli, figure.ncpu), about);
    // 8 Mbit in the second or more that lay between.
    let rate = figure.tx_bps.unwrap();
    assert!(rate > 0 && rate <= 8_100_000, "{rate}");
}

#[tokio::test]
async fn no_round_waits_for_a_node_exporter() {
    let exporter = Exporter::start(counters).await;
    exporter.gate.send(false).unwrap();
    let prober = exporter.prober();
    prober.round(&node(&["127.0.0.1"])).await;
    assert_eq!(prober.loads(), [], "it has not answered, and the round is over");
    exporter.gate.send(true).unwrap();
    prober.loads_settled().await;
    assert_eq!(prober.loads().len(), 1);
}

#[tokio::test]
async fn a_node_exporter_that_makes_no_sense_tells_nothing() {
    let texts: [fn(u64) -> String; 4] = [
        |_| "<html>404 page not found</html>".to_owned(),
        |_| "node_load1 much\n".to_owned(),
        |_| String::new(),
        // Longer than is read: what fits is not taken for the whole.
        |_| format!("node_load1 1\n{}", "# a comment\n".repeat(400_000)),
    ];
    for text in texts {
        let exporter = Exporter::start(text).await;
        let prober = exporter.prober();
        prober.round(&node(&["127.0.0.1"])).await;
        prober.loads_settled().await;
        assert_eq!(prober.loads(), []);
    }
    // Started anew between the two: what it carries is known, what it sends is not.
    let exporter = Exporter::start(|turn| counters(9 - turn)).await;
    let prober = exporter.prober();
    prober.round(&node(&["127.0.0.1"])).await;
    prober.loads_settled().await;
    let figures = prober.loads();
    assert_eq!(figures.iter().map(|figure| (figure.tx_bps, figure.ncpu)).collect::<Vec<_>>(), [(None, Some(1))]);
}
