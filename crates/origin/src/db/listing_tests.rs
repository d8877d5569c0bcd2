use super::*;
use crate::clock;
use crate::db::links::{self, Publication};
use crate::db::{Db, bans, imports};
use crate::model::{Md5, NameMaker, Token, Why};

fn upload(content: u8, original: &str, address: Option<&str>, size: u64) -> Publication {
    Publication {
        sha256: Sha256([content; 32]),
        sha1: Sha1([content; 20]),
        md5: Md5([content; 16]),
        size,
        kind: if original.ends_with(".png") { "image/png" } else { "text/plain" }.to_owned(),
        original: original.to_owned(),
        address: address.map(str::to_owned),
        expires: None,
        max_views: None,
        shared: true,
        token: Some(Token::random()),
    }
}

/// A database, and what it was filled with, oldest first.
fn filled(path: &std::path::Path) -> (Connection, Vec<Link>) {
    drop(Db::open(path).unwrap());
    let db = Connection::open(path).unwrap();
    let names = NameMaker::new(8, Vec::new());
    let uploads = [
        upload(0x0a, "Report.txt", Some("192.0.2.1"), 100),
        upload(0x0b, "holiday.png", Some("192.0.2.2"), 5000),
        upload(0x0a, "report again.txt", Some("192.0.2.2"), 100),
        upload(0x0c, "the last report.txt", None, 7),
    ];
    let mut links = Vec::new();
    for (upload, at) in uploads.iter().zip([1000, 2000, 3000, 4000]) {
        match links::publish(&db, upload, &names, Time(at)).unwrap() {
            links::Published::Named { link, .. } => links.push(link),
            banned => panic!("{banned:?}"),
        }
    }
    (db, links)
}

fn originals(found: &[Entry]) -> Vec<&str> {
    found.iter().map(|entry| entry.link.original.as_str()).collect()
}

#[test]
fn uploads_are_found_by_whatever_is_known_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (db, names) = filled(&folder.path().join("meta.db"));
    let all = Filter { most: 10, ..Filter::default() };
    let find = |text: &str, filter: &Filter| search(&db, text, filter).unwrap();
    let check = |text: &str, expected: &[&str]| assert_eq!(originals(&find(text, &all)), expected, "{text}");
    check("", &["the last report.txt", "holiday.png", "Report.txt"]);
    check("192.0.2.2", &["Report.txt", "holiday.png"]);
    check("rePORT", &["Report.txt"]);
    check(&"0b".repeat(32), &["holiday.png"]);
    check(&"0B".repeat(20), &["holiday.png"]);
    check(&"0c".repeat(16), &["the last report.txt"]);
    check("0a0a0a0a", &["Report.txt"]);
    check("0a0a0a0b", &[]);
    check(names[1].name.as_str(), &["holiday.png"]);
    check(&names[1].name.as_str()[..6], &["holiday.png"]);
    check(&format!("https://files.example.com/{}", names[1].name.in_url()), &["holiday.png"]);
    check("nothing", &[]);
    check("%", &[]);
    let with = |filter: Filter| originals(&list(&db, &filter).unwrap()).join(",");
    assert_eq!(with(Filter { contains: Some("REPORT".to_owned()), ..all.clone() }), "the last report.txt,Report.txt");
    assert_eq!(with(Filter { kind: Some("image/".to_owned()), ..all.clone() }), "holiday.png");
    assert_eq!(with(Filter { kind: Some("image/%".to_owned()), ..all.clone() }), "");
    assert_eq!(with(Filter { since: Some(Time(2000)), until: Some(Time(4000)), ..all.clone() }), "holiday.png");
    assert_eq!(with(Filter { larger: Some(100), begin: Begin::Largest, ..all.clone() }), "holiday.png,Report.txt");
    // A page after the other, without a gap.
    let first = list(&db, &Filter { most: 1, ..Filter::default() }).unwrap();
    let place = Some((first[0].link.created, first[0].link.name.clone()));
    assert_eq!(with(Filter { after: place, ..all.clone() }), "holiday.png,Report.txt");
    bans::add(&db, &[0x0b; 20], "spam", None, Time(5000)).unwrap();
    assert_eq!(with(Filter { banned: Some(true), ..all.clone() }), "holiday.png");
    assert_eq!(with(Filter { banned: Some(false), ..all.clone() }), "the last report.txt,Report.txt");
    assert_eq!(find("holiday", &all)[0].uploads, 1);
    let report = &find("Report", &all)[0];
    assert_eq!((report.uploads, report.address.as_deref()), (2, Some("192.0.2.1")));
}

#[test]
fn all_of_a_name_is_told_and_that_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (db, names) = filled(&folder.path().join("meta.db"));
    bans::add(&db, &[0x0a; 32], "spam", None, Time(5000)).unwrap();
    let Some(Detail::There { entry, ban, place, claims, names: others }) = detail(&db, &names[0].name).unwrap() else {
        panic!("it is there")
    };
    assert_eq!((entry.size, ban.as_deref(), place.as_str(), others.len()), (100, Some("spam"), "local", 0));
    let addresses: Vec<_> = claims.iter().map(|claim| claim.address.as_deref().unwrap_or_default()).collect();
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.2"]);
    assert!(links::remove(&db, &names[0].name, Why::Operator, Time(6000)).unwrap());
    let Some(Detail::Gone { removed, why, .. }) = detail(&db, &names[0].name).unwrap() else { panic!("it is gone") };
    assert_eq!((removed, why.as_str()), (Time(6000), "operator"));
    assert_eq!(detail(&db, &Name::new("unknown").unwrap()).unwrap(), None);
}

#[test]
fn sums_are_right_whatever_comes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (mut db, names) = filled(&folder.path().join("meta.db"));
    let counted = |db: &Connection| Totals {
        objects: db.query_row("SELECT count(*) FROM objects", [], |row| row.get(0)).unwrap(),
        bytes: db.query_row("SELECT coalesce(sum(size), 0) FROM objects", [], |row| row.get(0)).unwrap(),
        names: db.query_row("SELECT count(*) FROM links WHERE removed IS NULL", [], |row| row.get(0)).unwrap(),
    };
    assert_eq!(totals(&db).unwrap(), Totals { objects: 3, bytes: 5107, names: 3 });
    links::remove(&db, &names[0].name, Why::Operator, Time(6000)).unwrap();
    assert_eq!(totals(&db).unwrap(), Totals { objects: 2, bytes: 5007, names: 2 });
    links::forget(&db, Time(7000), 10).unwrap();
    assert_eq!(totals(&db).unwrap(), counted(&db));
    // What is undone is undone in the sums, too.
    let tx = db.transaction().unwrap();
    links::remove(&tx, &names[1].name, Why::Operator, Time(6000)).unwrap();
    tx.rollback().unwrap();
    assert_eq!(totals(&db).unwrap(), counted(&db));
    let name = Name::new("imported.txt").unwrap();
    let imported = imports::import(&db, &name, &upload(9, "old.txt", None, 3), Time(10), clock::now()).unwrap();
    assert_eq!(imported, imports::Imported::Taken);
    assert_eq!(totals(&db).unwrap(), counted(&db));
    let stats = stats(&db, Time(4000)).unwrap();
    assert_eq!((stats.uploads, stats.newest, stats.bans), ([3, 3, 3], Some(Time(4000)), 0));
}

#[test]
fn the_most_is_first() {
    let folder = tempfile::tempdir().unwrap();
    let (db, names) = filled(&folder.path().join("meta.db"));
    assert_eq!(
        addresses(&db, Time(0), 10).unwrap(),
        [("192.0.2.2".to_owned(), 2, 5100), ("192.0.2.1".to_owned(), 1, 100)]
    );
    assert_eq!(addresses(&db, Time(2500), 10).unwrap(), [("192.0.2.2".to_owned(), 1, 100)]);
    assert_eq!(repeated(&db, Time(0), 1).unwrap(), [(names[0].name.to_string(), 2)]);
    assert_eq!(kinds(&db, 10).unwrap(), [("image/png".to_owned(), 1, 5000), ("text/plain".to_owned(), 2, 107)]);
}

#[test]
fn questions_use_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = filled(&folder.path().join("meta.db"));
    let name = "x".to_owned();
    for begin_at in [
        Begin::Newest,
        Begin::Name(name.clone()),
        Begin::Original(name.clone()),
        Begin::Hash("0a0a0a0a".to_owned()),
        Begin::Address(name),
        Begin::Largest,
    ] {
        let mut query = Query::default();
        query.add("l.removed IS NULL", []);
        let (from, order) = begin(&mut query, &begin_at);
        let conditions = query.conditions.join(" AND ");
        let text = format!("EXPLAIN QUERY PLAN SELECT {COLUMNS} FROM {from} WHERE {conditions} ORDER BY {order}");
        let mut statement = db.prepare(&text).unwrap();
        let rows = statement.query_map(params_from_iter(query.values), |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
        // A walk along an index that ends when there are enough is no walk through everything.
        let walks = |step: &&String| step.starts_with("SCAN") && !step.contains("USING INDEX");
        assert!(!plan.iter().any(|step| walks(&step)), "{begin_at:?}: {plan:?}");
        let sorts = plan.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY"));
        assert!(!sorts || matches!(begin_at, Begin::Hash(_)), "{begin_at:?}: {plan:?}");
    }
}
