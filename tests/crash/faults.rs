//! A registrar that fails or lies.
