//! `ferrio top`.
