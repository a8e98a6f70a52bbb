//! The places in programs that were met, each kept once and known by a number.
//!
//! A task keeps the number of the place that created it, a few bytes; file, function and line are
//! here, as plain data that native threads read whoever holds the interpreter.

use std::collections::HashMap;
use std::sync::{OnceLock, RwLock};

use crate::snapshot::Site;

/// The number of a place; 0 is no place, or one for which there was no room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SiteId(u32);

impl SiteId {
    /// No place.
    pub const NONE: SiteId = SiteId(0);
    /// Numbers are below this.
    pub const BOUND: u32 = 1 << 16;

    /// The number as it is kept in a field.
    #[inline]
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The place behind a number that was kept in a field.
    #[inline]
    #[must_use]
    pub fn from_number(number: u32) -> SiteId {
        SiteId(number)
    }
}

#[derive(Default)]
struct Table {
    /// The place with the number `index + 1`.
    sites: Vec<Site>,
    numbers: HashMap<Site, u32>,
}

fn table() -> &'static RwLock<Table> {
    static TABLE: OnceLock<RwLock<Table>> = OnceLock::new();
    TABLE.get_or_init(RwLock::default)
}

/// The number of a place, a new one if it was not met before; [`SiteId::NONE`] once there are
/// [`SiteId::BOUND`] of them.
pub fn intern_site(site: Site) -> SiteId {
    let mut table = table()
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(&number) = table.numbers.get(&site) {
        return SiteId(number);
    }
    let Ok(number) = u32::try_from(table.sites.len() + 1) else {
        return SiteId::NONE;
    };
    if number >= SiteId::BOUND {
        return SiteId::NONE;
    }
    table.sites.push(site.clone());
    table.numbers.insert(site, number);
    SiteId(number)
}

/// The place with that number.
#[must_use]
pub fn site(id: SiteId) -> Option<Site> {
    let index = usize::try_from(id.0).ok()?.checked_sub(1)?;
    let table = table()
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    table.sites.get(index).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32) -> Site {
        Site {
            file: "app.py".to_owned(),
            line,
            function: "main".to_owned(),
        }
    }

    #[test]
    fn a_place_has_one_number() {
        let first = intern_site(place(1));
        assert_ne!(first, SiteId::NONE);
        assert_ne!(first, intern_site(place(2)));
        assert_eq!(first, intern_site(place(1)));
        assert_eq!(site(first), Some(place(1)));
        assert_eq!(site(SiteId::from_number(first.number())), Some(place(1)));
    }

    #[test]
    fn no_place_has_no_site() {
        assert_eq!(site(SiteId::NONE), None);
        assert_eq!(site(SiteId::from_number(SiteId::BOUND)), None);
    }
}
