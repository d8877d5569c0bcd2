use super::*;

const ROW: &str = r#"<host HostId="7" Name="www" Type="TXT" Address="a &amp; &quot;b&quot; &lt;c&gt; &#xE9;&#10;d" MXPref="10" TTL="60" AssociatedAppTitle="" FriendlyName="F" IsActive="true" IsDDNSEnabled="false" />"#;

fn document(status: &str, errors: &str, response: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<ApiResponse Status=\"{status}\" \
         xmlns=\"http://api.namecheap.com/xml.response\">\r\n  <Errors>{errors}</Errors>\r\n  \
         <CommandResponse>{response}</CommandResponse>\r\n</ApiResponse>\r\n"
    )
}

fn hosts(rows: &str) -> String {
    document(
        "OK",
        "",
        &format!(
            "<DomainDNSGetHostsResult Domain=\"example.com\" EmailType=\"FWD\" IsUsingOurDNS=\"true\">{rows}\
             </DomainDNSGetHostsResult>"
        ),
    )
}

fn list(text: &str) -> HostList {
    match parse(text.as_bytes()) {
        Ok(Answer::Hosts(list)) => list,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_is_read_with_everything_in_it() {
    let list = list(&hosts(ROW));
    assert_eq!((list.domain.as_str(), list.email_type.as_deref()), ("example.com", Some("FWD")));
    let row = &list.rows[0];
    assert_eq!(row.address, "a & \"b\" <c> é\nd");
    assert_eq!((row.host_id.as_str(), row.friendly_name.as_str(), row.active), ("7", "F", true));
}

#[test]
fn a_line_break_that_xml_would_swallow_is_not_guessed() {
    let error = parse(hosts(&ROW.replace("&#10;", "\n")).as_bytes()).unwrap_err();
    assert!(matches!(error, XmlError::Shape(_)), "{error:?}");
}

#[test]
fn errors_are_read_with_their_text() {
    let errors = "<Error Number=\"2019166\">Domain &amp; <![CDATA[<name>]]> not found</Error><Error Number=\"5\" />";
    let wanted = vec![
        ApiError { number: 2_019_166, text: "Domain & <name> not found".to_owned() },
        ApiError { number: 5, text: String::new() },
    ];
    assert_eq!(parse(document("ERROR", errors, "").as_bytes()), Ok(Answer::Failed(wanted)));
}

#[test]
fn what_others_write_is_kept_short_and_on_one_line() {
    let long = format!("<Error Number=\"1\">one\r\n\x1b[31m{}</Error>", "x".repeat(100_000));
    let Ok(Answer::Failed(errors)) = parse(document("ERROR", &long, "").as_bytes()) else { panic!("no errors") };
    assert_eq!(errors[0].text.chars().count(), 3000);
    assert_eq!(short(&errors[0].text).chars().count(), 300);
    assert!(!errors[0].text.contains(char::is_control));
}

#[test]
fn a_write_is_read_with_what_became_of_it() {
    for (said, success) in [("true", true), ("True", true), ("false", false)] {
        let result = format!(
            "<DomainDNSSetHostsResult Domain=\"example.com\" IsSuccess=\"{said}\"><Warnings /></DomainDNSSetHostsResult>"
        );
        let wanted = Answer::Written { domain: "example.com".to_owned(), success };
        assert_eq!(parse(document("OK", "", &result).as_bytes()), Ok(wanted));
    }
    for result in
        ["<DomainDNSSetHostsResult Domain=\"example.com\" />", "<DomainDNSSetHostsResult IsSuccess=\"yes\" />"]
    {
        assert!(parse(document("OK", "", result).as_bytes()).is_err(), "{result}");
    }
}

#[test]
fn elements_among_rows_that_are_not_known_are_not_overlooked() {
    let list = list(&hosts(&format!("{ROW}<srv Name=\"x\"><weight>5</weight></srv>")));
    assert_eq!(list.strange, ["srv", "srv/weight"]);
    assert!(list.writable(true).unwrap_err().contains("<srv>"));
}

#[test]
fn a_result_must_stand_in_its_place() {
    let misplaced = document("OK", "", "")
        .replace("</ApiResponse>", "<DomainDNSGetHostsResult Domain=\"example.com\"/></ApiResponse>");
    assert_eq!(parse(misplaced.as_bytes()), Err(XmlError::Shape("it has no result".to_owned())));
}

#[test]
fn every_cut_of_an_answer_is_an_error() {
    let whole = hosts(ROW);
    let end = whole.trim_end().len();
    for cut in 0..end {
        assert!(parse(&whole.as_bytes()[..cut]).is_err(), "{cut}");
    }
    assert!(parse(whole.as_bytes()).is_ok());
}

#[test]
fn other_encodings_are_refused() {
    assert_eq!(parse(b"\xff\xfe<\0A\0"), Err(XmlError::Encoding));
    assert_eq!(parse(&[b"<ApiResponse Status=\"\xe9\"/>".as_slice()].concat()), Err(XmlError::Encoding));
}
