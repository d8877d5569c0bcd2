//! Every key there is, with its unit, bounds, default and meaning.
//!
//! The reader takes its defaults from here, unknown keys are compared with these, and the reference in `docs/` is
//! written from them, so the three cannot drift apart.

mod policy;

use Absent::{Is, None, Required};
use Takes::{
    Address, Addresses, Bool, Choice, Choices, Count, Days, Duration, Environment, File, Fingerprint, Headers, Name,
    Names, Pem, Percent, Percents, Program, Rate, Regex, Secret, SecretVariable, Size, Statuses, Text, Url,
};

pub(super) use policy::{COMEBACK, EVIDENCE, LADDER, OVERLOAD, POLICY};

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// As in keys: `probes.https`; for tables of one kind of registrar `registrars.namecheap`.
    pub name: &'static str,
    /// As written in the file: `[probes.https]`.
    pub heading: &'static str,
    /// What it is for.
    pub says: &'static str,
    /// What may stand in it.
    pub keys: &'static [Key],
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What holds without it.
    pub absent: Absent,
    /// What it means.
    pub says: &'static str,
}

/// What a key takes. Bounds are both allowed.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A duration with its unit, from, to.
    Duration(&'static str, &'static str),
    /// A duration of whole days, from, to.
    Days(&'static str, &'static str),
    /// A size with its unit, from, to.
    Size(&'static str, &'static str),
    /// A rate with its unit.
    Rate,
    /// A whole number, from, to.
    Count(u32, u32),
    /// A whole number of percent, from, to.
    Percent(u32, u32),
    /// A list of these.
    Percents(u32, u32),
    /// `true` or `false`.
    Bool,
    /// Any text.
    Text,
    /// A name of ours.
    Name,
    /// A list of names.
    Names,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words.
    Choices(&'static [&'static str]),
    /// An address.
    Address,
    /// A list of addresses.
    Addresses,
    /// A URL.
    Url,
    /// A path.
    File,
    /// A path of a private key.
    Pem,
    /// A path of a secret.
    Secret,
    /// The name of an environment variable with a secret.
    SecretVariable,
    /// A list of statuses.
    Statuses,
    /// A regular expression.
    Regex,
    /// A table of request headers.
    Headers,
    /// A table of environment variables.
    Environment,
    /// A list: program and arguments.
    Program,
    /// An SSH fingerprint.
    Fingerprint,
}

impl Takes {
    /// For the reference: unit and bounds.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Duration(from, to) => format!("duration, {from} to {to}"),
            Days(from, to) => format!("duration in whole days, {from} to {to}"),
            Size(from, to) => format!("size, {from} to {to}"),
            Rate => "rate".to_owned(),
            Count(from, to) => format!("whole number, {from} to {to}"),
            Percent(from, to) => format!("percent as a whole number, {from} to {to}"),
            Percents(from, to) => format!("list of percents as whole numbers, {from} to {to}"),
            Bool => "`true` or `false`".to_owned(),
            Text => "text".to_owned(),
            Name => "name".to_owned(),
            Names => "list of names".to_owned(),
            Choice(words) => words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(" or "),
            Choices(words) => {
                format!("list of {}", words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", "))
            }
            Address => "IP address".to_owned(),
            Addresses => "list of IP addresses".to_owned(),
            Url => "URL".to_owned(),
            File => "path".to_owned(),
            Pem => "path of a private key".to_owned(),
            Secret => "path of a file that only its owner can read".to_owned(),
            SecretVariable => "name of an environment variable".to_owned(),
            Statuses => "list of statuses and ranges".to_owned(),
            Regex => "regular expression".to_owned(),
            Headers => "table of texts".to_owned(),
            Environment => "table of texts".to_owned(),
            Program => "list of texts".to_owned(),
            Fingerprint => "SSH fingerprint".to_owned(),
        }
    }
}

/// What holds without the key.
#[derive(Clone, Copy, Debug)]
pub enum Absent {
    /// This value, as TOML writes it.
    Is(&'static str),
    /// No value, and what that means. An empty text means the same.
    None(&'static str),
    /// It must be there; an example of it.
    Required(&'static str),
}

const fn key(name: &'static str, takes: Takes, absent: Absent, says: &'static str) -> Key {
    Key { name, takes, absent, says }
}

/// `[witness]`.
pub(super) static WITNESS: Section = Section {
    name: "witness",
    heading: "[witness]",
    says: "This vantage point: who it is, how often it looks, what it remembers.",
    keys: &[
        key("name", Name, Is(r#""home""#), "This vantage point, in the ledger and in votes."),
        key(
            "database",
            File,
            Is(r#""witness.db""#),
            "The ledger, an SQLite database; made when it is not there. Its folder must exist.",
        ),
        key(
            "interval",
            Duration("100ms", "1d"),
            Is(r#""10s""#),
            "One regular round per node and this long. Data older than three of these is old.",
        ),
        key(
            "fast_interval",
            Duration("100ms", "1d"),
            Is(r#""2s""#),
            "The same while a node is in doubt; `interval` where that is shorter.",
        ),
        key(
            "anchors",
            Addresses,
            Is(r#"["1.1.1.1:443", "8.8.8.8:443", "9.9.9.9:443"]"#),
            "Somebody else's reliable hosts, address and TCP port: when they do not answer either, it is our own network, and nothing is changed. Three or more, in different networks.",
        ),
        key(
            "once_deadline",
            Duration("1s", "1d"),
            Is(r#""50s""#),
            "How long `witness once` may take in all, so that runs from cron do not pile up.",
        ),
        key(
            "retention",
            Duration("1d", "3650d"),
            Is(r#""365d""#),
            "How long strikes, judgements, changes and holds are kept.",
        ),
        key(
            "retention_observations",
            Duration("1h", "3650d"),
            Is(r#""7d""#),
            "How long single observations are kept; `retention` where that is shorter.",
        ),
    ],
};

/// `[probes.https]`.
pub(super) static HTTPS: Section = Section {
    name: "probes.https",
    heading: "[probes.https]",
    says: "The service that users use: a request on a fresh connection to each address of each node, with chain and name of the certificate verified. It runs when its section is there.",
    keys: &[
        key(
            "url",
            Url,
            None("`https://` and the first name of the first pool and `/.witness/health`"),
            "Its host is the name for SNI and Host, its port the port; the connection goes to each node's address.",
        ),
        key("method", Choice(&["GET", "HEAD", "OPTIONS", "POST"]), Is(r#""GET""#), "The request's method."),
        key(
            "headers",
            Headers,
            None("no further headers"),
            "Further request headers: `{ \"Accept\" = \"text/html\" }`.",
        ),
        key("expect_status", Statuses, Is(r#"["200-299"]"#), "Statuses that pass: `[\"200-299\", \"401\"]`."),
        key("expect_body", Regex, None("any body"), "What the beginning of the body must match."),
        key("body_limit", Size("1B", "16MiB"), Is(r#""64KiB""#), "How much of the body is read at the most."),
        key("ca_file", File, None("the system's roots"), "PEM certificates to trust instead of the system's."),
        key("token_file", Secret, None("no token"), "The bearer token of the fleet's edges."),
        key("token_env", SecretVariable, None("no token"), "The same, from the environment."),
        key(
            "redirects",
            Count(0, 10),
            Is("0"),
            "How many redirects are followed, within the same host name and address; 0: a 3xx is judged as any status.",
        ),
        key("min_tls", Choice(&["1.2", "1.3"]), Is(r#""1.2""#), "The oldest TLS version that passes."),
        key(
            "warn_certificate",
            Days("0d", "3650d"),
            Is(r#""14d""#),
            "Warn when the certificate ends within this long. It never costs a node its record before it has ended.",
        ),
        key(
            "connect_timeout",
            Duration("10ms", "5m"),
            Is(r#""4s""#),
            "For the TCP handshake; `timeout` where that is shorter. 4 s cover the SYNs sent at 0, 1 and 3 s, so that two lost packets are no failure.",
        ),
        key("timeout", Duration("10ms", "5m"), Is(r#""8s""#), "For everything."),
    ],
};

/// `[probes.ping]`.
pub(super) static PING: Section = Section {
    name: "probes.ping",
    heading: "[probes.ping]",
    says: "ICMP echo. It runs when its section is there.",
    keys: &[
        key("count", Count(1, 100), Is("3"), "Echoes in a round; one reply passes."),
        key(
            "spacing",
            Duration("1ms", "1m"),
            Is(r#""200ms""#),
            "Between two of them; less where `timeout` leaves no room.",
        ),
        key("timeout", Duration("10ms", "5m"), Is(r#""2s""#), "For the whole round."),
        key("size", Size("8B", "1400B"), Is(r#""56B""#), "Payload of an echo."),
    ],
};

/// `[probes.ssh]`.
pub(super) static SSH: Section = Section {
    name: "probes.ssh",
    heading: "[probes.ssh]",
    says: "An SSH server. It runs when its section is there.",
    keys: &[
        key("port", Count(1, 65535), Is("22"), "TCP port."),
        key(
            "level",
            Choice(&["banner", "handshake", "login"]),
            Is(r#""handshake""#),
            "`banner`: reads the greeting; `handshake`: exchanges keys and checks the host key; `login`: logs in and runs a command.",
        ),
        key(
            "known_hosts",
            File,
            None("only nodes with `ssh_host_key` are checked"),
            "Host keys in OpenSSH's format, for nodes without `ssh_host_key`.",
        ),
        key("user", Text, None("nobody; needed for level `login`"), "As whom to log in."),
        key("key_file", Pem, None("the SSH agent's keys"), "A private key without a passphrase, to log in with."),
        key("command", Text, Is(r#""true""#), "What to run after logging in; exit code 0 passes."),
        key("timeout", Duration("10ms", "5m"), Is(r#""4s""#), "For everything."),
    ],
};

/// `[[pools]]`.
pub(super) static POOLS: Section = Section {
    name: "pools",
    heading: "[[pools]]",
    says: "Nodes that share DNS names. Every guard counts per pool.",
    keys: &[
        key("name", Name, None("the zone"), "What people call it."),
        key("zone", Text, Required(r#"zone = "example.com""#), "The zone, as the registrar knows it."),
        key(
            "records",
            Names,
            Is(r#"["@"]"#),
            "Names in the zone that carry the nodes' addresses; `@` is the zone itself.",
        ),
        key(
            "ttl",
            Duration("1s", "7d"),
            Is(r#""60s""#),
            "What the records should have, in whole seconds. `check --live` warns; a write keeps what the set has.",
        ),
        key(
            "registrar",
            Name,
            Required(r#"registrar = "NAME", of a [registrars.NAME]"#),
            "Which `[registrars.NAME]` edits the zone.",
        ),
        key("nodes", Names, None("every node"), "Names of its nodes."),
        key(
            "nameservers",
            Addresses,
            None("those that the zone's NS records name"),
            "Authoritative servers to ask after a change, each an address with or without a port.",
        ),
        key(
            "publish_within",
            Duration("1s", "7d"),
            Is(r#""5m""#),
            "Within how long after a change every authoritative server must show it; then it is an alarm.",
        ),
    ],
};

/// `[[nodes]]`.
pub(super) static NODES: Section = Section {
    name: "nodes",
    heading: "[[nodes]]",
    says: "Machines that could serve.",
    keys: &[
        key("name", Name, None("its first address"), "What people call it."),
        key(
            "addresses",
            Addresses,
            Required(r#"addresses = ["192.0.2.11"]"#),
            "Its public addresses, IPv4 and IPv6, each of one node only.",
        ),
        key("site", Text, None("not known"), "Where it stands: nodes of one site share its fate."),
        key("capacity", Rate, None("not known"), "Usable egress."),
        key(
            "ssh_host_key",
            Fingerprint,
            None("`known_hosts`, if any"),
            "The host key that it must show, as `ssh-keygen -lf` prints it.",
        ),
        key(
            "metrics_url",
            Url,
            None("no node_exporter is read"),
            "A node_exporter's `/metrics`, read every `interval` for [what the node carries](../load.md): `http://192.0.2.11:9100/metrics`. An `https` one is verified as the https probe's is.",
        ),
    ],
};

/// What every `[registrars.NAME]` has.
pub(super) static REGISTRARS: Section = Section {
    name: "registrars",
    heading: "[registrars.NAME]",
    says: "What edits the DNS. These keys are for every kind.",
    keys: &[
        key(
            "kind",
            Choice(&["namecheap", "rfc2136", "mock", "exec"]),
            Required(r#"kind = "namecheap""#),
            "What it is.",
        ),
        key("timeout", Duration("100ms", "10m"), Is(r#""20s""#), "For each call."),
        key(
            "refresh",
            Duration("0s", "1d"),
            Is(r#""60s""#),
            "How old a reading may be before a tick takes another, where nothing is to be changed.",
        ),
    ],
};

/// Namecheap's own keys.
pub(super) static NAMECHEAP: Section = Section {
    name: "registrars.namecheap",
    heading: "[registrars.NAME], kind = \"namecheap\"",
    says: "Namecheap's API. It must be switched on for the account, and our address allow-listed there.",
    keys: &[
        key(
            "endpoint",
            Url,
            Is(r#""https://api.namecheap.com/xml.response""#),
            "Where the API is; `https://api.sandbox.namecheap.com/xml.response` is the sandbox.",
        ),
        key("api_user", Text, Required(r#"api_user = "NAME", the account's name"#), "Who calls: `ApiUser`."),
        key("username", Text, None("the same as `api_user`"), "Whose domains: `UserName`."),
        key(
            "client_ip",
            Address,
            Required(r#"client_ip = "198.51.100.7", the allow-listed IPv4 address that our calls come from"#),
            "The allow-listed IPv4 address that our calls come from: `ClientIp`.",
        ),
        key("api_key_file", Secret, None("`api_key_env` is needed"), "The API key. It rules the whole account."),
        key("api_key_env", SecretVariable, None("`api_key_file` is needed"), "The same, from the environment."),
        key(
            "allow_ddns_downgrade",
            Bool,
            Is("false"),
            "Whether a zone with dynamic-DNS rows may be written; the API turns them into plain A rows.",
        ),
    ],
};

/// RFC 2136's own keys.
pub(super) static RFC2136: Section = Section {
    name: "registrars.rfc2136",
    heading: "[registrars.NAME], kind = \"rfc2136\"",
    says: "Dynamic updates, as BIND, Knot DNS, PowerDNS and others take them.",
    keys: &[
        key(
            "server",
            Address,
            Required(r#"server = "192.0.2.53", the zone's primary server"#),
            "The zone's primary server: address, and port where it is not 53.",
        ),
        key("key_name", Text, None("updates are not signed"), "Name of the TSIG key."),
        key(
            "algorithm",
            Choice(&["hmac-sha256", "hmac-sha384", "hmac-sha512"]),
            Is(r#""hmac-sha256""#),
            "TSIG algorithm.",
        ),
        key("key_file", Secret, None("`key_env`, where there is a `key_name`"), "The TSIG secret, base64."),
        key(
            "key_env",
            SecretVariable,
            None("`key_file`, where there is a `key_name`"),
            "The same, from the environment.",
        ),
    ],
};

/// The mock's own keys.
pub(super) static MOCK: Section = Section {
    name: "registrars.mock",
    heading: "[registrars.NAME], kind = \"mock\"",
    says: "A zone in a JSON file, for trying things out. It changes no DNS.",
    keys: &[key("file", File, Required(r#"file = "zone.json""#), "The zone. Its folder must exist.")],
};

/// The exec adapter's own keys.
pub(super) static EXEC: Section = Section {
    name: "registrars.exec",
    heading: "[registrars.NAME], kind = \"exec\"",
    says: "Any program that takes the plan as JSON.",
    keys: &[
        key(
            "command",
            Program,
            Required(r#"command = ["/usr/local/bin/edit-dns"]"#),
            "Program and arguments, without a shell. A program with a `/` in it is relative to this file, another is looked up in `PATH`.",
        ),
        key(
            "env",
            Environment,
            None("no further variables"),
            "Further environment: `{ ZONE_ID = \"1\", API_TOKEN_file = \"token\" }`. With `_file` or `_env` at its end, a variable's value comes from that file or variable; a secret must.",
        ),
    ],
};

/// `[relays]`.
pub(super) static RELAYS: Section = Section {
    name: "relays",
    heading: "[relays]",
    says: "Nodes that show life try to reach one that is silent to us, over SSH; no program is needed there. It is done when its section is there: [relays and shedding](../relays-and-shedding.md).",
    keys: &[
        key("user", Text, Required(r#"user = "witness""#), "As whom to log in on the nodes."),
        key(
            "key_file",
            Pem,
            Required(r#"key_file = "relay.key""#),
            "A private key without a passphrase; on the nodes restricted to `port-forwarding`.",
        ),
        key("port", Count(1, 65535), Is("22"), "TCP port of the nodes' SSH servers."),
        key(
            "timeout",
            Duration("500ms", "1m"),
            Is(r#""4s""#),
            "For one try, the login included where there is no session yet. What does not answer for half of it is silent.",
        ),
        key("max", Count(1, 16), Is("3"), "How many nodes are asked about a silent one at a time."),
        key(
            "sessions",
            Count(0, 8),
            Is("2"),
            "How many sessions to each node the daemon keeps open, logged in: through a link that is full a login takes longer than a question may. 0: a login for each question.",
        ),
    ],
};

/// `[shed]`.
pub(super) static SHED: Section = Section {
    name: "shed",
    heading: "[shed]",
    says: "Who tells the nodes to shed load; the steps are those of `[policy.shed]`. It is done when its section is there: [relays and shedding](../relays-and-shedding.md).",
    keys: &[
        key(
            "kind",
            Choice(&["edge", "exec"]),
            Required(r#"kind = "edge""#),
            "`edge`: `PUT /.witness/shed` on each node, as the https probe connects; `exec`: a program, once for each node.",
        ),
        key(
            "token_file",
            Secret,
            None("that of `[probes.https]`, for kind `edge`"),
            "The bearer token that the edges take this from.",
        ),
        key("token_env", SecretVariable, None("`token_file`"), "The same, from the environment."),
        key(
            "command",
            Program,
            None("needed for kind `exec`"),
            "Program and arguments, without a shell. It finds `WITNESS_NODE`, `WITNESS_STEP`, `WITNESS_PERCENT`, `WITNESS_FOR_S` and `WITNESS_ADDRESSES` in its environment.",
        ),
        key("timeout", Duration("100ms", "1m"), Is(r#""4s""#), "For each try to tell a node; there are two."),
    ],
};

/// `[serve]`.
pub(super) static SERVE: Section = Section {
    name: "serve",
    heading: "[serve]",
    says: "The status page. This version reads the key and serves no page yet.",
    keys: &[key(
        "listen",
        Address,
        Is(r#""127.0.0.1:9053""#),
        "Where the status page, JSON and /metrics are; address and port; empty: off.",
    )],
};

/// `[notify]`.
pub(super) static NOTIFY: Section = Section {
    name: "notify",
    heading: "[notify]",
    says: "Who is told. This version reads the keys and calls nobody yet.",
    keys: &[
        key(
            "webhook_url_file",
            Secret,
            None("nobody is told"),
            "A file with the URL of an ntfy topic, a Slack or Discord webhook, or a plain webhook. Whoever knows it can post, so it is a secret.",
        ),
        key("webhook_url_env", SecretVariable, None("nobody is told"), "The same, from the environment."),
        key("timeout", Duration("100ms", "5m"), Is(r#""10s""#), "For each call."),
    ],
};

/// Every table, in the order of the reference.
pub static SECTIONS: &[&Section] = &[
    &WITNESS,
    &POLICY,
    &EVIDENCE,
    &OVERLOAD,
    &LADDER,
    &COMEBACK,
    &HTTPS,
    &PING,
    &SSH,
    &POOLS,
    &NODES,
    &REGISTRARS,
    &NAMECHEAP,
    &RFC2136,
    &MOCK,
    &EXEC,
    &RELAYS,
    &SHED,
    &SERVE,
    &NOTIFY,
];
