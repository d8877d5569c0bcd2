//! Telling nodes to shed load: edges over https, and programs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use witness::model::{
    Action, ActionKind, ClockReading, Evidence, ExecSettings, Fleet, FleetVerdict, HttpsProbe, Judgement, Memory, Name,
    NodeJudgement, NodeVerdict, Pool, PoolMemory, ProbeAdvice, RuleId, Secret, ShedKind, ShedMemory, ShedPolicy,
    ShedSettings, Standing, Time, Vantage,
};
use witness::shed::Shedder;

use crate::support::net::closed_port;
use crate::support::pki::Authority;
use crate::support::tls::{Script, TlsServer};
use crate::support::{HOST, https_settings, ms, node};

const TOKEN: &str = "hunter2hunter2";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// n1, n2, n3 at 127.0.0.11 and so on. Pool `a` has the first two, pool `b` the last two.
fn fleet() -> Fleet {
    let pool = |id: &str, nodes: &[&str]| Pool {
        id: name(id),
        zone: "example.com".to_owned(),
        records: vec!["@".to_owned()],
        ttl: ms(60_000),
        registrar: name("it"),
        nodes: nodes.iter().map(|id| name(id)).collect(),
        nameservers: Vec::new(),
        publish_within: ms(60_000),
    };
    let mut fleet = Fleet::default();
    for number in 1..=3 {
        let mut one = node(&[&format!("127.0.0.1{number}")]);
        one.id = name(&format!("n{number}"));
        fleet.nodes.insert(one.id.clone(), one);
    }
    for pool in [pool("a", &["n1", "n2"]), pool("b", &["n2", "n3"])] {
        fleet.pools.insert(pool.id.clone(), pool);
    }
    fleet
}

/// Wants `told` to be told. The pools stand at these steps, and n1's evidence is `of_n1`.
fn judgement(told: &[&str], (a, b): (u8, u8), of_n1: Evidence) -> Judgement {
    let actions = told.iter().map(|pool| Action {
        kind: ActionKind::Shed,
        node: None,
        pool: Some(name(pool)),
        step: Some(if *pool == "a" { a } else { b }),
        rule: RuleId("L1.up".into()),
        why: String::new(),
    });
    let memory = |step| PoolMemory { shed: ShedMemory { step, ..ShedMemory::default() }, ..PoolMemory::default() };
    let n1 = NodeJudgement {
        node: name("n1"),
        verdict: NodeVerdict::Unknown,
        evidence: of_n1,
        standing: Standing::Serving,
        pin: None,
        strikes: 0,
        rule: RuleId("S0.clean".into()),
        why: String::new(),
        in_dns: BTreeMap::new(),
    };
    Judgement {
        now: ClockReading { wall: Time(0), boot_ms: 0, boot_id: String::new() },
        vantage: Vantage::Clear,
        fleet: FleetVerdict::Overload,
        fleet_rule: RuleId("R5.overload".into()),
        fleet_why: String::new(),
        nodes: vec![n1],
        strikes: Vec::new(),
        actions: actions.collect(),
        holds: Vec::new(),
        probe: ProbeAdvice::default(),
        memory: Memory { pools: [(name("a"), memory(a)), (name("b"), memory(b))].into(), ..Memory::default() },
    }
}

fn shedder(kind: ShedKind, https: Option<&HttpsProbe>) -> Arc<Shedder> {
    let settings = ShedSettings { kind, timeout: ms(5000) };
    Arc::new(Shedder::new(&settings, &ShedPolicy::default(), &fleet(), https).unwrap())
}

fn edge(port: u16, ca: &Authority) -> Arc<Shedder> {
    // What the probe asks for, and how, is of no concern here; its name, port and roots are.
    let https = https_settings(port, ca.file());
    shedder(ShedKind::Edge(Secret::new(TOKEN)), Some(&https))
}

fn exec(command: &[&str]) -> Arc<Shedder> {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    shedder(ShedKind::Exec(ExecSettings { command, environment: Vec::new() }), None)
}

/// Who would be told which step.
fn told(judgement: &Judgement) -> Vec<(String, u8, u32, u64)> {
    let orders = exec(&["true"]).orders(judgement);
    orders.into_iter().map(|order| (order.node.to_string(), order.step, order.percent, order.for_s)).collect()
}

#[test]
fn the_nodes_of_the_pool_are_told_and_each_as_its_neediest_pool_says() {
    let all = |list: &[(&str, u8, u32)]| -> Vec<(String, u8, u32, u64)> {
        list.iter().map(|(node, step, percent)| ((*node).to_owned(), *step, *percent, 300)).collect()
    };
    assert_eq!(told(&judgement(&[], (2, 0), Evidence::Fine)), []);
    assert_eq!(told(&judgement(&["a"], (2, 0), Evidence::Fine)), all(&[("n1", 2, 65), ("n2", 2, 65)]));
    let lifted = told(&judgement(&["a"], (0, 3), Evidence::Fine));
    assert_eq!(lifted, all(&[("n1", 0, 100), ("n2", 3, 50)]), "the other pool still needs it");
    let both = told(&judgement(&["a", "b"], (1, 2), Evidence::Fine));
    assert_eq!(both, all(&[("n1", 1, 80), ("n2", 2, 65), ("n3", 2, 65)]));
    for gone in [Evidence::Silent, Evidence::Down] {
        assert_eq!(told(&judgement(&["a"], (2, 0), gone)), all(&[("n2", 2, 65)]), "{gone:?}");
    }
}

#[tokio::test]
async fn an_edge_is_told_over_https_with_its_token() {
    let ca = Authority::new();
    let server = TlsServer::start(ca.server(HOST, -1, 30), Script::answer("200 OK", "{}"));
    let edge = edge(server.port, &ca);
    let failures = edge.tell(edge.orders(&judgement(&["a"], (2, 0), Evidence::Fine))).await;
    assert_eq!(failures, [""; 0]);
    let heard = server.heard();
    assert_eq!(heard.len(), 2, "each node once: {heard:?}");
    for one in heard {
        assert_eq!(one.sni.as_deref(), Some(HOST));
        assert!(one.head.starts_with("PUT /.witness/shed HTTP/1.1\r\n"), "{}", one.head);
        let head = one.head.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nauthorization: bearer {TOKEN}\r\n")), "{head}");
        assert!(head.contains(&format!("\r\nhost: {HOST}:{}\r\n", server.port)), "{head}");
        assert_eq!(one.body, r#"{"step":2,"for_s":300}"#);
    }
}

#[tokio::test]
async fn an_edge_that_does_not_take_it_is_told_of() {
    let ca = Authority::new();
    let orders = judgement(&["a"], (1, 0), Evidence::Fine);
    let check = async |edge: Arc<Shedder>, expected: &str| {
        let failures = edge.tell(edge.orders(&orders)).await;
        assert_eq!(failures.len(), 2, "{failures:?}");
        for (failure, node) in failures.iter().zip(["n1", "n2"]) {
            assert!(failure.starts_with(&format!("node {node} was not told to shed load (step 1): ")), "{failure}");
            assert!(failure.contains(expected) && !failure.contains(TOKEN), "{failure}");
        }
    };
    let server = TlsServer::start(ca.server(HOST, -1, 30), Script::status("401 Unauthorized"));
    check(edge(server.port, &ca), "is this its token?").await;
    assert_eq!(server.heard().len(), 4, "two tries each");
    let server = TlsServer::start(ca.server(HOST, -1, 30), Script::status("404 Not Found"));
    check(edge(server.port, &ca), "is there an edge of this kind?").await;
    let server = TlsServer::start(ca.server("other.example.com", -1, 30), Script::answer("200 OK", "{}"));
    check(edge(server.port, &ca), "certificate").await;
    assert_eq!(server.heard().len(), 0, "nobody else is shown the token");
    check(edge(closed_port(), &ca), "refused").await;
}

#[test]
fn edges_need_the_https_probe() {
    let settings = ShedSettings { kind: ShedKind::Edge(Secret::new(TOKEN)), timeout: ms(5000) };
    let error = Shedder::new(&settings, &ShedPolicy::default(), &fleet(), None).unwrap_err().to_string();
    assert!(error.contains("[probes.https]"), "{error}");
}

/// A program that does `what`.
fn program(folder: &Path, what: &str) -> String {
    let file = folder.join("shed");
    fs::write(&file, format!("#!/bin/sh\ncd {}\n{what}\n", folder.display())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file.display().to_string()
}

const WRITE: &str = "echo $WITNESS_NODE $WITNESS_ADDRESSES $WITNESS_STEP $WITNESS_PERCENT $WITNESS_FOR_S $1 >> told";

#[tokio::test]
async fn a_program_is_run_for_each_node() {
    let folder = tempfile::tempdir().unwrap();
    let program = program(folder.path(), WRITE);
    let exec = exec(&[&program, "now"]);
    let failures = exec.tell(exec.orders(&judgement(&["b"], (0, 3), Evidence::Fine))).await;
    assert_eq!(failures, [""; 0]);
    let mut lines: Vec<String> =
        fs::read_to_string(folder.path().join("told")).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["n2 127.0.0.12 3 50 300 now", "n3 127.0.0.13 3 50 300 now"]);
}

#[tokio::test]
async fn a_program_that_fails_for_one_node_is_run_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let program =
        program(folder.path(), &format!("[ $WITNESS_NODE = n1 ] && echo no such node >&2 && exit 3\n{WRITE}"));
    let exec = exec(&[&program]);
    let failures = exec.tell(exec.orders(&judgement(&["a"], (1, 0), Evidence::Fine))).await;
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].starts_with("node n1 was not told"), "{failures:?}");
    assert!(failures[0].contains("exit status: 3: no such node"), "{failures:?}");
    assert_eq!(fs::read_to_string(folder.path().join("told")).unwrap(), "n2 127.0.0.12 1 80 300\n");
}

#[tokio::test]
async fn what_is_older_does_not_overtake() {
    let folder = tempfile::tempdir().unwrap();
    let exec = exec(&[&program(folder.path(), WRITE)]);
    let older = exec.orders(&judgement(&["a"], (1, 0), Evidence::Silent));
    let newer = exec.orders(&judgement(&["a"], (2, 0), Evidence::Silent));
    assert_eq!(exec.tell(newer).await, [""; 0]);
    assert_eq!(exec.tell(older).await, [""; 0]);
    assert_eq!(fs::read_to_string(folder.path().join("told")).unwrap(), "n2 127.0.0.12 2 65 300\n");
}
