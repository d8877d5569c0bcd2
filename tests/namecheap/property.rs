//! Whatever stands in a zone beside our addresses survives our changes byte for byte, and so does its mail.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use witness::model::RecordType;
use witness::registrar::namecheap::parse;
use witness::registrar::{ApplyOutcome, Registrar as _};
use witness_lab::namecheap::{Host, Rules, Zone};

use crate::{Bench, plan, set};

/// A text as people put it into TXT rows, and worse: everything that XML, forms or URLs treat specially.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9=; ._-]{1,12}",
        3 => prop::sample::select(vec![
            "&", "<", ">", "\"", "'", "+", "%", "%41", "%zz", "&amp;", "&#65;", "&quot;", "]]>", "<!--", "=", "?", "#",
            " ", "  ", "\\", "\\\"", "\t", "\n", "\r\n", ";", ",", "/", "&x=1", "é", "ß", "日本語", "🦀", "\u{a0}", "\u{2028}",
            "\u{85}", "\u{feff}",
        ]).prop_map(str::to_owned),
    ];
    vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("@".to_owned()),
        1 => Just("*".to_owned()),
        4 => "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?",
        2 => "_[a-z]{1,8}\\.[a-z]{1,6}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    "[a-z]{1,8}\\.example\\.(net|org)\\.".prop_map(|text| text)
}

/// A row that is not ours, as the provider keeps it.
fn row() -> impl Strategy<Value = Host> {
    let address = |rtype: &'static str| -> BoxedStrategy<String> {
        match rtype {
            "MX" | "CNAME" | "ALIAS" | "NS" => target().boxed(),
            "CAA" => prop_oneof![
                "0 (issue|issuewild|iodef) \"[a-z]{1,9}\\.org(; x=1&y=2)?\"",
                Just("128 issue \";\"".to_owned())
            ]
            .boxed(),
            "URL" | "URL301" | "FRAME" => {
                (target(), text()).prop_map(|(host, text)| format!("https://{host}/?q={text}")).boxed()
            }
            "MXE" | "A" => "198\\.51\\.100\\.(1?[1-9])".boxed(),
            "AAAA" => "2001:db8:(1|a|BEEF)::[1-9a-f]{1,3}".boxed(),
            _ => text().boxed(),
        }
    };
    let types = ["MX", "TXT", "CAA", "URL", "URL301", "FRAME", "CNAME", "ALIAS", "NS", "MXE", "A", "AAAA"];
    (prop::sample::select(types.to_vec()), name(), 60_u32..=60_000, 0_u32..=100, any::<(bool, bool)>()).prop_flat_map(
        move |(rtype, name, ttl, preference, (labelled, dynamic))| {
            address(rtype).prop_map(move |address| {
                // The apex's addresses are ours.
                let name =
                    if ["A", "AAAA"].contains(&rtype) && name == "@" { "other".to_owned() } else { name.clone() };
                let mut host = Host::new(&name, rtype, &address, ttl);
                if rtype == "MX" {
                    host = host.preference(preference);
                }
                if labelled {
                    host.friendly_name = "A \"label\" & more".to_owned();
                    host.app_title = "<Parking>".to_owned();
                }
                host.dynamic = dynamic && rtype == "A";
                host
            })
        },
    )
}

#[derive(Clone, Debug)]
struct Case {
    zone: Zone,
    hostile: bool,
    /// How many addresses go, of four at the apex.
    out: usize,
    v6: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let mail = prop::sample::select(vec!["NONE", "FWD", "MX", "MXE", "OX", "GMAIL"]);
    (vec(row(), 0..30), mail, 60_u32..=3600, any::<bool>(), 1_usize..4, any::<bool>()).prop_map(
        |(rows, mail, ttl, hostile, out, v6)| {
            let mut hosts: Vec<Host> = (11..15).map(|n| Host::new("@", "A", &format!("192.0.2.{n}"), ttl)).collect();
            hosts.extend((11..15).map(|n| Host::new("@", "AAAA", &format!("2001:db8::{n}"), ttl)));
            let mut seen = BTreeSet::new();
            hosts.extend(rows.into_iter().filter(|row| {
                // Two rows that differ in spelling alone cannot both be kept by the provider.
                seen.insert((row.name.clone(), row.rtype.clone(), row.address.to_lowercase()))
            }));
            Case { zone: Zone::new(mail, hosts), hostile, out, v6 }
        },
    )
}

/// The rows that are not in the set under change; a dynamic row is compared as the plain one it becomes.
fn others(zone: &Zone, rtype: &str) -> Vec<Host> {
    zone.hosts
        .iter()
        .filter(|host| (host.name.as_str(), host.rtype.as_str()) != ("@", rtype))
        .map(|host| Host { dynamic: false, ..host.clone() })
        .collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn everything_else_survives(case in case()) {
        let rules = Rules { email_type_resets: case.hostile, ..Rules::default() };
        let bench = Bench::with(case.zone.clone(), rules, Duration::from_secs(20), true);
        let before = bench.zone();
        let (rtype, prefix) = if case.v6 { (RecordType::Aaaa, "2001:db8::") } else { (RecordType::A, "192.0.2.") };
        let ours = set("@", rtype);
        let moved: Vec<String> = (11..11 + case.out).map(|n| format!("{prefix}{n}")).collect();
        let moved: Vec<&str> = moved.iter().map(String::as_str).collect();
        run(async {
            let reading = bench.registrar.observe(std::slice::from_ref(&ours)).await.unwrap();
            let outcome = bench.registrar.apply(&reading, &plan(&reading, &[(ours.clone(), &moved, &[])])).await;
            prop_assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
            let between = bench.zone();
            prop_assert_eq!(others(&between, rtype.name()), others(&before, rtype.name()));
            prop_assert_eq!(&between.email_type, &before.email_type);
            prop_assert_eq!(between.hosts.len(), before.hosts.len() - case.out);

            let reading = bench.registrar.observe(std::slice::from_ref(&ours)).await.unwrap();
            let outcome = bench.registrar.apply(&reading, &plan(&reading, &[(ours.clone(), &[], &moved)])).await;
            prop_assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
            let after = bench.zone();
            prop_assert_eq!(others(&after, rtype.name()), others(&before, rtype.name()));
            prop_assert_eq!(&after.email_type, &before.email_type);
            let plain = |zone: &Zone| -> BTreeSet<(String, String, String, String)> {
                let row = |host: &Host| (host.name.clone(), host.rtype.clone(), host.address.clone(), host.ttl.clone());
                zone.hosts.iter().map(row).collect()
            };
            prop_assert_eq!(plain(&after), plain(&before));
            prop_assert_eq!(bench.writes(), 2);
            Ok(())
        })?;
    }

    #[test]
    fn zones_with_dynamic_rows_are_left_alone_unless_allowed(case in case()) {
        let dynamic = case.zone.hosts.iter().any(|host| host.dynamic);
        let bench = Bench::new(case.zone);
        let before = bench.zone();
        let outcome = run(bench.remove("192.0.2.11"));
        if dynamic {
            prop_assert!(matches!(outcome, ApplyOutcome::Refused { .. }), "{outcome:?}");
            prop_assert_eq!(bench.zone(), before);
        } else {
            prop_assert!(matches!(outcome, ApplyOutcome::Applied { .. }), "{outcome:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_is_no_answer(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(parse(&bytes).is_err());
    }

    #[test]
    fn rubbish_that_looks_like_xml_does_no_harm(pieces in vec(prop::sample::select(vec![
        "<", ">", "/", "</", "/>", "<?xml version=\"1.0\"?>", "<ApiResponse Status=\"OK\">", "</ApiResponse>",
        "<CommandResponse>", "</CommandResponse>", "<DomainDNSGetHostsResult Domain=\"example.com\">",
        "</DomainDNSGetHostsResult>", "<host Name=\"@\" Type=\"A\" Address=\"192.0.2.1\" MXPref=\"10\" TTL=\"60\"/>",
        "<host ", "Name=", "\"", "'", "&amp;", "&x;", "&#0;", "&#xFFFFFFFF;", "<!--", "-->", "<![CDATA[", "]]>",
        "<!DOCTYPE a [", "]>", "<Errors><Error Number=\"1\">", "</Error></Errors>", "\u{feff}", "\0", " ", "é",
    ]), 0..60)) {
        // Only that it comes back: most of these are no answers, and some by chance are.
        drop(parse(pieces.concat().as_bytes()));
    }
}
