use super::super::markup::{Document, Outcome, read_document};
use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn request(command: &str, more: &[(&str, &str)]) -> Request {
    let account = [("ApiUser", "example"), ("apikey", "key"), ("USERNAME", "example"), ("ClientIP", "127.0.0.1")];
    let call = [("Command", command), ("SLD", "Example"), ("TLD", "com")];
    let parameters = account.iter().chain(&call).chain(more);
    Request {
        method: "POST".to_owned(),
        target: "/xml.response".to_owned(),
        parameters: parameters.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

fn world(rules: Rules) -> World {
    let mut world = World::new(Account::keyed("key"), rules);
    let hosts = vec![
        Host { friendly_name: "CNAME Record".to_owned(), ..Host::new("www", "CNAME", "example.net.", 1800) },
        Host::new("@", "MX", "mail.example.net.", 300).preference(5),
        Host::new("home", "A", "192.0.2.1", 300).dynamic(),
    ];
    world.seed("example.com", Zone::new("MX", hosts));
    world
}

fn ask(world: &mut World, command: &str, more: &[(&str, &str)]) -> Document {
    let reply = world.answer(&request(command, more), HERE);
    assert_eq!(reply.status, 200);
    read_document(std::str::from_utf8(&reply.body).unwrap()).unwrap()
}

fn set(world: &mut World, more: &[(&str, &str)]) -> Document {
    ask(world, "namecheap.domains.dns.SETHOSTS", more)
}

fn rows(world: &World) -> Vec<(String, String, String, String, String)> {
    let row = |host: Host| (host.name, host.rtype, host.address, host.mx_pref, host.ttl);
    world.zone("example.com").unwrap().hosts.into_iter().map(row).collect()
}

fn number(world: &mut World, request: &Request, peer: IpAddr) -> u32 {
    let reply = world.answer(request, peer);
    read_document(std::str::from_utf8(&reply.body).unwrap()).unwrap().errors.first().map_or(0, |(number, _)| *number)
}

#[test]
fn rows_are_stored_in_the_providers_way() {
    let mut world = world(Rules::default());
    let before = world.zone("example.com").unwrap();
    let answer = set(
        &mut world,
        &[
            ("hostname2", "WWW"),
            ("RecordType2", "cname"),
            ("Address2", "example.net"),
            ("mxpref2", "77"),
            ("HostName1", "@"),
            ("RecordType1", "MX"),
            ("Address1", "mail.example.net"),
            ("MxPref1", "5"),
            ("TTL1", "30"),
            ("HostName3", "www"),
            ("RecordType3", "CNAME"),
            ("Address3", "example.net."),
            ("TTL3", "60"),
            ("HostName4", "@"),
            ("RecordType4", "MX"),
            ("Address4", "mail.example.net."),
            ("MXPref4", "50"),
            ("HostName5", "@"),
            ("RecordType5", "TXT"),
            ("Address5", "Mixed Case."),
            ("TTL5", "70000"),
        ],
    );
    let attributes = [("Domain", "example.com"), ("IsSuccess", "true")];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    assert_eq!(answer.outcome, Outcome::Set { attributes });
    assert_eq!((answer.status.as_str(), answer.command.as_str()), ("OK", "namecheap.domains.dns.sethosts"));
    let row = |name: &str, rtype: &str, address: &str, preference: &str, ttl: &str| {
        (name.to_owned(), rtype.to_owned(), address.to_owned(), preference.to_owned(), ttl.to_owned())
    };
    let wanted = [
        row("www", "CNAME", "example.net.", "10", "1800"),
        row("@", "MX", "mail.example.net.", "5", "60"),
        row("@", "TXT", "Mixed Case.", "10", "60000"),
    ];
    assert_eq!(rows(&world), wanted);
    let after = world.zone("example.com").unwrap();
    let id = |zone: &Zone, name: &str, rtype: &str| {
        zone.hosts.iter().find(|host| (host.name.as_str(), host.rtype.as_str()) == (name, rtype)).unwrap().id
    };
    assert_eq!(id(&after, "www", "CNAME"), id(&before, "www", "CNAME"));
    assert_eq!(after.hosts[0].friendly_name, "CNAME Record");
    assert!(before.hosts.iter().all(|host| host.id < id(&after, "@", "TXT")));
    assert_eq!(after.email_type, "MX");
}

#[test]
fn a_write_without_email_type_keeps_it_or_resets_it() {
    let mail = [
        ("HostName1", "@"),
        ("RecordType1", "MX"),
        ("Address1", "mail.example.net."),
        ("MXPref1", "5"),
        ("HostName2", "@"),
        ("RecordType2", "A"),
        ("Address2", "192.0.2.1"),
    ];
    let mut kind = world(Rules::default());
    set(&mut kind, &mail);
    assert_eq!((kind.zone("example.com").unwrap().email_type.as_str(), rows(&kind).len()), ("MX", 2));
    let mut hostile = world(Rules { email_type_resets: true, ..Rules::default() });
    set(&mut hostile, &mail);
    assert_eq!((hostile.zone("example.com").unwrap().email_type.as_str(), rows(&hostile).len()), ("NONE", 1));
    let mut said = world(Rules { email_type_resets: true, ..Rules::default() });
    set(&mut said, &[mail.as_slice(), &[("EmailType", "gmail")]].concat());
    assert_eq!((said.zone("example.com").unwrap().email_type.as_str(), rows(&said).len()), ("GMAIL", 2));
}

#[test]
fn an_emptied_zone_is_parked_and_a_dynamic_row_becomes_plain() {
    let mut world = world(Rules::default());
    set(
        &mut world,
        &[("HostName1", "home"), ("RecordType1", "A"), ("Address1", "192.0.2.1"), ("IsDDNSEnabled1", "true")],
    );
    assert!(!world.zone("example.com").unwrap().hosts[0].dynamic);
    set(&mut world, &[]);
    let types: Vec<String> = rows(&world).into_iter().map(|row| row.1).collect();
    assert_eq!(types, ["CNAME", "URL"]);
}

#[test]
fn what_is_wrong_has_the_originals_numbers() {
    let mut world = world(Rules::default());
    let get = "namecheap.domains.dns.getHosts";
    let without = |name: &str| {
        let mut request = request(get, &[]);
        request.parameters.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        request
    };
    let elsewhere = IpAddr::from([192, 0, 2, 9]);
    for (request, peer, wanted) in [
        (request(get, &[]), HERE, 0),
        (request(get, &[("TLD", "net")]), HERE, 2_019_166),
        (request("namecheap.domains.dns.setHosts", &[("TLD", "net")]), HERE, 2_019_166),
        (request("namecheap.domains.getInfo", &[("DomainName", "example.net")]), HERE, 2_030_166),
        (request("namecheap.domains.getInfo", &[("DomainName", "Example.com")]), HERE, 0),
        (request(get, &[("ApiKey", "wrong")]), HERE, 1_011_102),
        (request(get, &[("ApiUser", "wrong")]), HERE, 1_011_102),
        (request(get, &[("UserName", "wrong")]), HERE, 1_016_103),
        (request(get, &[("ClientIp", "2001:db8::1")]), HERE, 1_011_105),
        (request(get, &[]), elsewhere, 1_011_150),
        (without("apikey"), HERE, 1_010_102),
        (without("apiuser"), HERE, 1_010_101),
        (without("clientip"), HERE, 1_010_105),
        (without("command"), HERE, 1_010_104),
        (request("namecheap.unknown", &[]), HERE, 1_010_104),
    ] {
        assert_eq!(number(&mut world, &request, peer), wanted, "{request:?}");
    }
    let many: Vec<(String, String)> = (0..151)
        .flat_map(|n| {
            [
                (format!("HostName{n}"), format!("n{n}")),
                (format!("RecordType{n}"), "TXT".to_owned()),
                (format!("Address{n}"), "x".to_owned()),
            ]
        })
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let before = rows(&world);
    assert_eq!(set(&mut world, &many).errors[0].0, 3_013_288);
    assert_eq!(rows(&world), before);
    world.meddle("example.com", |zone| zone.using_our_dns = false);
    assert_eq!(number(&mut world, &request(get, &[]), HERE), 2_030_288);
}

#[test]
fn an_empty_zone_is_listed_as_an_empty_element() {
    let mut world = world(Rules::default());
    world.meddle("example.com", |zone| zone.hosts.clear());
    let reply = world.answer(&request("namecheap.domains.dns.getHosts", &[]), HERE);
    let text = String::from_utf8(reply.body).unwrap();
    assert!(
        text.contains("<DomainDNSGetHostsResult Domain=\"example.com\" EmailType=\"MX\" IsUsingOurDNS=\"true\" />"),
        "{text}"
    );
}
