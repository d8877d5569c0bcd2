//! What others may copy, on the listener for whoever runs this, for those who know the token.

use std::path::PathBuf;
use std::sync::Arc;

use form_urlencoded::parse;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;

use super::standing::{self, Standing};
use crate::backup::{journal, take};
use crate::config::Secret;
use crate::db::{Db, DbError};
use crate::model::Sha256;
use crate::serve::{Outgoing, answer};
use crate::store::Store;
use crate::tier::Tier;
use crate::tier::bucket::Scratch;

/// Lines in an answer.
const LINES: usize = 2000;
/// Of what is sent to it.
const BODY: usize = 4096;

/// Answers those who copy.
#[derive(Clone, Debug)]
pub struct Source {
    /// What they must know.
    pub token: Secret,
    /// The rows.
    pub db: Db,
    /// The bytes.
    pub store: Arc<Store>,
    /// Bytes that are elsewhere.
    pub tier: Option<Arc<Tier>>,
    /// Where a copy is made.
    pub scratch: PathBuf,
    /// What is counted.
    pub metrics: Arc<crate::metrics::Metrics>,
}

impl Source {
    /// Answers what is below `/replicate/`.
    pub async fn answer(&self, parts: &Parts, body: Incoming) -> Response<Outgoing> {
        let given = parts.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        if !self.token.is(given) {
            return answer(StatusCode::UNAUTHORIZED, "this needs a token\n".to_owned());
        }
        let path = parts.uri.path().strip_prefix("/replicate/").unwrap_or_default();
        let done = match (&parts.method, path, path.strip_prefix("objects/").map(str::parse)) {
            (&Method::GET, "standing", _) => self.standing().await,
            (&Method::GET, "journal", _) => self.journal(parts.uri.query().unwrap_or_default()).await,
            (&Method::GET, "copy", _) => self.copy().await,
            (&Method::PUT, "fence", _) => self.fence(body).await,
            (&Method::GET, _, Some(Ok(sha256))) => self.object(sha256).await,
            _ => Ok(answer(StatusCode::NOT_FOUND, "there is nothing here\n".to_owned())),
        };
        done.unwrap_or_else(|error| answer(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
    }

    async fn standing(&self) -> Result<Response<Outgoing>, DbError> {
        let standing = self.db.read(standing::read).await?;
        Ok(answer(StatusCode::OK, text(&standing)?))
    }

    /// Lines after one, behind the standing. One who is of another history, or too far behind, has to take a copy.
    async fn journal(&self, query: &str) -> Result<Response<Outgoing>, DbError> {
        let (mut after, mut lineage, mut epoch, mut by) = (0, String::new(), 0, String::new());
        for (key, value) in parse(query.as_bytes()) {
            match &*key {
                "after" => after = value.parse().unwrap_or(0),
                "lineage" => lineage = value.into_owned(),
                "epoch" => epoch = value.parse().unwrap_or(0),
                "by" => by = value.into_owned(),
                _ => {}
            }
        }
        // Whoever asks may know of a later epoch than this one does.
        if self.db.read(standing::read).await?.epoch < epoch {
            self.db.write(move |db| standing::fence(db, epoch, &by)).await?;
        }
        let (standing, lines) = self
            .db
            .read(move |db| {
                // One moment for both.
                let tx = db.unchecked_transaction()?;
                Ok((standing::read(&tx)?, journal::lines(&tx, after, LINES)?))
            })
            .await?;
        let mut body = text(&standing)?;
        if lineage != standing.lineage || after < standing.forgotten || after > standing.last {
            return Ok(answer(StatusCode::CONFLICT, body));
        }
        for line in lines {
            body.push_str(&format!("{}\n", json!({"seq": line.seq, "at": line.at.0, "line": line.text})));
        }
        Ok(answer(StatusCode::OK, body))
    }

    /// All rows, as a database.
    async fn copy(&self) -> Result<Response<Outgoing>, DbError> {
        let failed = |error: &dyn std::fmt::Display| DbError::Other(error.to_string());
        let scratch = Scratch::inside(&self.scratch).map_err(|error| failed(&error))?;
        let path = scratch.file("copy.db");
        let copied = self.db.read(move |db| {
            let tx = db.unchecked_transaction()?;
            drop(take::copy(&tx, &path).map_err(|error| DbError::Other(error.to_string()))?);
            // Without a name from here on, it goes with whoever reads it.
            let file = std::fs::File::open(&path).map_err(|error| DbError::Other(error.to_string()))?;
            let size = file.metadata().map_err(|error| DbError::Other(error.to_string()))?.len();
            drop(scratch);
            Ok((file, size))
        });
        let (file, size) = copied.await?;
        Ok(Response::new(Outgoing::whole_file(file, size, self.metrics.clone())))
    }

    async fn object(&self, sha256: Sha256) -> Result<Response<Outgoing>, DbError> {
        let object = self.db.read(move |db| crate::db::links::object(db, &sha256)).await?;
        let Some(object) = object else {
            return Ok(answer(StatusCode::NOT_FOUND, "no row knows this content\n".to_owned()));
        };
        let (store, size) = (self.store.clone(), object.size);
        let opened = tokio::task::spawn_blocking(move || store.open_object(&sha256, size)).await;
        match (opened.map_err(|error| DbError::Other(error.to_string()))?, &self.tier) {
            (Ok(file), _) => Ok(Response::new(Outgoing::whole_file(file, size, self.metrics.clone()))),
            (Err(error), None) => Err(DbError::Other(error.to_string())),
            (Err(_), Some(tier)) => {
                let pull = tier.pull(&object).ok_or_else(|| DbError::Other("it is not in the tier".to_owned()))?;
                Ok(Response::new(Outgoing::whole_pull(pull, size, self.metrics.clone())))
            }
        }
    }

    async fn fence(&self, body: Incoming) -> Result<Response<Outgoing>, DbError> {
        let body = Limited::new(body, BODY).collect().await.map_err(|error| DbError::Other(error.to_string()))?;
        let asked: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let (Some(epoch), Some(by)) = (asked["epoch"].as_i64(), asked["by"].as_str().map(str::to_owned)) else {
            return Ok(answer(StatusCode::BAD_REQUEST, "which epoch, and whose?\n".to_owned()));
        };
        if self.db.write(move |db| standing::fence(db, epoch, &by)).await? {
            tracing::warn!(epoch, "another origin writes from now on");
        }
        self.standing().await
    }
}

fn text(standing: &Standing) -> Result<String, DbError> {
    let text = serde_json::to_string(standing).map_err(|error| DbError::Other(error.to_string()))?;
    Ok(format!("{text}\n"))
}
