//! Bytes on their way out.

use std::cell::RefCell;
use std::ffi::c_int;

use ferrio_core::WriteBuffer;

use crate::ffi::{Buffer, Object, Outcome, Visitor};

/// What a caller of `write()` lends, for as long as the call lasts.
pub(super) enum Data<'a> {
    /// `bytes`, which never change.
    Bytes(&'a Object),
    /// Anything else; its owner may change it after the call.
    Lent(Buffer),
}

impl<'a> Data<'a> {
    /// The contents of a bytes-like object.
    ///
    /// # Errors
    /// TypeError when it is none, BufferError when its bytes are not contiguous.
    #[inline]
    pub(super) fn of(object: &'a Object) -> Outcome<Data<'a>> {
        if object.as_bytes().is_some() {
            return Ok(Data::Bytes(object));
        }
        Ok(Data::Lent(Buffer::to_read(object)?))
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Data::Bytes(object) => object.as_bytes().unwrap_or_default(),
            Data::Lent(buffer) => buffer.as_slice(),
        }
    }

    /// What is left from `start` on, to be kept after the call: a reference where that is
    /// enough, a copy where it is not.
    #[inline]
    pub(super) fn keep(&self, start: usize) -> Piece {
        match self {
            Data::Bytes(object) => Piece::Bytes {
                object: (*object).clone(),
                start,
            },
            Data::Lent(buffer) => {
                Piece::Copy(buffer.as_slice().get(start..).unwrap_or_default().into())
            }
        }
    }
}

/// Bytes that wait to be sent.
pub(super) enum Piece {
    /// A `bytes` object from `start` on.
    Bytes { object: Object, start: usize },
    /// Bytes of our own.
    Copy(Box<[u8]>),
}

impl Piece {
    /// For `tp_traverse`.
    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Piece::Bytes { object, .. } => visitor.object(object),
            Piece::Copy(_) => Ok(()),
        }
    }
}

impl AsRef<[u8]> for Piece {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        match self {
            Piece::Bytes { object, start } => object
                .as_bytes()
                .and_then(|bytes| bytes.get(*start..))
                .unwrap_or_default(),
            Piece::Copy(bytes) => bytes,
        }
    }
}

/// Shows the collector what waits to be sent.
pub(super) fn visit_unsent(
    buffer: &RefCell<WriteBuffer<Piece>>,
    visitor: Visitor<'_>,
) -> Result<(), c_int> {
    let mut answer = Ok(());
    // Borrowed only while the buffer is being changed, when nothing of it is garbage.
    if let Ok(buffer) = buffer.try_borrow() {
        buffer.for_each(|piece| {
            if answer.is_ok() {
                answer = piece.visit(visitor);
            }
        });
    }
    answer
}
