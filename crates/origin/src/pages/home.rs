//! The page on which people upload. It works without its script, as a form.

use std::time::Duration;

use http::header::HeaderValue;

use super::sheet::{Policy, STYLE, people_size, people_time};
use crate::config::Config;
use crate::upload::escape_html;

const PAGE: &str = include_str!("upload.html");
const OWN_STYLE: &str = include_str!("upload.css");
const SCRIPT: &str = include_str!("upload.js");
/// What can be chosen, where nothing is gone sooner anyhow.
const TIMES: [(&str, u64, &str); 4] = [
    ("1h", 3600, "for an hour"),
    ("1d", 86_400, "for a day"),
    ("7d", 7 * 86_400, "for a week"),
    ("30d", 30 * 86_400, "for 30 days"),
];

/// The page, and what a browser may do with it. `path` is where it sends files.
pub(super) fn page(config: &Config, path: &str) -> (String, HeaderValue) {
    let expire = config.upload.expire;
    let (lasts, always) = match expire.map(people_time) {
        Some(time) => (format!("gone after {time}"), format!("for {time}")),
        None => ("kept until somebody deletes them".to_owned(), "until it is deleted".to_owned()),
    };
    let mut options = format!("<option value=\"\">{always}</option>\n");
    for (value, seconds, says) in TIMES {
        if expire.is_none_or(|expire| Duration::from_secs(seconds) < expire) {
            options.push_str(&format!("<option value=\"{value}\">{says}</option>\n"));
        }
    }
    let url = &config.server.files_url;
    let style = format!("{STYLE}{OWN_STYLE}");
    let mut page = PAGE.to_owned();
    for (key, value) in [
        ("{host}", escape_html(url.split("//").last().unwrap_or_default())),
        ("{size}", people_size(config.upload.max_size)),
        ("{lasts}", lasts),
        ("{options}", options),
        ("{path}", escape_html(path)),
        ("{max}", config.upload.max_size.to_string()),
        ("{base}", escape_html(url)),
        // Last: nothing in them is a key.
        ("{style}", style.clone()),
        ("{script}", SCRIPT.to_owned()),
    ] {
        page = page.replace(key, &value);
    }
    (page, Policy::default().style(&style).script(SCRIPT).value())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_says_what_is_configured_and_nothing_is_left_open() {
        let text = "[server]\nfiles_url = \"https://files.example.com\"\n[store]\ndirectory = \"/nowhere\"\n\
                    [upload]\nmax_size = \"10MiB\"\nexpire = \"8h\"\n[compat]\npaths = [\"/up.php\"]\n";
        let config = Config::parse(text, Path::new("origin.toml")).unwrap();
        let (page, _) = page(&config, "/up.php");
        for expected in [
            "action=\"/up.php?output=html\"",
            "data-max=\"10485760\"",
            "Files up to 10 MiB, gone after 8 hours.",
            "<option value=\"\">for 8 hours</option>\n<option value=\"1h\">for an hour</option>\n</select>",
            "https://files.example.com/up.php",
        ] {
            assert!(page.contains(expected), "{expected} is not in\n{page}");
        }
        let body = &page[page.find("<body>").unwrap()..page.find("<script>").unwrap()];
        assert!(!body.contains('{') && !body.contains("style="), "{body}");
        for elsewhere in ["src=\"http", "url(", "@import", "onclick=\""] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }
}
