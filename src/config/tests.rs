use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::keys::{Absent, Takes};
use super::*;
use crate::model::{ProbeKind, RegistrarKind, SshLevel};

const SHARED: &str = include_str!("../../fixtures/config/example/witness.toml");

/// A folder with everything that fixtures name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("namecheap.key", "0123456789abcdef0123456789abcdef\n", 0o600);
    write("open.key", "0123456789abcdef0123456789abcdef\n", 0o644);
    write("empty.key", "\n", 0o600);
    write("lines.key", "one\ntwo\n", 0o600);
    write("tsig.key", "c2VjcmV0IHNlY3JldCBzZWNyZXQ=\n", 0o400);
    write("relay.key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", 0o600);
    write("edge.token", "0123456789abcdef\n", 0o600);
    write("roots.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644);
    write("edit-dns", "#!/bin/sh\n", 0o755);
    write("notes.txt", "not a program\n", 0o644);
    folder
}

fn environment(name: &str) -> Option<String> {
    match name {
        "SET" => Some("a secret of the environment".to_owned()),
        "HOOK" => Some("https://hooks.example.com/very/secret/path".to_owned()),
        "EMPTY" => Some(String::new()),
        "PATH" => Some("/usr/bin:/bin".to_owned()),
        _ => None,
    }
}

fn parse_in(folder: &Path, text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, &folder.join("witness.toml"), &environment)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    parse_in(folder().path(), text)
}

fn problems(result: Result<Config, ConfigError>) -> Vec<Problem> {
    match result {
        Ok(config) => config.warnings,
        Err(ConfigError::Problems(problems)) => problems,
        Err(other) => panic!("{other}"),
    }
}

/// The smallest configuration: what has no default.
const SMALLEST: &str = r#"
[probes.https]
[[pools]]
zone = "example.com"
registrar = "try"
[registrars.try]
kind = "mock"
file = "zone.json"
[[nodes]]
addresses = ["192.0.2.11"]
[[nodes]]
addresses = ["192.0.2.12"]
[[nodes]]
addresses = ["192.0.2.13"]
"#;

#[test]
fn the_example_is_accepted_as_it_stands() {
    let folder = folder();
    let config = parse_in(folder.path(), SHARED).unwrap();
    assert_eq!(config.witness.name.as_str(), "home");
    assert_eq!(config.witness.database, folder.path().join("witness.db"));
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.probes.anchors.len(), 3);
    let https = config.probes.https.unwrap();
    assert_eq!(https.url, "https://files.example.com/.witness/health");
    assert!(https.expect_body.is_none() && https.ca_file.is_none() && https.token.is_none());
    assert_eq!((https.connect_timeout, https.timeout), (Duration::from_secs(4), Duration::from_secs(8)));
    assert_eq!(config.probes.ping.unwrap().count, 3);
    assert_eq!(config.probes.ssh.unwrap().level, SshLevel::Handshake);
    let pool = config.fleet.pools.values().next().unwrap();
    assert_eq!((pool.id.as_str(), pool.zone.as_str()), ("files", "example.com"));
    assert_eq!(pool.records, ["@", "files"]);
    assert_eq!(pool.nodes.len(), 4);
    assert_eq!(config.fleet.nodes.len(), 4);
    let slice1 = config.fleet.nodes.values().next().unwrap();
    assert_eq!(slice1.capacity_bps, Some(1_000_000_000));
    assert!(slice1.ssh_host_key.is_some());
    let RegistrarKind::Namecheap(namecheap) = &config.registrars.values().next().unwrap().kind else { panic!() };
    assert_eq!(namecheap.api_key.expose(), "0123456789abcdef0123456789abcdef");
    assert_eq!(config.serve.listen, Some("127.0.0.1:9053".parse().unwrap()));
    assert!(config.notify.webhook_url.is_none());
}

#[test]
fn the_smallest_configuration_has_every_default() {
    let folder = folder();
    let config = parse_in(folder.path(), SMALLEST).unwrap();
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.witness.name.as_str(), "home");
    assert_eq!(config.witness.once_deadline, Duration::from_secs(50));
    assert_eq!(config.witness.retention, Duration::from_secs(365 * 86_400));
    assert_eq!(config.witness.retention_observations, Duration::from_secs(7 * 86_400));
    assert_eq!(config.probes.https.as_ref().unwrap().url, "https://example.com/.witness/health");
    assert_eq!(config.probes.kinds(), [ProbeKind::Https]);
    let pool = config.fleet.pools.values().next().unwrap();
    assert_eq!((pool.id.as_str(), pool.records[0].as_str(), pool.ttl), ("example.com", "@", Duration::from_secs(60)));
    let names: Vec<_> = pool.nodes.iter().map(Name::as_str).collect();
    assert_eq!(names, ["192.0.2.11", "192.0.2.12", "192.0.2.13"]);
    assert_eq!(config.warnings, []);
}

#[test]
fn the_embedded_example_says_what_the_defaults_are() {
    let folder = folder();
    let config = parse_in(folder.path(), EXAMPLE).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.policy, Policy::default());
    let mut missing = Vec::new();
    for section in SECTIONS {
        for key in section.keys {
            let lines: Vec<_> = EXAMPLE
                .lines()
                .filter_map(|line| line.trim_start_matches("# ").split_once(" = "))
                .filter(|(name, _)| *name == key.name)
                .collect();
            let there = match key.absent {
                Absent::Is(default) => {
                    lines.iter().any(|(_, value)| value.split(" #").next().is_some_and(|value| value.trim() == default))
                }
                Absent::None(_) | Absent::Required(_) => !lines.is_empty(),
            };
            if !there {
                missing.push(format!("{} {} {:?}", section.heading, key.name, key.absent));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Without its marks of comment the embedded example is still right, section by section.
#[test]
fn every_commented_line_of_the_embedded_example_can_be_used() {
    let folder = folder();
    let chosen = EXAMPLE.split("\n# [registrars.main]").next().unwrap();
    let rest = EXAMPLE.split_once("\n[[nodes]]").unwrap().1;
    let text = format!("{chosen}\n[[nodes]]{rest}");
    let commented = |line: &str| {
        line.strip_prefix("# ")
            .filter(|line| {
                line.starts_with('[')
                    || line
                        .split_once(" = ")
                        .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            })
            .map(str::to_owned)
    };
    let text: String = text
        .lines()
        .map(|line| commented(line).unwrap_or_else(|| line.to_owned()) + "\n")
        .filter(|line| !line.starts_with("ssh_host_key"))
        .collect();
    let config = parse_in(folder.path(), &text).unwrap();
    assert_eq!(config.policy, Policy::default());
    // What this version takes and does not serve yet is told, whatever is written.
    let told = ["probes.ssh.level", "relays", "serve.listen", "notify.webhook_url_env"];
    let serious: Vec<_> = config.warnings.iter().filter(|warning| !told.contains(&warning.key.as_str())).collect();
    assert!(serious.is_empty(), "{serious:#?}");
}

#[test]
fn the_reference_lists_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/configuration.md");
    let wanted = reference();
    if std::env::var_os("WITNESS_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &wanted).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    for section in SECTIONS {
        assert!(page.contains(&format!("## `{}`", section.heading)), "{} is not in the reference", section.heading);
        for key in section.keys {
            assert!(
                page.contains(&format!("\n| `{}` |", key.name)),
                "{}.{} is not in the reference",
                section.name,
                key.name
            );
        }
    }
    assert!(page == wanted, "the reference is stale: WITNESS_BLESS=1 cargo test --lib config::");
}

/// Every fixture of a mistake, with its message beside it; `{folder}` stands for where it is.
#[test]
fn every_mistake_has_its_message() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config/invalid");
    let mut files: Vec<PathBuf> = fs::read_dir(&fixtures)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "only {} fixtures", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let folder = folder();
        let bytes = fs::read(&file).unwrap();
        let at = folder.path().join(file.file_name().unwrap());
        fs::write(&at, &bytes).unwrap();
        let result = Config::read(&bytes, &at, &environment, Secrets::Read);
        let accepted = result.is_ok();
        let lines: Vec<_> = problems(result).iter().map(|problem| format!("{problem}\n")).collect();
        let said = lines
            .concat()
            .replace(&format!("{}/", folder.path().display()), "")
            .replace(&folder.path().display().to_string(), "{folder}");
        if !said.lines().next().is_some_and(|line| line.contains(':')) {
            wrong.push(format!("{}: nothing was said", file.display()));
        }
        // A fixture of a warning is called so.
        let is_warning = file.file_stem().unwrap().to_str().unwrap().starts_with("warning-");
        if accepted != is_warning {
            wrong.push(format!("{}: {}", file.display(), if accepted { "accepted" } else { "refused" }));
        }
        assert!(!said.contains("0123456789abcdef"), "{}: a secret is shown: {said}", file.display());
        let beside = file.with_extension("txt");
        if std::env::var_os("WITNESS_BLESS").is_some() {
            fs::write(&beside, &said).unwrap();
        }
        let wanted = fs::read_to_string(&beside).unwrap_or_default();
        if said != wanted {
            wrong.push(format!("{}\n--- wanted\n{wanted}--- said\n{said}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_at_once_in_the_order_of_the_file() {
    let text = r#"
[witness]
intervall = "10s"
fast_interval = 2
[policy]
strikes = "four"
windw = "60m"
[probes.htps]
[probes.ping]
count = 0
[[pools]]
zone = "exa mple.com"
registrar = "nobody"
nodes = ["slice9"]
[[nodes]]
name = "slice1"
addresses = ["192.0.2.300"]
"#;
    let problems = problems(parse(text));
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [3, 4, 6, 7, 8, 10, 12, 14, 17], "{problems:#?}");
    for problem in &problems {
        assert!(!problem.remedy.is_empty() && !problem.message.is_empty() && !problem.key.is_empty(), "{problem:?}");
    }
}

#[test]
fn secrets_are_read_and_never_shown() {
    let text = SHARED
        .replace("webhook_url_env = \"\"", "webhook_url_env = \"HOOK\"")
        .replace("token_file = \"\"", "token_env = \"SET\"");
    let config = parse(&text).unwrap();
    assert_eq!(config.notify.webhook_url.as_ref().unwrap().expose(), "https://hooks.example.com/very/secret/path");
    let shown = format!("{config:?}");
    for secret in ["very/secret", "0123456789abcdef", "a secret of the environment"] {
        assert!(!shown.contains(secret));
    }
}

#[test]
fn secrets_are_left_alone_where_they_are_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("witness.toml");
    fs::write(&path, SHARED).unwrap();
    assert!(matches!(Config::load(&path), Err(ConfigError::Problems(_))));
    let config = Config::load_without_secrets(&path).unwrap();
    let RegistrarKind::Namecheap(namecheap) = &config.registrars.values().next().unwrap().kind else { panic!() };
    assert_eq!(namecheap.api_key.expose(), "");
}

#[test]
fn a_credential_of_systemd_may_show_the_bits_of_its_access_list() {
    let folder = folder();
    let key = folder.path().join("namecheap.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o440)).unwrap();
    let path = folder.path().join("witness.toml");
    assert!(Config::parse(SHARED, &path, &|_| None).is_err());
    let at = folder.path().display().to_string();
    assert!(Config::parse(SHARED, &path, &|name| (name == "CREDENTIALS_DIRECTORY").then(|| at.clone())).is_ok());
}

#[test]
fn a_policy_alone() {
    let (interval, fast) = (Duration::from_secs(10), Duration::from_secs(2));
    let of = |json: &str| policy_of_keys(&serde_json::from_str(json).unwrap(), interval, fast);
    assert_eq!(of("{}"), Ok(Policy::default()));
    let policy = of(r#"{"strikes":2,"window":"10m","convict":["https","ping"],"rule":"classic"}"#).unwrap();
    assert_eq!((policy.strikes, policy.window), (2, Duration::from_secs(600)));
    assert_eq!(policy.convict, [ProbeKind::Https, ProbeKind::Ping]);
    assert_eq!(policy.rule, crate::model::RuleSet::Classic);
    let problems = of(r#"{"strikes":0,"windw":"10m","keep":{"a":[1,{"b":2}]},"reinstate":null}"#).unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["policy.keep", "policy.strikes", "policy.windw"]);

    assert_eq!(of(r#"{"keep":18446744073709551615}"#).unwrap_err()[0].key, "policy.keep");

    let text = "[witness]\ninterval = \"1s\"\n[policy]\nstrikes = 3\n[anything]\nelse = 1\n";
    let policy = policy_of_text(text, Path::new("p.toml")).unwrap();
    assert_eq!((policy.strikes, policy.interval, policy.fast_interval), (3, interval / 10, interval / 10));
    assert_eq!(policy_of_text("[policy]\nkeep = 0\n", Path::new("p.toml")).unwrap_err().len(), 1);
    assert_eq!(policy_of_text("[policy\nkeep = 0\n", Path::new("p.toml")).unwrap_err().len(), 1);
}

#[test]
fn every_threshold_has_its_key() {
    let text = r#"
[policy.evidence]
window = "1m"
silent_rounds = 5
silent_alone = "2m"
ask_tries = 3
idle_percent = 5
[policy.overload]
on_shortage = "keep"
canary = true
room_percent = 160
[policy.shed]
steps = [100, 70]
renew = "20s"
lasts = "1m"
up_percent = 50
[policy.comeback]
reuse = 9000
needed = "5s"
"#;
    let policy = policy_of_text(text, Path::new("p.toml")).unwrap();
    let seconds = Duration::from_secs;
    let usual = Policy::default();
    // What gives way to what is written does so without a word.
    assert_eq!(
        policy.evidence,
        crate::model::EvidencePolicy {
            window: seconds(60),
            silent_rounds: 5,
            silent_alone: seconds(120),
            silent_seen: seconds(120),
            ask_tries: 3,
            idle_percent: 5,
            ..usual.evidence
        }
    );
    assert_eq!(
        policy.overload,
        crate::model::OverloadPolicy {
            on_shortage: crate::model::Shortage::Keep,
            canary: true,
            room_percent: 160,
            room_dead_percent: 160,
            ..usual.overload
        }
    );
    assert_eq!(
        policy.shed,
        crate::model::ShedPolicy {
            steps: vec![100, 70],
            renew: seconds(20),
            lasts: seconds(60),
            up_percent: 50,
            down_percent: 49,
            blind_step: 1,
            ..usual.shed
        }
    );
    assert_eq!(
        policy.comeback,
        crate::model::ComebackPolicy {
            reuse: 9000,
            reuse_needed: 9000,
            penalty_max: 9000,
            needed: seconds(5),
            ..usual.comeback
        }
    );
}

/// Another value of any one key makes another policy than the default, and than any other key's.
#[test]
fn no_threshold_is_read_from_the_key_of_another() {
    let sections = SECTIONS.iter().filter(|section| section.name.starts_with("policy"));
    let keys: Vec<_> = sections.flat_map(|section| section.keys.iter().map(move |key| (section.name, key))).collect();
    let mut policies = vec![(String::new(), Policy::default())];
    for (section, key) in keys {
        let Absent::Is(usual) = key.absent else { panic!("{section}.{} has no default", key.name) };
        let other = match key.takes {
            Takes::Duration(..) => {
                let (number, unit) = usual.trim_matches('"').split_at(usual.find(char::is_alphabetic).unwrap() - 1);
                format!("\"{}{unit}\"", number.parse::<u32>().unwrap() * 2)
            }
            Takes::Count(..) | Takes::Percent(..) => (usual.parse::<u32>().unwrap() + 1).to_string(),
            Takes::Percents(..) => "[100, 70]".to_owned(),
            Takes::Bool => "true".to_owned(),
            Takes::Choice(words) => format!("{:?}", words[1]),
            Takes::Choices(words) => format!("[{:?}]", words[1]),
            ref other => panic!("no threshold takes {other:?}"),
        };
        let text = format!("[{section}]\n{} = {other}\n", key.name);
        let policy = policy_of_text(&text, Path::new("p.toml")).unwrap_or_else(|problems| panic!("{text}{problems:?}"));
        if let Some((same, _)) = policies.iter().find(|(_, known)| *known == policy) {
            panic!("{text} makes the same policy as {same:?}");
        }
        policies.push((text, policy));
    }
    assert!(policies.len() > 80, "{}", policies.len());
}

/// As a trace's header has them.
#[test]
fn thresholds_of_a_trace() {
    let (interval, fast) = (Duration::from_secs(10), Duration::from_secs(2));
    let of = |json: &str| policy_of_keys(&serde_json::from_str(json).unwrap(), interval, fast);
    let policy = of(
        r#"{"strikes":3,"evidence":{"silent_rounds":9,"window":null},"shed":{"steps":[100,50]},"overload":{"canary":true}}"#,
    )
    .unwrap();
    assert_eq!((policy.strikes, policy.evidence.silent_rounds, policy.overload.canary), (3, 9, true));
    assert_eq!(policy.evidence.window, Duration::from_secs(120));
    assert_eq!(policy.shed.steps, [100, 50]);
    let problems = of(r#"{"evidence":{"silent_ronds":9},"shed":{"steps":[100,100]},"overload":4}"#).unwrap_err();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["policy.evidence.silent_ronds", "policy.overload", "policy.shed.steps[1]"]);
}

/// A short time here lowers what is only a default there.
#[test]
fn defaults_give_way_in_both_directions() {
    let policy = |text: &str| policy_of_text(text, Path::new("p.toml")).unwrap();
    let evidence = policy("[policy.evidence]\nsilent_seen = \"5s\"\n").evidence;
    let seconds = Duration::from_secs;
    assert_eq!(
        (evidence.silent_confirmed, evidence.silent_alone, evidence.silent_seen),
        (seconds(5), seconds(5), seconds(5))
    );
    let evidence = policy("[policy.evidence]\nsilent_confirmed = \"2m\"\nhung_span = \"10s\"\n").evidence;
    assert_eq!(
        (evidence.silent_confirmed, evidence.silent_alone, evidence.silent_seen),
        (seconds(120), seconds(120), seconds(120))
    );
    assert_eq!((evidence.hung_idle_span, evidence.hung_span), (seconds(10), seconds(10)));
    assert_eq!(policy("[policy]\nprobation = \"3s\"\n").comeback.needed, seconds(3));
    assert_eq!(policy("[policy.shed]\nlasts = \"30s\"\n").shed.renew, seconds(10));
    assert_eq!(policy("[policy.overload]\nfull_percent = 40\n").overload.path_percent, 40);
}

#[test]
fn where_the_configuration_is() {
    let folder = folder();
    let here = folder.path().join("tsig.key");
    let nowhere = folder.path().join("nowhere.toml");
    let some = |path: &str| Some(PathBuf::from(path));
    let found = |cli, variable, usual: &[PathBuf]| find_among(cli, variable, usual).unwrap();
    assert_eq!(found(some("a"), some("b"), std::slice::from_ref(&here)), Path::new("a"));
    assert_eq!(found(None, some("b"), std::slice::from_ref(&here)), Path::new("b"));
    assert_eq!(found(None, some(""), &[nowhere.clone(), here.clone()]), here);
    let error = find_among(None, None, &["/a/witness.toml".into(), "/b/witness.toml".into()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no configuration: there is neither /a/witness.toml nor /b/witness.toml; write one, or name it with --config"
    );
    assert!(matches!(Config::load(&nowhere), Err(ConfigError::Unreadable { .. })));
    assert!(matches!(Config::load(folder.path()), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn every_default_is_within_its_own_bounds() {
    for section in SECTIONS {
        for key in section.keys {
            assert!(!key.says.is_empty() && key.says.ends_with(['.', '`']), "{}.{}", section.name, key.name);
            if let Absent::Is(default) = key.absent {
                assert!(toml::de::DeValue::parse(default).is_ok(), "{}.{}: {default}", section.name, key.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_is_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Config::read(&bytes, Path::new("witness.toml"), &environment, Secrets::Read).is_err());
    }

    #[test]
    fn rubbish_of_toml_is_refused_calmly(
        lines in prop::collection::vec(
            ("(\\[\\[?)?(witness|policy|probes|probes\\.https|pools|nodes|registrars|registrars\\.a|name|zone|ttl|keep|kind|x)(\\]\\]?)?( = )?",
             "(\"[a-z0-9.]{0,8}\"|[0-9]{1,25}|\\[|\\]|\\{|\\}|true|1.5|1979-05-27|\"10s\"|\\[\"a\", 1\\]|\\{a = 1\\}|inf|0x1F)?"),
            0..30,
        )
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key}{value}\n")).collect();
        if let Err(ConfigError::Problems(problems)) = parse(&text) {
            for problem in problems {
                prop_assert!(problem.line >= 1 && problem.line <= text.lines().count() + 1, "{problem:?}");
            }
        }
    }

    /// One change to the example is accepted, or refused with a place in the file.
    #[test]
    fn a_changed_example_is_judged_calmly(at in 0..SHARED.len(), with in "[ -~\\n\u{e9}]{0,3}", drop in 0_usize..6) {
        let mut text = SHARED.to_owned();
        let from = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let to = (at + drop..).find(|at| *at >= text.len() || text.is_char_boundary(*at)).unwrap().min(text.len());
        text.replace_range(from..to, &with);
        if let Err(ConfigError::Problems(problems)) = parse(&text) {
            prop_assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            for problem in problems {
                prop_assert!(problem.line <= text.lines().count() + 1, "{problem:?}");
                prop_assert!(!problem.to_string().contains("0123456789abcdef"));
            }
        }
    }

    /// One value replaced by another of any type: no panic, and never a configuration with the value unread.
    #[test]
    fn any_value_at_any_key_is_judged_calmly(
        line in 0..SHARED.lines().count(),
        value in prop::sample::select(&["1", "-1", "99999999999999999999", "1.5", "true", "\"\"", "\"x\"", "[]", "[1]", "[\"\"]", "{}", "{a=1}", "1979-05-27", "\"0s\"", "[[]]", "\"\\u0000\""][..]),
    ) {
        let text: String = SHARED.lines().enumerate().map(|(at, old)| match old.split_once('=') {
            Some((key, _)) if at == line && !old.starts_with('#') => format!("{key}= {value}\n"),
            _ => format!("{old}\n"),
        }).collect();
        let _ = parse(&text);
    }
}
