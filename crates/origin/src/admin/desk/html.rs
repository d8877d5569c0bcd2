//! What the admin page looks like. Everything that is somebody else's text goes through [`e`].

use http::header::{self, HeaderValue};
use http::{HeaderName, Response, StatusCode};
use serde_json::Value;

use super::SHOWN;
use super::session::LASTS;
use crate::db::bans::Ban;
use crate::db::listing::{Detail, Entry, FromAddress, Stats};
use crate::model::{Name, Time};
use crate::pages::{Policy, STYLE, people_size};
use crate::serve::{Outgoing, answer};
use crate::upload::escape_html as e;

const OWN_STYLE: &str = include_str!("../../pages/admin.css");
/// What was just done, and how often.
type Said = Option<(&'static str, u32)>;

fn respond(status: StatusCode, title: &str, body: &str) -> Response<Outgoing> {
    let style = format!("{STYLE}{OWN_STYLE}");
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    );
    let mut response = answer(status, page);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, Policy::default().style(&style).value());
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        // Without one, forms would not say from where they come.
        ("referrer-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// Goes on to another page.
pub(super) fn see(place: &str, cookie: Option<&str>) -> Response<Outgoing> {
    let mut response = respond(StatusCode::SEE_OTHER, "Done", &format!("<p><a href=\"{}\">Go on</a></p>", e(place)));
    let headers = response.headers_mut();
    headers.extend(HeaderValue::try_from(place).map(|place| (header::LOCATION, place)));
    headers.extend(cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()).map(|it| (header::SET_COOKIE, it)));
    response
}

pub(super) fn json(value: &Value) -> Response<Outgoing> {
    let mut response = answer(StatusCode::OK, format!("{value}\n"));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn refused(status: StatusCode, says: &str) -> Response<Outgoing> {
    let says = e(says);
    respond(
        status,
        "Not done",
        &format!("<main><h1>Not done</h1><p>{says}</p><p><a href=\"/admin\">Back</a></p></main>"),
    )
}

pub(super) fn login(status: StatusCode, says: Option<&str>) -> Response<Outgoing> {
    let says = says.map(|says| format!("<p class=\"bad\" role=\"alert\">{}</p>", e(says))).unwrap_or_default();
    let body = format!(
        "<main><h1>Admin</h1>{says}<form method=\"post\" action=\"/admin/login\" class=\"tools\">\
         <label for=\"token\">Token</label>\
         <input type=\"password\" id=\"token\" name=\"token\" required autofocus autocomplete=\"current-password\">\
         <button class=\"main\">Log in</button></form>\
         <p class=\"soft\">It is in the file that server.admin_token_file names. A session lasts {} hours.</p></main>",
        LASTS.as_secs() / 3600
    );
    respond(status, "Admin", &body)
}

fn page(title: &str, form: &str, said: Said, body: &str) -> Response<Outgoing> {
    let said = said.map(|(word, count)| {
        let what = match (word, count) {
            ("removed", 1) => "1 name was removed.".to_owned(),
            ("removed", count) => format!("{count} names were removed."),
            ("banned", 1) => "1 content is banned.".to_owned(),
            ("banned", count) => format!("{count} contents are banned."),
            (_, 0) => "There was no such ban.".to_owned(),
            (..) => "The ban was taken back.".to_owned(),
        };
        format!("<p class=\"said\" role=\"status\">{what}</p>")
    });
    let said = said.unwrap_or_default();
    let hidden = hidden(form);
    let body = format!(
        "<nav aria-label=\"Pages\"><a href=\"/admin\">Uploads</a><a href=\"/admin/top\">Top</a>\
         <a href=\"/admin/bans\">Bans</a><a href=\"/metrics\">Metrics</a>\
         <form method=\"post\" action=\"/admin/logout\">{hidden}<button>Log out</button></form></nav>\n\
         <main>\n<h1>{title}</h1>{said}\n{body}\n</main>"
    );
    respond(StatusCode::OK, title, &body)
}

/// What a form of this session must repeat.
fn hidden(form: &str) -> String {
    format!("<input type=\"hidden\" name=\"form\" value=\"{}\">", e(form))
}

fn facts(pairs: &[(&str, String)]) -> String {
    let fact = |(name, value): &(&str, String)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>");
    format!("<dl class=\"facts\">{}</dl>", pairs.iter().map(fact).collect::<String>())
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let rows: String = rows.map(|cells| format!("<tr>{}</tr>\n", cells.concat())).collect();
    if rows.is_empty() {
        return "<p class=\"soft\">Nothing.</p>".to_owned();
    }
    format!("<div class=\"scroll\"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>")
}

fn cell(text: &str) -> String {
    format!("<td>{text}</td>")
}

fn number(text: &str) -> String {
    format!("<td class=\"number\">{text}</td>")
}

fn when(text: &str) -> String {
    format!("<td class=\"when\">{text}</td>")
}

fn wide(text: &str) -> String {
    format!("<td class=\"wide\">{text}</td>")
}

/// A link to what is known of a name.
fn about(name: &str) -> String {
    let query: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("<a href=\"/admin/show?name={query}\">{}</a>", e(name))
}

/// A link that searches for a text.
fn find(text: &str, shown: &str) -> String {
    let query: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    format!("<a href=\"/admin?q={query}\">{}</a>", e(shown))
}

fn minute(time: Time) -> String {
    time.rfc3339().replace('T', " ").trim_end_matches('Z').get(..16).unwrap_or_default().to_owned()
}

const ENTRY_HEADS: [&str; 7] = ["Name", "Called", "Size", "Kind", "When (UTC)", "From", ""];

fn entry(entry: &Entry) -> Vec<String> {
    let mut marks = Vec::new();
    if entry.banned {
        marks.push("<span class=\"mark\">banned</span>".to_owned());
    }
    if let Some(expires) = entry.link.expires {
        marks.push(format!("until {}", minute(expires)));
    }
    if let Some(views) = entry.link.max_views {
        marks.push(format!("{} of {views} views", entry.link.views));
    }
    if entry.uploads > 1 {
        marks.push(format!("{} uploads", entry.uploads));
    }
    let address = entry.address.as_deref().map(|address| find(address, address));
    vec![
        cell(&about(entry.link.name.as_str())),
        wide(&e(&entry.link.original)),
        number(&people_size(entry.size)),
        cell(&e(&entry.kind)),
        when(&minute(entry.link.created)),
        cell(&address.unwrap_or_default()),
        cell(&marks.join(", ")),
    ]
}

pub(super) fn uploads(
    files_url: &str,
    form: &str,
    query: &str,
    found: &[Entry],
    stats: &Stats,
    (free, reserved): (u64, u64),
    said: Said,
) -> Response<Outgoing> {
    let totals = stats.totals;
    let numbers = facts(&[
        ("Names", totals.names.to_string()),
        ("Contents", totals.objects.to_string()),
        ("In all", people_size(totals.bytes)),
        ("Uploads in 24 h", stats.uploads[0].to_string()),
        ("Removed in 24 h", stats.removals[0].to_string()),
        ("Gone within 24 h", stats.expiring.to_string()),
        ("Bans", stats.bans.to_string()),
        ("Free", people_size(free.saturating_sub(reserved))),
    ]);
    let rows = found.iter().map(|it| {
        let name = e(it.link.name.as_str());
        let mut cells = vec![cell(&format!(
            "<input type=\"checkbox\" name=\"name\" value=\"{name}\" aria-label=\"Choose {name}\">"
        ))];
        cells.extend(entry(it));
        cells
    });
    let heads: Vec<&str> = std::iter::once("").chain(ENTRY_HEADS).collect();
    let listed = table(&heads, rows);
    let older = found.last().filter(|_| query.is_empty() && found.len() >= SHOWN as usize).map(|last| {
        let name: String = form_urlencoded::byte_serialize(last.link.name.as_str().as_bytes()).collect();
        format!("<p><a href=\"/admin?before={}&amp;name={name}\">Older</a></p>", last.link.created.0)
    });
    let cut = !query.is_empty() && found.len() >= SHOWN as usize;
    let cut = if cut { "<p class=\"soft\">These are the first ones; search for more of it.</p>" } else { "" };
    let hidden = hidden(form);
    let (query, files_url) = (e(query), e(files_url));
    let body = format!(
        "{numbers}\n<form method=\"get\" action=\"/admin\" class=\"tools\" role=\"search\">\
         <input type=\"search\" name=\"q\" value=\"{query}\" aria-label=\"Search\" \
         placeholder=\"Name, URL, beginning of what it is called, SHA-256, SHA-1, address\">\
         <button>Search</button></form>\n\
         <form method=\"post\" action=\"/admin/remove\">{hidden}{listed}\n\
         <div class=\"tools\"><button class=\"grave\">Remove chosen names</button>\
         <input type=\"text\" name=\"reason\" aria-label=\"Reason of a ban\" placeholder=\"Reason of a ban\">\
         <button class=\"grave\" formaction=\"/admin/ban\">Ban chosen contents</button></div></form>\n{cut}{}\
         <p class=\"soft\">Files are at <a href=\"{files_url}\" rel=\"noopener\">{files_url}</a>.</p>",
        older.unwrap_or_default()
    );
    page("Uploads", form, said, &body)
}

pub(super) fn detail(files_url: &str, form: &str, name: &Name, detail: &Detail, said: Said) -> Response<Outgoing> {
    let title = e(name.as_str());
    let (entry, ban, place, claims, names) = match detail {
        Detail::Gone { original, created, removed, why } => {
            let body = facts(&[
                ("Called", e(original)),
                ("Came", minute(*created)),
                ("Went", minute(*removed)),
                ("Why", e(why)),
            ]);
            return page(&title, form, said, &body);
        }
        Detail::There { entry, ban, place, claims, names } => (entry, ban, place, claims, names),
    };
    let url = e(&format!("{files_url}/{}", name.in_url()));
    let mut pairs = vec![
        ("Called", e(&entry.link.original)),
        ("Size", format!("{} ({} bytes)", people_size(entry.size), entry.size)),
        ("Kind", e(&entry.kind)),
        ("Came", minute(entry.link.created)),
        ("Content is", e(place)),
    ];
    pairs.extend(entry.link.expires.map(|expires| ("Gone at", minute(expires))));
    pairs.extend(entry.link.max_views.map(|views| ("Downloads", format!("{} of {views}", entry.link.views))));
    let hashes = format!(
        "<p>SHA-256 <code>{}</code><br>SHA-1 <code>{}</code></p>",
        find(&entry.sha256.to_string(), &entry.sha256.to_string()),
        entry.sha1
    );
    let banned = ban.as_ref().map(|reason| format!("<p class=\"mark\">Banned: {}</p>", e(reason))).unwrap_or_default();
    let rows = claims.iter().map(|claim| {
        let address = claim.address.as_deref().map(|address| find(address, address)).unwrap_or_default();
        let can = if claim.can_delete { "has a link to delete it" } else { "" };
        vec![when(&minute(claim.created)), cell(&address), wide(&e(&claim.original)), cell(can)]
    });
    let claims = table(&["When (UTC)", "From", "Called", ""], rows);
    let others: Vec<String> = names.iter().map(|name| about(name)).collect();
    let others = if others.is_empty() { "<span class=\"soft\">None.</span>".to_owned() } else { others.join(", ") };
    let hidden = hidden(form);
    let (facts, sha256) = (facts(&pairs), entry.sha256);
    let unban = if ban.is_some() {
        format!(
            "<form method=\"post\" action=\"/admin/unban\" class=\"tools\">{hidden}\
             <input type=\"hidden\" name=\"hash\" value=\"{sha256}\"><button>Take the ban of this SHA-256 back</button></form>"
        )
    } else {
        format!(
            "<form method=\"post\" action=\"/admin/ban\" class=\"tools\">{hidden}\
             <input type=\"hidden\" name=\"hash\" value=\"{sha256}\">\
             <input type=\"text\" name=\"reason\" required aria-label=\"Reason\" placeholder=\"Reason\">\
             <button class=\"grave\">Ban this content</button></form>"
        )
    };
    let body = format!(
        "<p><a href=\"{url}\" rel=\"noopener noreferrer\">{url}</a></p>{banned}\n{facts}\n{hashes}\n\
         <h2>Uploads of it</h2>{claims}\n<h2>Other names of this content</h2><p>{others}</p>\n<h2>Actions</h2>\
         <form method=\"post\" action=\"/admin/remove\" class=\"tools\">{hidden}\
         <input type=\"hidden\" name=\"name\" value=\"{title}\"><button class=\"grave\">Remove this name</button></form>\n\
         {unban}"
    );
    page(&title, form, said, &body)
}

pub(super) fn bans(form: &str, bans: &[Ban], said: Said) -> Response<Outgoing> {
    let hidden = format!("{}<input type=\"hidden\" name=\"back\" value=\"bans\">", hidden(form));
    let rows = bans.iter().rev().map(|ban| {
        let hash = hex(&ban.hash);
        let button = format!(
            "<form method=\"post\" action=\"/admin/unban\">{hidden}<input type=\"hidden\" name=\"hash\" value=\"{hash}\">\
             <button aria-label=\"Take the ban of {hash} back\">Take back</button></form>"
        );
        vec![
            when(&minute(ban.created)),
            wide(&format!("<code>{}</code>", find(&hash, &hash))),
            wide(&e(&ban.reason)),
            cell(&button),
        ]
    });
    let body = format!(
        "<form method=\"post\" action=\"/admin/ban\" class=\"tools\">{hidden}\
         <input type=\"text\" name=\"hash\" required aria-label=\"SHA-256 or SHA-1\" placeholder=\"SHA-256 or SHA-1\">\
         <input type=\"text\" name=\"reason\" required aria-label=\"Reason\" placeholder=\"Reason\">\
         <button class=\"grave\">Ban</button></form>\n{}",
        table(&["Since (UTC)", "Hash", "Reason", ""], rows)
    );
    page("Bans", form, said, &body)
}

pub(super) fn top(
    form: &str,
    popular: &[(String, u64, u64)],
    largest: &[Entry],
    addresses: &[FromAddress],
    repeated: &[(String, u64)],
) -> Response<Outgoing> {
    let popular = popular
        .iter()
        .map(|(name, count, bytes)| vec![cell(&about(name)), number(&count.to_string()), number(&people_size(*bytes))]);
    let addresses = addresses.iter().map(|(address, count, bytes)| {
        vec![cell(&find(address, address)), number(&count.to_string()), number(&people_size(*bytes))]
    });
    let repeated = repeated.iter().map(|(name, count)| vec![cell(&about(name)), number(&count.to_string())]);
    let body = format!(
        "<h2>Most downloaded from here since the start</h2>{}\n<h2>From where most came in seven days</h2>{}\n\
         <h2>Most often uploaded in seven days</h2>{}\n<h2>Largest</h2>{}",
        table(&["Name", "Downloads", "Bytes"], popular),
        table(&["Address", "Uploads", "Bytes"], addresses),
        table(&["Name", "Uploads"], repeated),
        table(&ENTRY_HEADS, largest.iter().map(entry)),
    );
    page("Top", form, None, &body)
}

pub(super) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
