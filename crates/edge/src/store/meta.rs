//! What is known of a stored response besides its body.

use serde::{Deserialize, Serialize};

/// The head of a stored response. It is written into the object's file, and replaced there when the origin says that
/// the object is still good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The object's name, of which its key is the hash.
    pub name: String,
    /// The status it was answered with.
    pub status: u16,
    /// Header fields in their order. Values are bytes, each written as the character of that number.
    pub headers: Vec<(String, String)>,
    /// When it was asked for, in seconds since 1970.
    pub requested: u64,
    /// When the answer came.
    pub received: u64,
    /// For a marker: the request fields that choose among the variants, which have names of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub varies: Vec<String>,
    /// How many purges by key there had been when it was asked for.
    #[serde(default)]
    pub purges: u64,
}
