//! Zones that a write would damage are read and not written; the key is seen by the server alone.

use std::time::Duration;

use tokio::task::JoinSet;
use witness::model::{RecordType, Secret};
use witness::registrar::namecheap::Namecheap;
use witness::registrar::{ApplyOutcome, Registrar as _, RegistrarError};
use witness_lab::namecheap::{Effect, Fault, Host, On, Rules, Zone};

use crate::{Bench, KEY, addresses, apex, approved, plan, set, usual};

#[tokio::test]
async fn zones_that_a_write_would_damage_are_not_written() {
    type Meddle = fn(&mut Zone);
    let cases: [(&str, Meddle, &str); 8] = [
        ("a type of tomorrow", |zone| zone.hosts.push(Host::new("x", "SVCB", "1 . alpn=h2", 300)), "cannot carry"),
        ("an SRV row", |zone| zone.hosts.push(Host::new("_sip._udp", "SRV", "0 5 5060 x.", 300)), "cannot carry"),
        ("a dynamic row", |zone| zone.hosts.push(Host::new("home", "A", "192.0.2.99", 300).dynamic()), "dynamic-DNS"),
        ("no EmailType", |zone| zone.email_type.clear(), "EmailType"),
        (
            "an inactive row",
            |zone| {
                zone.hosts.push(Host { active: false, ..Host::new("off", "A", "192.0.2.98", 300) });
            },
            "not active",
        ),
        ("twins in the managed set", |zone| zone.hosts.push(Host::new("@", "A", "192.0.2.13", 60)), "twice"),
        (
            "twins elsewhere",
            |zone| {
                zone.hosts.push(Host::new("@", "MX", "mail.example.net", 1800).preference(50));
            },
            "twice",
        ),
        (
            "too many rows",
            |zone| {
                zone.hosts.extend((zone.hosts.len()..151).map(|n| Host::new(&format!("n{n}"), "TXT", "x", 300)));
            },
            "150",
        ),
    ];
    for (what, meddle, why) in cases {
        let bench = Bench::new(usual());
        bench.server.meddle(crate::ZONE, meddle);
        let before = bench.zone();
        // Reading works: it is only the writing that would do harm.
        assert_eq!(bench.observe().await.sets[&apex()].addresses.len(), 4, "{what}");
        let outcome = bench.remove("192.0.2.13").await;
        let ApplyOutcome::Refused { why: said } = &outcome else { panic!("{what}: {outcome:?}") };
        assert!(said.contains(why), "{what}: {said}");
        assert_eq!((bench.zone(), bench.writes()), (before, 0), "{what}");
    }
}

#[tokio::test]
async fn dynamic_rows_become_plain_only_where_that_is_allowed() {
    let bench = Bench::with(usual(), Rules::default(), Duration::from_secs(10), true);
    bench.server.meddle(crate::ZONE, |zone| zone.hosts.push(Host::new("home", "A", "192.0.2.99", 300).dynamic()));
    let outcome = bench.remove("192.0.2.13").await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    let home = bench.zone().hosts.into_iter().find(|host| host.name == "home").unwrap();
    assert_eq!((home.address.as_str(), home.dynamic), ("192.0.2.99", false));
}

#[tokio::test]
async fn a_full_zone_takes_no_further_row() {
    let bench = Bench::new(usual());
    let missing = 150 - usual().hosts.len();
    bench.server.meddle(crate::ZONE, |zone| {
        zone.hosts.extend((0..missing).map(|n| Host::new(&format!("n{n}"), "TXT", "x", 300)));
    });
    let reading = bench.observe().await;
    let more = plan(&reading, &[(apex(), &[], &["192.0.2.15"])]);
    let outcome = bench.registrar.apply(&reading, &more).await;
    assert!(matches!(&outcome, ApplyOutcome::Refused { why } if why.contains("151 rows")), "{outcome:?}");
    let outcome = bench.remove("192.0.2.13").await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(bench.zone().hosts.len(), 149);
}

#[tokio::test]
async fn a_row_is_not_added_with_a_ttl_that_would_not_be_kept() {
    let bench = Bench::new(usual());
    let reading = bench.registrar.observe(&[set("new", RecordType::Aaaa)]).await.unwrap();
    assert!(reading.sets[&set("new", RecordType::Aaaa)].addresses.is_empty());
    let change = plan(&reading, &[(set("new", RecordType::Aaaa), &[], &["2001:db8::1"])]);
    let outcome = bench.registrar.apply(&reading, &change).await;
    assert!(matches!(&outcome, ApplyOutcome::Refused { why } if why.contains("TTL of 0 s")), "{outcome:?}");
    assert_eq!(bench.writes(), 0);
}

#[tokio::test]
async fn ipv6_addresses_are_the_same_however_they_are_spelt() {
    let bench = Bench::new(usual());
    bench.server.meddle(crate::ZONE, |zone| {
        zone.hosts.push(Host::new("@", "AAAA", "2001:DB8:0:0:0:0:0:1", 300));
        zone.hosts.push(Host::new("@", "AAAA", "2001:db8::2", 300));
    });
    let v6 = set("@", RecordType::Aaaa);
    let reading = bench.registrar.observe(std::slice::from_ref(&v6)).await.unwrap();
    let outcome = bench.registrar.apply(&reading, &plan(&reading, &[(v6, &["2001:db8::1"], &["2001:db8::3"])])).await;
    assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
    let left: Vec<String> =
        bench.zone().hosts.into_iter().filter(|host| host.rtype == "AAAA").map(|host| host.address).collect();
    assert_eq!(left, ["2001:db8::2", "2001:db8::3"]);
}

#[tokio::test]
async fn a_plan_for_another_zone_or_another_state_is_not_carried_out() {
    let bench = Bench::new(usual());
    let reading = bench.observe().await;
    let elsewhere = plan(&reading, &[(apex(), &["192.0.2.13"], &[])]).plan().changes.clone();
    let outcome = bench.registrar.apply(&reading, &approved("example.net", elsewhere.clone())).await;
    assert!(matches!(&outcome, ApplyOutcome::Refused { why } if why.contains("example.net")), "{outcome:?}");
    assert_eq!(bench.server.calls().len(), 1, "nobody is asked about a plan that is not ours");
    // A plan against a set that is not what stands there, with a reading that is.
    let mut wrong = elsewhere;
    wrong[0].before.insert("192.0.2.15".parse().unwrap());
    let outcome = bench.registrar.apply(&reading, &approved(crate::ZONE, wrong)).await;
    assert!(matches!(outcome, ApplyOutcome::Conflict { .. }), "{outcome:?}");
    assert_eq!((addresses(&bench.zone()).len(), bench.writes()), (4, 0));
}

#[tokio::test]
async fn restore_info_has_every_row() {
    let bench = Bench::new(usual());
    let info = bench.registrar.restore_info().await.unwrap();
    assert_eq!(info["email_type"], "MX");
    let rows = info["rows"].as_array().unwrap();
    assert_eq!(rows.len(), usual().hosts.len());
    assert!(rows.iter().any(|row| row["address"] == "k=rsa; p=a+b/c==&<\"x'>%41 ü 日本" && row["type"] == "TXT"));
    assert_eq!(bench.observe().await.preimage, info);
}

#[tokio::test]
async fn the_mark_of_a_state_does_not_depend_on_order_or_numbers() {
    let bench = Bench::new(usual());
    let before = bench.observe().await.token;
    bench.server.meddle(crate::ZONE, |zone| zone.hosts.iter_mut().for_each(|host| host.id = 9000 - host.id));
    assert_eq!(bench.observe().await.token, before);
    bench.server.meddle(crate::ZONE, |zone| zone.hosts[0].ttl = "301".to_owned());
    assert_ne!(bench.observe().await.token, before);
}

#[tokio::test]
async fn wrong_credentials_are_told_apart() {
    let bench = Bench::new(usual());
    for (change, number) in [
        ((|settings| settings.api_key = Secret::new("wrong")) as fn(&mut witness::model::NamecheapSettings), "1011102"),
        (|settings| settings.username = "other".to_owned(), "1016103"),
    ] {
        let mut settings = bench.settings.clone();
        change(&mut settings);
        let registrar = Namecheap::new(&settings, crate::ZONE, Duration::from_secs(10)).unwrap();
        let error = registrar.observe(&[apex()]).await.unwrap_err();
        assert!(matches!(&error, RegistrarError::Auth { why } if why.contains(number)), "{error:?}");
    }
    let other = Namecheap::new(&bench.settings, "example.net", Duration::from_secs(10)).unwrap();
    let error = other.observe(&[apex()]).await.unwrap_err();
    assert!(matches!(&error, RegistrarError::Permanent { why } if why.contains("not in this account")), "{error:?}");
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let bench = Bench::new(usual());
    let new = |zone: &str, change: fn(&mut witness::model::NamecheapSettings)| {
        let mut settings = bench.settings.clone();
        change(&mut settings);
        match Namecheap::new(&settings, zone, Duration::from_secs(1)) {
            Err(RegistrarError::Permanent { why }) => why,
            other => panic!("{zone}: {other:?}"),
        }
    };
    assert!(new("co.uk", |_| {}).contains("public suffix"));
    assert!(new("files.example.com", |_| {}).contains("\"example.com\""));
    assert!(new("example.com", |s| s.endpoint = "http://api.example.com/".to_owned()).contains("https://"));
    assert!(new("example.com", |s| s.api_key = Secret::new("")).contains("API key"));
    let why = new("example.com", |s| s.api_key = Secret::new("two words\n"));
    assert!(why.contains("API key") && !why.contains("two words"), "{why}");
}

async fn key_stays_hidden(on: On, effect: Effect) {
    let bench = Bench::with(usual(), Rules::default(), Duration::from_millis(900), false);
    let reading = bench.observe().await;
    bench.server.inject(Fault::always(on, effect.clone()));
    let change = plan(&reading, &[(apex(), &["192.0.2.13"], &[])]);
    let seen = [
        format!("{:?}", bench.registrar.apply(&reading, &change).await),
        format!("{:?}", bench.registrar.observe(&[apex()]).await),
        format!("{:?}", bench.registrar.restore_info().await.map_err(|error| error.to_string())),
        format!("{:?} {:#?}", bench.registrar, bench.settings),
        format!("{reading:?}"),
    ];
    for text in seen {
        assert!(!text.contains("k3y-that"), "{text}");
    }
    for call in bench.server.calls() {
        assert_eq!((call.method.as_str(), call.target.as_str()), ("POST", "/xml.response"));
        assert!(call.parameters.iter().any(|(name, value)| name == "ApiKey" && value == KEY));
    }
}

#[tokio::test]
async fn the_key_is_in_the_body_and_nowhere_else() {
    let effects = [
        Effect::SilentAfterApply,
        Effect::Reset,
        Effect::Truncated,
        Effect::RateLimited,
        Effect::Status(500),
        Effect::Status(404),
        Effect::Error(1_011_102, format!("API Key {KEY} is invalid")),
        Effect::Error(5_050_900, format!("unhandled: ApiKey={KEY}&SLD=example")),
        Effect::Body(format!("<ApiResponse Status=\"{KEY}\"/>")),
        Effect::Body(format!("<{KEY}/>")),
        Effect::Body(KEY.to_owned()),
        // Where a long text is cut, half of the key must not be left.
        Effect::Error(1_011_102, format!("{}{KEY}", "x".repeat(290))),
        Effect::Error(1_011_102, format!("{}ApiKey=k3y-that-nobody%2Bmay-see", "x".repeat(270))),
    ];
    let mut running = JoinSet::new();
    for effect in effects {
        for on in [On::GetHosts, On::SetHosts] {
            running.spawn(key_stays_hidden(on, effect.clone()));
        }
    }
    assert_eq!(running.join_all().await.len(), 26);
    // Nobody there at all: the error of the HTTP client names no key either.
    let bench = Bench::new(usual());
    let Bench { server, registrar, .. } = bench;
    drop(server);
    let error = registrar.observe(&[apex()]).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains(KEY));
}

#[tokio::test]
async fn nothing_is_said_in_the_clear_to_what_should_be_secure() {
    let bench = Bench::new(usual());
    let mut settings = bench.settings.clone();
    settings.endpoint = settings.endpoint.replace("http://", "https://");
    match Namecheap::new(&settings, crate::ZONE, Duration::from_secs(10)) {
        Ok(registrar) => {
            let error = registrar.observe(&[apex()]).await.unwrap_err();
            assert!(matches!(error, RegistrarError::Transient { .. }), "{error:?}");
        }
        Err(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
    }
    assert!(bench.server.calls().is_empty());
}

/// A proxy would see the key, and a dead one would keep us from our work.
#[test]
fn proxies_in_the_environment_are_ignored() {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::two_sets_change_in_one_write"])
        .envs(
            ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"]
                .map(|name| (name, "http://127.0.0.1:1")),
        )
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn it_says_what_it_can_do() {
    let bench = Bench::new(usual());
    let said = serde_json::to_value(bench.registrar.describe()).unwrap();
    assert_eq!(
        (&said["kind"], &said["granularity"], &said["compare_and_swap"]),
        (&"namecheap".into(), &"zone".into(), &"reread".into())
    );
    assert_eq!((said["ttl_min"].as_u64(), said["calls"].as_array().unwrap().len()), (Some(60), 2));
}
