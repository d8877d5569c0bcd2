//! One call: everything in the body of a POST, the key too, so that it stands in no URL and in no log.

use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};

use super::budget::{Budget, Permit};
use super::code;
use super::domain::Domain;
use super::rows::Row;
use super::xml::{self, Answer, ApiError, short};
use crate::model::{NamecheapSettings, Secret};
use crate::registrar::RegistrarError;

/// An answer for a full zone takes about 40 kB.
const LONGEST_ANSWER: usize = 4 << 20;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command<'a> {
    /// Every row of the zone.
    GetHosts,
    /// These rows and no others, and mail handled like this.
    SetHosts { rows: &'a [Row], email_type: &'a str },
}

/// Why there is no answer to go by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// It never reached the provider.
    NotSent(String),
    /// It may have reached the provider, and may still be at work there.
    NoAnswer(String),
    /// The provider wants fewer calls; it carried nothing out.
    RateLimited { retry_after: Duration, why: String },
    /// The web server in front of the API turned it away.
    TurnedAway(StatusCode),
    /// A whole answer came and says nothing that can be trusted.
    Unreadable(String),
    /// The API answered with errors.
    Failed(Vec<ApiError>),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) | Self::NoAnswer(why) | Self::Unreadable(why) => f.write_str(why),
            Self::RateLimited { why, .. } => f.write_str(why),
            Self::TurnedAway(status) => write!(f, "the provider's web server answers {status}"),
            Self::Failed(errors) => f.write_str(&code::words(errors)),
        }
    }
}

/// The account, the zone and the way to them.
pub(super) struct Api {
    client: Client,
    endpoint: Url,
    api_user: String,
    username: String,
    client_ip: String,
    key: Secret,
    domain: Domain,
    pub(super) budget: Arc<Budget>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("endpoint", &self.endpoint.as_str())
            .field("api_user", &self.api_user)
            .field("domain", &self.domain.name())
            .finish_non_exhaustive()
    }
}

impl Api {
    pub(super) fn new(settings: &NamecheapSettings, domain: Domain, timeout: Duration) -> Result<Self, RegistrarError> {
        let endpoint = endpoint(&settings.endpoint).map_err(|why| RegistrarError::Permanent { why })?;
        let key = settings.api_key.expose();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_graphic()) {
            return Err(RegistrarError::Permanent {
                why: "the API key is empty or has a blank or an unusual character in it".to_owned(),
            });
        }
        let secure = endpoint.scheme() == "https";
        // Every call has a connection of its own: one that was kept might be dead, and then nobody could tell whether a
        // write went out. For the same reason nothing is ever sent twice.
        let client = Client::builder()
            .tls_backend_preconfigured(tls(secure)?)
            .https_only(secure)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .timeout(timeout)
            .connect_timeout((timeout / 2).min(Duration::from_secs(10)))
            .user_agent(concat!("witness/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| RegistrarError::Permanent { why: format!("no HTTP client: {}", describe(error)) })?;
        Ok(Self {
            client,
            budget: Budget::shared(endpoint.as_str(), &settings.api_user),
            endpoint,
            api_user: settings.api_user.clone(),
            username: settings.username.clone(),
            client_ip: settings.client_ip.to_string(),
            key: settings.api_key.clone(),
            domain,
        })
    }

    pub(super) fn domain(&self) -> String {
        self.domain.name()
    }

    /// Makes one call on `permit`.
    pub(super) async fn call(&self, permit: &mut Permit<'_>, command: Command<'_>) -> Result<Answer, CallError> {
        if !permit.spend() {
            return Err(CallError::RateLimited {
                retry_after: Duration::from_secs(60),
                why: "no call is left for this change".to_owned(),
            });
        }
        let (status, asked, body) = self.exchange(self.form(command)).await.map_err(|error| self.clean(error))?;
        let answer = self.judge(status, asked, &body).map_err(|error| self.clean(error));
        if !matches!(answer, Err(CallError::RateLimited { .. })) {
            self.budget.answered();
        }
        answer
    }

    async fn exchange(&self, form: String) -> Result<(StatusCode, Option<Duration>, Vec<u8>), CallError> {
        let request = self
            .client
            .post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let mut response = request.send().await.map_err(|error| match error.is_connect() || error.is_builder() {
            true => CallError::NotSent(describe(error)),
            false => CallError::NoAnswer(describe(error)),
        })?;
        let status = response.status();
        let asked = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= LONGEST_ANSWER => body.extend_from_slice(&chunk),
                Ok(Some(_)) => {
                    return Err(CallError::Unreadable(format!("the answer is longer than {LONGEST_ANSWER} bytes")));
                }
                Ok(None) => return Ok((status, asked, body)),
                // The status alone tells enough where it is not OK.
                Err(_) if status != StatusCode::OK => return Ok((status, asked, body)),
                Err(error) => return Err(CallError::NoAnswer(describe(error))),
            }
        }
    }

    fn judge(&self, status: StatusCode, asked: Option<Duration>, body: &[u8]) -> Result<Answer, CallError> {
        match status {
            StatusCode::OK => {}
            // The API takes POST, so this is not about the method: it is how it turns away too many calls.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::TOO_MANY_REQUESTS => {
                return Err(CallError::RateLimited {
                    retry_after: self.budget.refused(asked),
                    why: format!("the provider answers {} for too many calls", status.as_u16()),
                });
            }
            // From a gateway: what stands behind it may have done its work, or may be at it.
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                return Err(CallError::NoAnswer(format!("the provider's web server answers {status}")));
            }
            _ => return Err(CallError::TurnedAway(status)),
        }
        let answer = xml::parse(body).map_err(|error| CallError::Unreadable(error.to_string()))?;
        let domain = match &answer {
            Answer::Failed(errors) if code::strongest(errors) == code::Class::RateLimited => {
                let retry_after = self.budget.refused(asked);
                return Err(CallError::RateLimited { retry_after, why: code::words(errors) });
            }
            Answer::Failed(errors) => return Err(CallError::Failed(errors.clone())),
            Answer::Hosts(list) => &list.domain,
            Answer::Written { domain, .. } => domain,
        };
        let ours = self.domain();
        if !domain.eq_ignore_ascii_case(&ours) {
            return Err(CallError::Unreadable(format!("the answer is about {domain:?}, not {ours}")));
        }
        Ok(answer)
    }

    fn form(&self, command: Command<'_>) -> String {
        let name = match command {
            Command::GetHosts => "namecheap.domains.dns.getHosts",
            Command::SetHosts { .. } => "namecheap.domains.dns.setHosts",
        };
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("ApiUser", &self.api_user)
            .append_pair("ApiKey", self.key.expose())
            .append_pair("UserName", &self.username)
            .append_pair("ClientIp", &self.client_ip)
            .append_pair("Command", name)
            .append_pair("SLD", &self.domain.sld)
            .append_pair("TLD", &self.domain.tld);
        if let Command::SetHosts { rows, email_type } = command {
            form.append_pair("EmailType", email_type);
            for (index, row) in rows.iter().enumerate() {
                let n = index + 1;
                form.append_pair(&format!("HostName{n}"), &row.name)
                    .append_pair(&format!("RecordType{n}"), &row.rtype)
                    .append_pair(&format!("Address{n}"), &row.address)
                    .append_pair(&format!("MXPref{n}"), &row.mx_pref)
                    .append_pair(&format!("TTL{n}"), &row.ttl);
            }
        }
        form.finish()
    }

    /// Takes the key out of whatever others wrote, should they ever say it back, plain or as it was sent; then shortens it.
    fn clean(&self, mut error: CallError) -> CallError {
        let key = self.key.expose();
        let sent: String = form_urlencoded::byte_serialize(key.as_bytes()).collect();
        let clean = |text: &mut String| *text = short(&text.replace(key, "(key)").replace(&sent, "(key)"));
        match &mut error {
            CallError::NotSent(why) | CallError::NoAnswer(why) | CallError::Unreadable(why) => clean(why),
            CallError::RateLimited { why, .. } => clean(why),
            CallError::Failed(errors) => errors.iter_mut().for_each(|error| clean(&mut error.text)),
            CallError::TurnedAway(_) => {}
        }
        error
    }
}

/// Plain HTTP would show the key to everybody on the way, so it is taken on this machine only.
fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("the endpoint is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("the endpoint must be a URL without user, query and fragment".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let loopback = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err(format!("the endpoint must be https://, or http:// on a loopback address, unlike {host:?}")),
        scheme => Err(format!("the endpoint must be https://, not {scheme}://")),
    }
}

fn tls(secure: bool) -> Result<rustls::ClientConfig, RegistrarError> {
    let mut roots = rustls::RootCertStore::empty();
    if secure {
        let found = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(RegistrarError::Permanent {
                why: format!("this machine has no root certificates (install ca-certificates){why}"),
            });
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the suites of the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// An error and its causes, without the URL.
fn describe(error: reqwest::Error) -> String {
    let late = error.is_timeout();
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        words.push_str(": ");
        words.push_str(&next.to_string());
        cause = next.source();
    }
    if late { format!("no answer in time: {words}") } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback() {
        for good in ["https://api.example.com/xml.response", "http://127.0.0.1:8080/xml.response", "http://[::1]:1/"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://api.example.com/xml.response", "must be https://"),
            ("http://192.0.2.1/", "must be https://"),
            ("http://localhost:1/", "must be https://"),
            ("ftp://127.0.0.1/", "must be https://"),
            ("https://user:word@api.example.com/", "without user"),
            ("https://api.example.com/?ApiKey=x", "without user"),
            ("nonsense", "not a URL"),
        ] {
            let error = endpoint(bad).unwrap_err();
            assert!(error.contains(why) && !error.contains("word"), "{bad}: {error}");
        }
    }
}
