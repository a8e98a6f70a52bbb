//! The web page: one page without anything from elsewhere, and no framework.

/// What is on it.
pub(crate) const INDEX: &str = include_str!("index.html");

/// What it looks like.
pub(crate) const STYLE: &str = include_str!("style.css");

/// What moves it: asks for `/live.json` twice a second.
pub(crate) const SCRIPT: &str = include_str!("script.js");
