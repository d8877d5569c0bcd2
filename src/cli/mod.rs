//! What people see: tables, times and problems as text, and as JSON where programs read.

pub mod format;
pub mod report;
