//! What is looked up once and used ever after: asyncio's classes, names of attributes.

use std::sync::OnceLock;

/// A place for it: filled at the module's import, or when it is first asked for.
pub(crate) struct LookedUp<T>(OnceLock<Shared<T>>);

struct Shared<T>(T);

// SAFETY: filled once by a thread that holds the interpreter and never replaced; what it refers to
// is only used by threads that hold the interpreter.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> LookedUp<T> {
    pub(crate) const fn new() -> LookedUp<T> {
        LookedUp(OnceLock::new())
    }

    /// What the module's import has filled in.
    ///
    /// # Panics
    /// Before that; no code of ours runs before it.
    #[inline]
    pub(crate) fn get(&self) -> &T {
        self.find()
            .expect("the module's own import fills this first")
    }

    /// What is there by now.
    #[inline]
    pub(crate) fn find(&self) -> Option<&T> {
        self.0.get().map(|shared| &shared.0)
    }

    /// Fills it in, if it is still empty: a second import in the same process (after a failed one)
    /// finds the same objects.
    pub(crate) fn fill(&self, value: T) -> &T {
        &self.0.get_or_init(|| Shared(value)).0
    }
}
