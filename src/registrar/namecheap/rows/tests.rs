use super::*;

fn row(name: &str, rtype: &str, address: &str, ttl: &str) -> Row {
    Row {
        name: name.to_owned(),
        rtype: rtype.to_owned(),
        address: address.to_owned(),
        mx_pref: "10".to_owned(),
        ttl: ttl.to_owned(),
        host_id: "1".to_owned(),
        active: true,
        dynamic: false,
        friendly_name: String::new(),
        app_title: String::new(),
    }
}

fn list(rows: Vec<Row>) -> HostList {
    HostList {
        domain: "example.com".to_owned(),
        email_type: Some("MX".to_owned()),
        using_our_dns: Some(true),
        rows,
        strange: Vec::new(),
    }
}

fn usual() -> HostList {
    list(vec![
        row("@", "A", "192.0.2.11", "300"),
        row("@", "A", "192.0.2.12", "300"),
        row("@", "TXT", "x", "1799"),
        Row { mx_pref: "5".to_owned(), ..row("@", "MX", "mail.example.net.", "1800") },
    ])
}

fn apex() -> SetKey {
    SetKey { owner: "@".to_owned(), rtype: RecordType::A }
}

fn change(remove: &[&str], add: &[&str]) -> Change {
    let parse = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
    Change {
        set: apex(),
        ttl: 300,
        before: parse(&["192.0.2.11", "192.0.2.12"]),
        remove: parse(remove),
        add: parse(add),
    }
}

#[test]
fn an_edit_touches_its_addresses_alone() {
    let rows = usual().edited(&[change(&["192.0.2.11"], &["192.0.2.13"])]).unwrap();
    let wanted = [&usual().rows[1..], &[Row { host_id: String::new(), ..row("@", "A", "192.0.2.13", "300") }]].concat();
    assert_eq!(rows, wanted);
}

#[test]
fn an_edit_that_cannot_be_exact_is_refused() {
    let twin = |ttl: &str| {
        let mut list = usual();
        list.rows.push(row("@", "a", "192.0.2.11", ttl));
        list
    };
    for (list, change, why) in [
        (usual(), change(&["192.0.2.99"], &[]), "stands 0 times"),
        (twin("60"), change(&["192.0.2.11"], &[]), "stands 2 times"),
        (twin("300"), change(&["192.0.2.11"], &[]), "stands 2 times"),
        (usual(), change(&[], &["192.0.2.12"]), "already"),
        (usual(), change(&["192.0.2.11", "192.0.2.12"], &[]), "without an address"),
        (usual(), Change { ttl: 59, ..change(&[], &["192.0.2.13"]) }, "TTL of 59 s"),
        (usual(), Change { ttl: 60_001, ..change(&[], &["192.0.2.13"]) }, "TTL of 60001 s"),
    ] {
        let error = list.edited(&[change]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_same_meaning_has_many_spellings() {
    for (one, other) in [
        (row("WWW", "cname", "example.net", "60"), row("www", "CNAME", "example.net.", "60")),
        (row("@", "AAAA", "2001:DB8:0::1", "60"), row("@", "AAAA", "2001:db8::1", "60")),
        (Row { mx_pref: "7".to_owned(), ..row("@", "TXT", "x", "60") }, row("@", "TXT", "x", "60")),
    ] {
        assert_eq!(one.meaning(), other.meaning());
    }
    for (one, other) in [
        (row("@", "TXT", "x.", "60"), row("@", "TXT", "x", "60")),
        (row("@", "TXT", "X", "60"), row("@", "TXT", "x", "60")),
        (row("@", "CNAME", "x..", "60"), row("@", "CNAME", "x", "60")),
        (row("@", "A", "192.0.2.1", "61"), row("@", "A", "192.0.2.1", "60")),
        (Row { mx_pref: "7".to_owned(), ..row("@", "MX", "x", "60") }, row("@", "MX", "x", "60")),
    ] {
        assert_ne!(one.meaning(), other.meaning());
    }
}

#[test]
fn a_mismatch_says_what_is_gone_and_what_is_new() {
    let wanted = usual().multiset();
    assert_eq!(mismatch(&wanted, Some("MX"), &usual()), None);
    let mut found = usual();
    found.rows.remove(3);
    found.rows[0].ttl = "60".to_owned();
    found.email_type = Some("NONE".to_owned());
    let words = mismatch(&wanted, Some("MX"), &found).unwrap();
    assert_eq!(
        words,
        "-@ A \"192.0.2.11\" TTL 300, -@ MX \"mail.example.net\" TTL 1800 preference 5, \
         +@ A \"192.0.2.11\" TTL 60, EmailType NONE instead of MX"
    );
    let twice = list([usual().rows, vec![row("@", "TXT", "x", "1799")]].concat());
    assert!(mismatch(&wanted, Some("MX"), &twice).is_some());
}

#[test]
fn sets_hold_active_addresses_and_the_longest_ttl() {
    let mut list = usual();
    list.rows[1].ttl = "900".to_owned();
    list.rows.push(Row { active: false, ..row("@", "A", "192.0.2.15", "300") });
    let absent = SetKey { owner: "files".to_owned(), rtype: RecordType::Aaaa };
    let sets = list.sets(&[apex(), absent.clone()]).unwrap();
    assert_eq!((sets[&apex()].ttl, sets[&apex()].addresses.len()), (900, 2));
    assert_eq!(sets[&absent], RecordSet::default());
}
