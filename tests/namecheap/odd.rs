//! Answers that are not what they should be: nothing is concluded from them, and nothing written on them.

use witness::registrar::{ApplyOutcome, Registrar as _, RegistrarError};
use witness_lab::namecheap::{Effect, Fault, On};

use crate::{Bench, apex, plan, usual};

const HOST: &str = r#"<host HostId="1" Name="@" Type="A" Address="192.0.2.11" MXPref="10" TTL="300" AssociatedAppTitle="" FriendlyName="" IsActive="true" IsDDNSEnabled="false" />"#;
const RESULT: &str = r#"Domain="example.com" EmailType="MX" IsUsingOurDNS="true""#;

fn answer(result: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="utf-8"?><ApiResponse Status="OK" xmlns="http://api.namecheap.com/xml.response"><Errors /><Warnings /><RequestedCommand>namecheap.domains.dns.gethosts</RequestedCommand><CommandResponse Type="namecheap.domains.dns.getHosts">{result}</CommandResponse></ApiResponse>"#
    )
}

fn hosts(attributes: &str, rows: &str) -> String {
    answer(&format!("<DomainDNSGetHostsResult {attributes}>{rows}</DomainDNSGetHostsResult>"))
}

async fn observe(body: &str) -> Result<usize, RegistrarError> {
    let bench = Bench::new(usual());
    bench.server.inject(Fault::once(On::GetHosts, Effect::Body(body.to_owned())));
    bench.registrar.observe(&[apex()]).await.map(|reading| reading.sets[&apex()].addresses.len())
}

/// What becomes of a change when `body` is the zone as it is read just before the write; no write may come of it.
async fn apply(body: &str) -> ApplyOutcome {
    let bench = Bench::new(usual());
    let reading = bench.observe().await;
    let before = bench.zone();
    bench.server.inject(Fault::once(On::GetHosts, Effect::Body(body.to_owned())));
    let outcome = bench.registrar.apply(&reading, &plan(&reading, &[(apex(), &["192.0.2.13"], &[])])).await;
    assert_eq!((bench.zone(), bench.writes()), (before, 0), "{outcome:?}");
    outcome
}

#[tokio::test]
async fn what_cannot_be_trusted_is_an_error_and_never_an_empty_set() {
    let row = |from: &str, to: &str| hosts(RESULT, &HOST.replace(from, to));
    let cases = [
        ("no rows", answer(&format!("<DomainDNSGetHostsResult {RESULT} />"))),
        ("no rows, open", hosts(RESULT, "")),
        ("rows of another name", hosts(RESULT, r#"<record Name="@" />"#)),
        ("no result", answer("")),
        ("another result", answer(r#"<DomainDNSSetHostsResult Domain="example.com" IsSuccess="true" />"#)),
        (
            "two results",
            answer(&format!("<DomainDNSGetHostsResult {RESULT}>{HOST}</DomainDNSGetHostsResult>").repeat(2)),
        ),
        ("another domain", hosts(&RESULT.replace("example.com", "example.net"), HOST)),
        ("no domain", hosts(&RESULT.replace("Domain=", "Dominion="), HOST)),
        ("a status of its own", hosts(RESULT, HOST).replace("Status=\"OK\"", "Status=\"MAYBE\"")),
        ("no status", hosts(RESULT, HOST).replace("Status=\"OK\"", "")),
        ("another root", hosts(RESULT, HOST).replace("ApiResponse", "Response")),
        ("two roots", format!("{0}{0}", hosts(RESULT, HOST).split_once("?>").unwrap().1)),
        (
            "OK with an error",
            hosts(RESULT, HOST).replace("<Errors />", r#"<Errors><Error Number="1">x</Error></Errors>"#),
        ),
        ("ERROR without an error", hosts(RESULT, HOST).replace("Status=\"OK\"", "Status=\"ERROR\"")),
        ("a row without its TTL", row("TTL=\"300\"", "")),
        ("a row without its type", row("Type=\"A\"", "")),
        ("a row without its address", row("Address=\"192.0.2.11\"", "")),
        ("a row without its name", row("Name=\"@\"", "Name=\"\"")),
        ("a row with an odd TTL", row("300", "soon")),
        ("a row with an odd flag", row("IsActive=\"true\"", "IsActive=\"perhaps\"")),
        ("an address that is none", row("192.0.2.11", "192.0.2.311")),
        ("an address of the other family", row("192.0.2.11", "2001:db8::1")),
        ("an attribute twice", row("TTL=\"300\"", "TTL=\"300\" ttl=\"60\"")),
        ("an unknown entity", row("192.0.2.11", "&address;")),
        ("a document type", hosts(RESULT, HOST).replace("?>", "?><!DOCTYPE x [<!ENTITY a \"b\">]>")),
        ("an unclosed row", hosts(RESULT, &HOST.replace(" />", ">"))),
        ("text", "Service temporarily unavailable".to_owned()),
        ("a page", "<html><head><title>Oops</title></head></html>".to_owned()),
        ("nothing", String::new()),
    ];
    for (what, body) in cases {
        let error = observe(&body).await;
        assert!(matches!(error, Err(RegistrarError::Untrusted { .. })), "{what}: {error:?}");
        let outcome = apply(&body).await;
        assert!(matches!(outcome, ApplyOutcome::Refused { .. }), "{what}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_answer_cut_anywhere_is_not_trusted() {
    let body = hosts(RESULT, HOST);
    let bench = Bench::new(usual());
    let cuts: Vec<usize> = (0..body.len()).step_by(97).collect();
    assert!(cuts.len() > 5 && cuts.len() < 16);
    for cut in cuts {
        bench.server.inject(Fault::once(On::GetHosts, Effect::Body(body[..cut].to_owned())));
        let error = bench.registrar.observe(&[apex()]).await;
        assert!(matches!(error, Err(RegistrarError::Untrusted { .. })), "{cut}: {error:?}");
    }
}

#[tokio::test]
async fn spelling_does_not_matter() {
    let cases = [
        ("another namespace", hosts(RESULT, HOST).replace("http://api.namecheap", "https://api.namecheap")),
        ("no namespace", hosts(RESULT, HOST).replace(" xmlns=\"http://api.namecheap.com/xml.response\"", "")),
        ("a prefix", hosts(RESULT, &HOST.replace("<host", "<n:host")).replace("xmlns=", "xmlns:n=")),
        ("Host", hosts(RESULT, &HOST.replace("<host", "<Host"))),
        ("a closing tag", hosts(RESULT, &HOST.replace(" />", "></host>"))),
        ("upper case", hosts(&RESULT.replace("example.com", "EXAMPLE.com").replace("true", "True"), HOST)),
        ("ok", hosts(RESULT, HOST).replace("Status=\"OK\"", "Status=\"Ok\"")),
        ("a type in lower case", hosts(RESULT, &HOST.replace("Type=\"A\"", "Type=\"a\""))),
        ("a byte order mark", format!("\u{feff}{}", hosts(RESULT, HOST))),
        ("character references", hosts(RESULT, &HOST.replace("192.0.2.11", "192.0.2.&#49;&#x31;"))),
        (
            "the documents' five attributes",
            hosts(RESULT, r#"<Host HostId="12" Name="@" Type="A" Address="192.0.2.11" MXPref="10" TTL="1800" />"#),
        ),
    ];
    for (what, body) in cases {
        assert_eq!(observe(&body).await, Ok(1), "{what}");
    }
}

#[tokio::test]
async fn an_error_counts_whatever_comes_with_it() {
    let junk = hosts(RESULT, HOST)
        .replace("Status=\"OK\"", "Status=\"ERROR\"")
        .replace("<Errors />", r#"<Errors><Error Number="2019166">Domain not found</Error></Errors>"#);
    let error = observe(&junk).await.unwrap_err();
    assert!(matches!(&error, RegistrarError::Permanent { why } if why.contains("Domain not found")), "{error:?}");
    // Of several the strongest counts, and all are named.
    let several =
        junk.replace("</Errors>", r#"<Error Number="1011150">Invalid request IP: 192.0.2.9</Error></Errors>"#);
    let error = observe(&several).await.unwrap_err();
    let RegistrarError::Auth { why } = &error else { panic!("{error:?}") };
    assert!(why.contains("2019166") && why.contains("192.0.2.9") && why.contains("allowed addresses"), "{why}");
    // Junk in a shape that would not pass for an answer is junk all the same.
    let worse = junk.replace("TTL=\"300\"", "TTL=\"\"").replace("Domain=\"example.com\"", "");
    assert!(matches!(observe(&worse).await, Err(RegistrarError::Permanent { .. })));
}

#[tokio::test]
async fn a_zone_that_is_served_elsewhere_is_not_ours_to_read_or_write() {
    for odd in ["IsUsingOurDNS=\"false\"", ""] {
        let body = hosts(&RESULT.replace("IsUsingOurDNS=\"true\"", odd), HOST);
        let error = observe(&body).await;
        assert!(matches!(error, Err(RegistrarError::Permanent { .. })), "{error:?}");
        assert!(matches!(apply(&body).await, ApplyOutcome::Permanent { .. }));
    }
    let bench = Bench::new(usual());
    bench.server.meddle(crate::ZONE, |zone| zone.using_our_dns = false);
    let error = bench.registrar.observe(&[apex()]).await.unwrap_err();
    assert!(matches!(&error, RegistrarError::Permanent { why } if why.contains("own name servers")), "{error:?}");
}
