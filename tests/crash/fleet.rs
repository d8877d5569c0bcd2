//! The daemon and a fleet that lives and dies.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use witness_lab::node::Mode;

use crate::world::{Nodes, World};

/// A rule that is quick and still has everything in it: strikes, warm-up, spacing, probation, a penalty for coming and
/// going that is soon forgotten.
fn quick(text: String) -> String {
    text.replace("strike_spacing = \"0s\"", "strike_spacing = \"150ms\"")
        .replace("warmup_rounds = 0", "warmup_rounds = 2")
        .replace("probation = \"0s\"", "probation = \"1s\"")
        .replace("[probes.https]", "[policy.comeback]\nhalf_life = \"1s\"\n\n[probes.https]")
}

fn strikes(world: &World) -> i64 {
    world.reader().view().counts().unwrap().strikes
}

#[test]
fn one_dies_and_comes_back() {
    let nodes = Nodes::start();
    let world = World::with(&nodes, quick);
    let mut daemon = world.daemon();
    daemon.ticks(5);
    for round in 1..=2 {
        nodes.fleet.nodes[2].power_off().unwrap();
        world.wait("it leaves", || world.members() == [1, 2, 4].into());
        daemon.ticks(3);
        assert_eq!(world.standing("slice3"), "withdrawn");
        nodes.fleet.nodes[2].power_on().unwrap();
        world.wait("it returns", || world.members() == [1, 2, 3, 4].into());
        daemon.ticks(3);
        assert_eq!(world.standing("slice3"), "serving");
        assert_eq!(world.writes(), 2 * round);
    }
    daemon.process.signal(Signal::TERM);
    assert!(daemon.process.wait(crate::world::PATIENCE).is_some_and(|status| status.success()));
    let reader = world.reader();
    for intent in world.intents() {
        assert_eq!(intent.state.name(), "confirmed", "{intent:?}");
    }
    reader.view().integrity().unwrap();
    let told = world.run(&["history", "slice3"]).is(0).out;
    for word in ["strike", "withdraw", "reinstate", "S2.strikes", "S4.probation"] {
        assert!(told.contains(word), "no {word:?} in {told}");
    }
    world.assert_zone_whole("died and came back");
    world.assert_nothing_panicked("died and came back");
}

/// The last ones stay, whatever they look like.
#[test]
fn all_die() {
    let nodes = Nodes::start();
    let world = World::with(&nodes, quick);
    let mut daemon = world.daemon();
    daemon.ticks(5);
    for node in &nodes.fleet.nodes {
        node.power_off().unwrap();
    }
    world.wait("two leave", || world.members().len() == 2);
    daemon.ticks(12);
    assert_eq!(world.members().len(), 2);
    world.assert_zone_whole("all dead");
    for node in &nodes.fleet.nodes {
        node.power_on().unwrap();
    }
    world.wait("all return", || world.members().len() == 4);
}

#[test]
fn a_witness_that_was_suspended_convicts_nobody() {
    let nodes = Nodes::start();
    // So that at every moment a probe waits for its answer.
    for node in &nodes.fleet.nodes {
        node.set(Mode::Slow(Duration::from_millis(150))).unwrap();
    }
    let world = World::with(&nodes, |text| {
        quick(text)
            .replace("timeout = \"4s\"", "timeout = \"1s\"")
            .replace("connect_timeout = \"2s\"", "connect_timeout = \"1s\"")
    });
    let mut daemon = world.daemon();
    daemon.ticks(5);
    let before = strikes(&world);
    for seconds in [2, 2, 3] {
        daemon.process.signal(Signal::STOP);
        std::thread::sleep(Duration::from_secs(seconds));
        daemon.process.signal(Signal::CONT);
        daemon.ticks(4);
    }
    daemon.ticks(5);
    assert_eq!((world.writes(), world.members().len()), (0, 4));
    assert_eq!(strikes(&world) - before, 0, "{}", world.run(&["history"]).out);
}

/// A host that can fall silent: its backlog is full then, so that it neither accepts nor refuses.
struct Anchor {
    address: SocketAddr,
    up: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    held: Vec<TcpStream>,
}

impl Anchor {
    fn start() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(1).unwrap();
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (up, ended) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (up, ended) = (up.clone(), ended.clone());
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    if up.load(Ordering::Relaxed) {
                        match listener.accept() {
                            Ok(_) => continue,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                        }
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        };
        Self { address, up, ended, thread: Some(thread), held: Vec::new() }
    }

    fn fall_silent(&mut self) {
        self.up.store(false, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
        while let Ok(stream) = TcpStream::connect_timeout(&self.address, Duration::from_millis(200)) {
            self.held.push(stream);
            assert!(self.held.len() < 100, "its backlog is endless");
        }
    }

    fn answer(&mut self) {
        self.held.clear();
        self.up.store(true, Ordering::Relaxed);
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn failures_while_the_anchors_fail_are_our_own() {
    let nodes = Nodes::start();
    let mut anchors = [Anchor::start(), Anchor::start(), Anchor::start()];
    let world = World::with(&nodes, |text| {
        let list: Vec<String> = anchors.iter().map(|anchor| format!("\"{}\"", anchor.address)).collect();
        quick(text)
            .replace("anchors = []", &format!("anchors = [{}]", list.join(", ")))
            .replace("connect_timeout = \"2s\"", "connect_timeout = \"400ms\"")
    });
    let fleet = |world: &World| -> String {
        let status: Value = world.run(&["status", "--json"]).is(0).json();
        status["fleet"].as_str().unwrap().to_owned()
    };
    let mut daemon = world.daemon();
    world.wait("all is well", || world.ticks() > 0 && fleet(&world) == "normal");
    for anchor in &mut anchors {
        anchor.fall_silent();
    }
    for node in &nodes.fleet.nodes {
        node.power_off().unwrap();
    }
    world.wait("it knows that it cannot see", || fleet(&world) == "isolated");
    daemon.ticks(10);
    assert_eq!(fleet(&world), "isolated");
    for node in &nodes.fleet.nodes {
        node.power_on().unwrap();
    }
    daemon.ticks(5);
    for anchor in &mut anchors {
        anchor.answer();
    }
    world.wait("it sees again", || fleet(&world) == "normal");
    daemon.ticks(5);
    assert_eq!((strikes(&world), world.writes()), (0, 0), "{}", world.run(&["history"]).out);

    // With its eyes open it does strike.
    nodes.fleet.nodes[1].power_off().unwrap();
    world.wait("it leaves", || world.members() == [1, 3, 4].into());
}
