//! A Namecheap of our own: the API's three calls over plain HTTP on loopback, by the rules that its recorded traffic and
//! its clients' bug reports tell of.
//!
//! It is strict where the original is, forgiving where the original is, and breaks on demand: see [`Fault`]. It is not
//! a model of the provider's publication of a zone, only of what its API lists.
//!
//! ```text
//! http.rs     bytes ──▶ Request                 Reply ──▶ bytes
//! world.rs    Request + zones ──▶ Reply         the rules
//! fault.rs    what goes wrong, when
//! exchange.rs what was recorded from the original
//! ```

mod exchange;
mod fault;
mod http;
mod markup;
mod world;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::exchange::{Exchange, ExchangeError, read_exchanges};
pub use self::fault::{Effect, Fault, On};
pub use self::markup::{Document, Host, MarkupError, Outcome, read_document};
pub use self::world::{Account, Rules, Zone};

use self::fault::Faults;
use self::http::{Reply, Request};
use self::world::World;

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct FakeNamecheap {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

/// One call as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `GET` or `POST`.
    pub method: String,
    /// Path and query, as a log or a proxy would see them.
    pub target: String,
    /// The command, in lower case; empty when there was none.
    pub command: String,
    /// Every parameter of query and form, in order, as sent.
    pub parameters: Vec<(String, String)>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct State {
    world: World,
    faults: Faults,
    calls: Vec<Call>,
}

impl FakeNamecheap {
    /// Starts a server on a free port of loopback.
    ///
    /// # Errors
    /// When the port or the thread cannot be had.
    pub fn start(account: Account, rules: Rules) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = State { world: World::new(account, rules), faults: Faults::default(), calls: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), stopping: AtomicBool::new(false) });
        let theirs = Arc::clone(&shared);
        let listener =
            std::thread::Builder::new().name("namecheap".to_owned()).spawn(move || accept(&listener, &theirs))?;
        Ok(Self { address, shared, listener: Some(listener) })
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/xml.response", self.address)
    }

    /// Puts a zone into the account, in place of one of the same name. Rows without a number get one.
    pub fn seed(&self, domain: &str, zone: Zone) {
        self.state().world.seed(domain, zone);
    }

    /// The zone as it stands, rows in the order the API lists them.
    #[must_use]
    pub fn zone(&self, domain: &str) -> Option<Zone> {
        self.state().world.zone(domain)
    }

    /// Changes a zone as somebody else would, on the provider's own pages.
    pub fn meddle(&self, domain: &str, meddle: impl FnOnce(&mut Zone)) {
        self.state().world.meddle(domain, meddle);
    }

    /// From now on, lets this go wrong. Faults are asked in the order in which they came.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    /// Lets nothing go wrong any more.
    pub fn heal(&self) {
        self.state().faults = Faults::default();
    }

    /// What has been called so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Forgets what has been called.
    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

impl Drop for FakeNamecheap {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener; when it cannot be reached it is gone already.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let theirs = Arc::clone(shared);
        let connection = std::thread::Builder::new().name("namecheap-call".to_owned());
        // Without a thread for it the call is dropped, as an overloaded server would.
        drop(connection.spawn(move || drop(serve(stream, &theirs))));
    }
}

/// Answers one call, or fails to, as the faults want it.
fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let peer = stream.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let request = match http::read(&mut stream) {
        Ok(request) => request,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return http::write(&mut stream, &Reply::text(400, "Bad Request", &error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let (reply, effect) = answer(&request, peer, shared);
    match effect {
        None | Some(Effect::Foreign(_) | Effect::Ignored | Effect::Stale | Effect::RateLimited | Effect::Status(_)) => {
        }
        Some(Effect::Error(..) | Effect::ErrorAfterApply(..) | Effect::Body(_)) => {}
        Some(Effect::Truncated) => {
            let mut short = reply;
            short.body.truncate(short.body.len() / 2);
            return http::write(&mut stream, &short);
        }
        Some(Effect::Reset) => return http::write_and_reset(&mut stream, &reply),
        Some(Effect::SilentAfterApply | Effect::Silent) => return http::hold(&mut stream, || shared.stopping()),
        Some(Effect::Slow(delay)) => http::pause(delay, || shared.stopping()),
    }
    http::write(&mut stream, &reply)
}

/// What the call does and what is to be answered, and the fault that the wire still has to show.
fn answer(request: &Request, peer: IpAddr, shared: &Shared) -> (Reply, Option<Effect>) {
    let mut state = shared.state();
    let command = request.parameter("command").unwrap_or_default().to_ascii_lowercase();
    state.calls.push(Call {
        method: request.method.clone(),
        target: request.target.clone(),
        command: command.clone(),
        parameters: request.parameters.clone(),
    });
    let effect = state.faults.next(&command);
    let world = &mut state.world;
    let reply = match &effect {
        Some(Effect::RateLimited) => Reply::html(405, "Method Not Allowed"),
        Some(Effect::Status(status)) => Reply::html(*status, "Not Today"),
        Some(Effect::Body(body)) => Reply::xml(body.clone()),
        Some(Effect::Error(number, text)) => Reply::xml(markup::failure(&command, &[(*number, text)])),
        Some(Effect::ErrorAfterApply(number, text)) => {
            drop(world.answer(request, peer));
            Reply::xml(markup::failure(&command, &[(*number, text)]))
        }
        // Heard by nobody: the connection stays open and nothing is done.
        Some(Effect::Silent) => Reply::xml(String::new()),
        Some(Effect::Ignored) => world.pretend(request, peer),
        Some(Effect::Stale) => world.answer_stale(request, peer),
        Some(Effect::Foreign(row)) => {
            world.foreign_row(request, row);
            world.answer(request, peer)
        }
        Some(Effect::SilentAfterApply | Effect::Truncated | Effect::Reset | Effect::Slow(_)) | None => {
            world.answer(request, peer)
        }
    };
    (reply, effect)
}
