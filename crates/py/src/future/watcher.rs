//! What a future calls when something native waits for it to be done.
//!
//! To Python it is a callable among a future's callbacks like any other: it can be removed, and
//! any loop can call it. Our own loop knows it and calls the function behind it directly, without
//! arguments to pack and without entering the context, which nothing native looks at.

use std::ffi::{CStr, c_int};

use crate::ffi::{
    Arguments, FreeList, GetSet, Native, Object, ObjectCell, Outcome, Own, Raised, This,
    TypeBuilder, TypeObject, Visitor, attributes, none, text,
};

/// What is done for the receiver when a future is done: `tell(receiver, future)`.
pub(crate) type Tell = fn(&Object, &Object) -> Outcome<()>;

/// The callable. One may watch many futures.
pub(crate) struct Watcher {
    /// For whom it watches; empty only in garbage.
    receiver: ObjectCell,
    tell: Tell,
    /// What it is called in representations of a future.
    name: &'static str,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `Watcher` in `build`.
unsafe impl Native for Watcher {
    const NAME: &'static CStr = c"ferrio._ferrio.Watcher";

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Watcher> {
        Err(Raised::type_error("watchers are not made by calling"))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.receiver.visit(visitor)
    }

    fn clear(&self) {
        self.receiver.clear();
    }
}

impl Watcher {
    /// Calls `tell(receiver, future)` for every future that is done.
    pub(crate) fn make(receiver: Object, name: &'static str, tell: Tell) -> Outcome<Object> {
        let watcher = Watcher {
            receiver: ObjectCell::with(receiver),
            tell,
            name,
        };
        Own::new(watcher).map(Own::into_object)
    }
}

impl This<'_, Watcher> {
    /// `future` is done.
    #[inline]
    pub(crate) fn tell(self, future: &Object) -> Outcome<()> {
        match self.receiver.get() {
            Some(receiver) => (self.value().tell)(&receiver, future),
            None => Ok(()),
        }
    }

    fn call(self, arguments: Arguments<'_>) -> Outcome<Object> {
        match arguments.positional() {
            [future] if !arguments.has_keywords() => self.tell(future).map(|()| none()),
            given => Err(Raised::type_error(&format!(
                "{}() takes exactly one argument ({} given)",
                self.name,
                given.len(),
            ))),
        }
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Watcher>;
    let table = attributes(vec![
        GetSet::read_only(
            c"__qualname__",
            |this: Self_<'_>| text(this.name),
            c"The name of the function that asyncio has in its place.",
        ),
        GetSet::read_only(
            c"__name__",
            |this: Self_<'_>| text(this.name.rsplit('.').next().unwrap_or_default()),
            c"The same without where it is defined.",
        ),
    ]);
    TypeBuilder::<Watcher>::new(c"What a future calls when it is done, on behalf of gather(), say.")
        .only_from_rust()
        .call(|this, arguments| this.call(arguments))
        .attributes(table)
        .build(module, None)
}
