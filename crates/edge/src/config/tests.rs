use super::*;

/// The example of the manual, with its files made.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["fleet.token", "fullchain.pem", "privkey.pem", "origin-ca.pem"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "something").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

const EXAMPLE: &str = include_str!("../../edge.example.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    let folder = folder();
    Config::parse(text, &folder.path().join("edge.toml"))
}

#[test]
fn the_example_is_accepted_and_its_defaults_are_the_defaults() {
    let config = parse(EXAMPLE).unwrap();
    assert_eq!(config.sources.len(), 2);
    assert_eq!(config.siblings.members.len(), 2);
    let least = parse(
        "[node]\nname = \"slice1\"\nfleet = \"files.example.com\"\n[cache]\ndirectory = \"/var/cache/witness-edge\"\n\
         [[sources]]\nname = \"home\"\nurls = [\"https://origin.example.net:8443\"]\n",
    )
    .unwrap();
    assert_eq!(least.node.capacity, config.node.capacity);
    assert_eq!(format!("{:?}", least.cache), format!("{:?}", config.cache));
    assert_eq!(format!("{:?}", least.limits), format!("{:?}", config.limits));
    assert_eq!((least.listen.http, least.listen.health), (config.listen.http, config.listen.health));
    assert_eq!((least.listen.proxies, least.listen.drain), (config.listen.proxies, config.listen.drain));
    assert_eq!((least.access_log, config.access_log), (None, None));
    let (SourceKind::Http { http2, identity, sticky, .. }, SourceKind::Http { http2: a, identity: b, sticky: c, .. }) =
        (&least.sources[0].kind, &config.sources[0].kind)
    else {
        panic!("both are of that kind")
    };
    assert_eq!((http2, identity, sticky), (a, b, c));
    assert_eq!(least.listen.https, []);
}

#[test]
fn every_mistake_is_named_with_key_value_and_remedy() {
    let cases = [
        (
            "max_size = \"100GB\"",
            "max_size = 100",
            "cache.max_size = 100: a size needs its unit; write \"100GB\" if that is the unit you mean; there are B, kB, KiB, MB, MiB, GB, GiB, TB, TiB",
        ),
        ("inactive = \"1d\"", "inactiv = \"1d\"", "cache.inactiv: there is no such key; did you mean \"inactive\"?"),
        (
            "slice_size = \"1MiB\"",
            "slice_size = \"3MiB\"",
            "cache.slice_size = \"3MiB\": it must be a power of two from 64KiB to 64MiB; write \"1MiB\"",
        ),
        (
            "proxy_protocol = false\nproxy_protocol_from = []",
            "proxy_protocol = true",
            "listen.proxy_protocol = true: nobody is named whose header may be believed; add proxy_protocol_from = [\"192.0.2.1\"] with the addresses of the load balancers",
        ),
        ("name = \"slice1\"", "", "node.name: it is missing; write name = \"slice1\""),
        (
            "\"404\" = \"10s\"",
            "\"4x4\" = \"10s\"",
            "cache.valid.4x4 = \"10s\": this is no status; write a status in quotes, like \"200\" = \"1d\"",
        ),
        (
            "urls = [\"https://origin.example.net:8443\"]",
            "urls = [\"origin:80\"]",
            "sources[0].urls = [\"origin:80\"]: \"origin:80\" is no URL of a server; write it like \"https://origin.example.net:8443\", without a path",
        ),
        (
            "http = [\"0.0.0.0:80\"]",
            "http = [\"here\"]",
            "listen.http = [\"here\"]: \"here\" is no address with a port; write it like \"0.0.0.0:443\" or \"[::]:443\"; names are not looked up here",
        ),
        (
            "min_uses = 2",
            "min_uses = 3",
            "cache.min_uses = 3: this is not one of the possible numbers; write a whole number from 1 to 2",
        ),
        (
            "proxy_protocol_from = []",
            "proxy_protocol_from = [\"192.0.2.1/24\"]",
            "listen.proxy_protocol_from = [\"192.0.2.1/24\"]: \"192.0.2.1/24\" has bits behind its first 24; write \"192.0.2.0/24\"",
        ),
        (
            "proxy_protocol_from = []",
            "proxy_protocol_from = [\"192.0.2.0/24\"]",
            "listen.proxy_protocol_from = [\"192.0.2.0/24\"]: the PROXY protocol is not switched on; write proxy_protocol = true as well, or leave this out",
        ),
        (
            "header_timeout = \"10s\"",
            "header_timeout = \"1ms\"",
            "limits.header_timeout = \"1ms\": it is too short; write at least \"100ms\"",
        ),
        (
            "format = \"combined\"",
            "format = \"common\"",
            "access_log.format = \"common\": there is no such format; write \"combined\" or \"json\"",
        ),
        (
            "client_key_file = \"\"",
            "client_key_file = \"privkey.pem\"",
            "sources[0].client_chain_file = \"\": it is missing; write the path of the key's certificate",
        ),
        (
            "sticky = \"\"",
            "sticky = \"ip\"",
            "sources[0].sticky = \"ip\": there is no such way; write \"cookie\", \"address\", or leave it empty",
        ),
        ("[limits]", "[limit]", "limit: there is no such key; did you mean \"limits\"?"),
    ];
    for (right, wrong, expected) in cases {
        assert!(EXAMPLE.contains(right), "{right}");
        let Err(ConfigError::Problems { problems, .. }) = parse(&EXAMPLE.replacen(right, wrong, 1)) else {
            panic!("{wrong} is accepted");
        };
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told, [expected], "{wrong}");
    }
}

#[test]
fn mistakes_are_told_with_their_place_in_the_order_of_the_file() {
    let text = "[node]\nname = \"slice1\"\nfleet = \"files.example.com\"\ncapacity = \"fast\"\n[cache]\nmax_siz = \"1GB\"\n\n\
                [[sources]]\nname = \"home\"\n\n[[sources]]\nname = \"away\"\nurls = [\n  \"https://origin.example.net\",\n  \"origin\",\n]\n";
    let error = Config::parse(text, Path::new("edge.toml")).unwrap_err().to_string();
    let places: Vec<&str> = error.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["edge.toml:4:12", "edge.toml:5:1", "edge.toml:6:1", "edge.toml:8:1", "edge.toml:13:8"],
        "{error}"
    );
    let error = Config::parse("[node]\nname = slice1\n", Path::new("edge.toml")).unwrap_err().to_string();
    assert_eq!(error, "edge.toml:2:8: a text needs quotes; write it as \"...\"");
}

#[test]
fn an_access_log_needs_its_folder() {
    let with_log = |file: &str| EXAMPLE.replacen("file = \"\"", &format!("file = \"{file}\""), 1);
    assert!(parse(&with_log("access.log")).is_ok());
    let error = parse(&with_log("nowhere/access.log")).unwrap_err().to_string();
    assert!(error.contains("access_log.file = \"nowhere/access.log\": there is no folder "), "{error}");
    // A configuration that is named without a folder.
    let error = Config::parse(&with_log("access.log"), Path::new("edge.toml")).unwrap_err().to_string();
    assert!(!error.contains("access_log"), "{error}");
}

#[test]
fn a_secret_that_others_can_read_is_refused_and_none_is_shown() {
    let folder = folder();
    let token = folder.path().join("fleet.token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let path = folder.path().join("edge.toml");
    let error = Config::parse(EXAMPLE, &path).unwrap_err().to_string();
    assert!(error.contains("node.token_file") && error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = Config::parse(EXAMPLE, &path).unwrap();
    assert!(!format!("{config:?}").contains("something"));
    assert!(config.node.token.unwrap().is(b"something"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let Err(ConfigError::Problems { problems, .. }) = parse("[cache]\nmax_size = \"1\"\nx = 1") else { panic!() };
    assert!(problems.len() >= 5, "{problems:?}");
}
