//! The addresses of those who sent before, each with its tuple.
//!
//! Making a tuple of a text and numbers for every datagram takes longer than finding the one that
//! was made for the last datagram of the same sender. Nobody can tell by anything but `is`.

use std::ffi::c_int;

use crate::ffi::{Object, Outcome, Visitor};
use crate::transport::address::{Address, InternetAddress};

/// The most senders that are remembered.
const MOST: usize = 256;

/// A table in which each address has one place. An address whose place is taken by another has the
/// table grow or, when it is as large as it may be, takes the place.
#[derive(Default)]
pub(super) struct KnownAddresses {
    /// As many as a power of two, or none before the first.
    places: Vec<Option<KnownAddress>>,
    /// The place of the one who sent last, who mostly is sent an answer at once.
    last: usize,
}

struct KnownAddress {
    address: InternetAddress,
    tuple: Object,
}

impl KnownAddresses {
    /// The tuple of a sender, if it is known.
    #[inline]
    pub(super) fn find(&mut self, address: InternetAddress) -> Option<Object> {
        let index = self.index(address);
        let known = self.places.get(index)?.as_ref()?;
        if known.address != address {
            return None;
        }
        self.last = index;
        Some(known.tuple.clone())
    }

    /// Remembers a sender; returns what it makes forget, to be dropped when nothing is borrowed.
    #[must_use]
    pub(super) fn remember(&mut self, address: InternetAddress, tuple: Object) -> Option<Object> {
        while self.places.len() < MOST
            && self
                .places
                .get(self.index(address))
                .is_none_or(Option::is_some)
        {
            self.grow();
        }
        self.last = self.index(address);
        let replaced = self.places[self.last].replace(KnownAddress { address, tuple });
        replaced.map(|known| known.tuple)
    }

    /// The address behind the tuple of the one who sent last.
    #[inline]
    pub(super) fn last(&self, tuple: &Object) -> Option<Address> {
        let known = self.places.get(self.last)?.as_ref()?;
        known.tuple.is(tuple).then(|| known.address.into())
    }

    #[inline]
    fn index(&self, address: InternetAddress) -> usize {
        address.hash() & self.places.len().wrapping_sub(1)
    }

    /// Doubles the table. Two that had places of their own still have.
    fn grow(&mut self) {
        let size = (self.places.len() * 2).max(1);
        let old = std::mem::take(&mut self.places);
        self.places.resize_with(size, || None);
        for known in old.into_iter().flatten() {
            let index = self.index(known.address);
            self.places[index] = Some(known);
        }
    }

    /// For `tp_traverse`.
    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for known in self.places.iter().flatten() {
            visitor.object(&known.tuple)?;
        }
        Ok(())
    }
}

impl KnownAddresses {
    /// The tuple of a sender who is not known yet.
    pub(super) fn introduce(address: InternetAddress) -> Outcome<Object> {
        address.to_python()
    }
}
