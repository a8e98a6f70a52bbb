//! What a subclass or a user has put in place of the loop's own methods.
//!
//! asyncio's loops can be patched, so every call goes through an attribute
//! there. Here the fast paths do not, as long as nobody has replaced what they
//! stand for: a method of a subclass, of the class afterwards, or of the one
//! object. The class is looked at again whenever its version tag has changed,
//! once a turn.

use std::cell::Cell;
use std::ffi::CStr;

use crate::ffi::{Native, Object, Outcome, This, interned, sys};

use super::EventLoop;

/// Which methods are not the loop's own.
#[derive(Default)]
pub(crate) struct Overrides {
    call_soon: Cell<bool>,
    call_at: Cell<bool>,
    time: Cell<bool>,
    create_future: Cell<bool>,
    create_task: Cell<bool>,
    call_soon_threadsafe: Cell<bool>,
    /// The class's version tag when this was filled; 0 is never valid.
    version: Cell<u32>,
}

impl Overrides {
    #[inline]
    pub(super) fn call_soon(&self) -> bool {
        self.call_soon.get()
    }

    #[inline]
    pub(super) fn call_at(&self) -> bool {
        self.call_at.get()
    }

    #[inline]
    pub(super) fn create_future(&self) -> bool {
        self.create_future.get()
    }

    #[inline]
    pub(super) fn create_task(&self) -> bool {
        self.create_task.get()
    }

    #[inline]
    pub(super) fn call_soon_threadsafe(&self) -> bool {
        self.call_soon_threadsafe.get()
    }

    #[inline]
    pub(super) fn time(&self) -> bool {
        self.time.get()
    }
}

impl This<'_, EventLoop> {
    /// Looks again if the class has changed.
    #[inline]
    pub(super) fn refresh_overrides(self) -> Outcome<()> {
        let version = self.object().type_version();
        if version != 0 && version == self.overrides.version.get() {
            return Ok(());
        }
        self.look_for_overrides()
    }

    /// Looks at the class and at the object's own attributes.
    #[cold]
    pub(super) fn look_for_overrides(self) -> Outcome<()> {
        let class = self.object().type_object();
        // SAFETY: the type object lives as long as the process.
        let base = EventLoop::type_object().object();
        for (name, flag) in [
            (c"call_soon", &self.overrides.call_soon),
            (c"call_at", &self.overrides.call_at),
            (c"time", &self.overrides.time),
            (c"create_future", &self.overrides.create_future),
            (c"create_task", &self.overrides.create_task),
            (
                c"call_soon_threadsafe",
                &self.overrides.call_soon_threadsafe,
            ),
        ] {
            let name = interned(name)?;
            let mine = base.get_attr(&name)?;
            let actual = class.get_attr(&name)?;
            let on_object = self.has_own_attribute(&name)?;
            flag.set(on_object || !actual.is_same_method(&mine));
        }
        self.overrides.version.set(self.object().type_version());
        self.update_plain();
        Ok(())
    }

    /// Whether the object's own dict has the name. Asking Python for the dict would make one.
    fn has_own_attribute(self, name: &Object) -> Outcome<bool> {
        match self.dict.get() {
            Some(namespace) => namespace.dict_contains(name),
            None => Ok(false),
        }
    }

    /// `__setattr__`: an attribute that hides one of our methods changes what is called.
    pub(super) fn set_attribute(self, name: &Object, value: Option<&Object>) -> Outcome<()> {
        self.object().generic_set_attr(name, value)?;
        let is = |known: &CStr| {
            // SAFETY: attribute names are text, which generic_set_attr has checked.
            unsafe { sys::PyUnicode_CompareWithASCIIString(name.as_ptr(), known.as_ptr()) == 0 }
        };
        if is(c"_default_executor") {
            // Whatever it is now, `_use_thread_pool()` says it if it is ours.
            self.thread_pool.clear();
        }
        let replaceable = [
            c"call_soon",
            c"call_at",
            c"time",
            c"create_future",
            c"create_task",
            c"call_soon_threadsafe",
        ];
        if replaceable.into_iter().any(is) {
            self.look_for_overrides()?;
        }
        Ok(())
    }
}
