//! Orders to a node's edge, over the connection that the https probe would make.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use tokio::time::timeout;

use super::https::{HttpsProber, innermost};
use super::setup::ProbeSetupError;
use crate::model::{HttpsProbe, Secret};

/// Gives orders to edges. Meant to be shared.
#[derive(Debug)]
pub struct Orderly {
    https: HttpsProber,
}

impl Orderly {
    /// Name, port and trust are the probe's; `token` is what edges take orders from.
    ///
    /// # Errors
    /// [`ProbeSetupError`] when the roots cannot be read or the token is none.
    pub fn new(probe: &HttpsProbe, token: &Secret) -> Result<Self, ProbeSetupError> {
        let probe = HttpsProbe { token: Some(token.clone()), redirects: 0, ..probe.clone() };
        Ok(Self { https: HttpsProber::new(probe)? })
    }

    /// `PUT path` with `body`, which is JSON, at `address`.
    ///
    /// # Errors
    /// In words for people, when there is no answer within `within`, or it is no 2xx.
    pub async fn put(&self, address: IpAddr, path: &str, body: String, within: Duration) -> Result<(), String> {
        let request = self.https.request(address, Method::PUT, path).map_err(|error| innermost(&error).to_string())?;
        let sent = timeout(within, request.header(CONTENT_TYPE, "application/json").body(body).send()).await;
        let status = match sent {
            Ok(Ok(response)) => response.status(),
            Ok(Err(error)) => return Err(innermost(&error).to_string()),
            Err(_) => return Err(format!("no answer within {within:?}")),
        };
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!("it answers {status}: is this its token?")),
            StatusCode::NOT_FOUND => Err(format!("it answers {status}: is there an edge of this kind?")),
            status => Err(format!("it answers {status}")),
        }
    }
}
