//! A pointer to a native object that does not keep it alive.

use std::cell::Cell;
use std::ptr::NonNull;

use super::{Instance, Native, Own, This};

/// A type whose objects may be pointed at without being owned.
///
/// # Safety
/// * [`Native::detach`] clears every [`Unowned`] that points at the object, if
///   [`Pointed::pointers`] is not 0.
pub(crate) unsafe trait Pointed: Native {
    /// How many point at it; at its highest value it stays there.
    fn pointers(&self) -> &Cell<u16>;
}

/// A place for such a pointer.
pub(crate) struct Unowned<T: Pointed>(Cell<Option<NonNull<Instance<T>>>>);

impl<T: Pointed> Unowned<T> {
    pub(crate) const fn new() -> Unowned<T> {
        Unowned(Cell::new(None))
    }

    #[inline]
    pub(crate) fn set(&self, this: This<'_, T>) {
        self.clear();
        let count = this.value().pointers();
        count.set(count.get().saturating_add(1));
        self.0.set(NonNull::new(this.as_ptr().cast()));
    }

    #[inline]
    pub(crate) fn clear(&self) {
        let Some(pointer) = self.0.take() else {
            return;
        };
        // SAFETY: the object has cleared every pointer to it before its memory goes.
        let count = unsafe { pointer.as_ref() }.value.pointers();
        if count.get() < u16::MAX {
            count.set(count.get() - 1);
        }
    }

    /// A reference of one's own, if the object is not about to be freed.
    #[inline]
    pub(crate) fn get(&self) -> Option<Own<T>> {
        let pointer = self.0.get()?;
        // SAFETY: as above: its memory is there. One whose last reference is gone must not come
        // back.
        unsafe {
            let object = pointer.as_ptr().cast();
            (super::sys::Py_REFCNT(object) > 0).then(|| This::<T>::from_raw(object).own())
        }
    }

    /// Whether it points at the object with this value.
    pub(crate) fn is(&self, value: &T) -> bool {
        self.0.get().is_some_and(|pointer| {
            // SAFETY: as above.
            std::ptr::eq(unsafe { &raw const pointer.as_ref().value }, value)
        })
    }
}
