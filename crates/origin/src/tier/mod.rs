//! The long-term tier: all content in a bucket or a directory elsewhere, with this disk as a cache of it.

pub mod bucket;
