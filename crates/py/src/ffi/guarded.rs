//! Statics that only the thread that holds the interpreter touches.

/// A static whose cells are used by one thread at a time: the one that holds the interpreter.
pub(crate) struct Guarded<T>(T);

// SAFETY: everything above this module runs only with the interpreter held (the first rule of
// `ffi`), so no two threads are at it at once, and each sees what the one before has written.
unsafe impl<T> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Guarded<T> {
        Guarded(value)
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}
