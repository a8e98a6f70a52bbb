//! A value in a dict that is replaced again and again: which task a loop is at.
//!
//! `dict[key] = value` hashes the key, looks for it and keeps watchers informed, which is more than
//! everything else that ferrio does in a step. Here the place of the entry is remembered, and the
//! value is put there as long as the dict is what it was: up to 3.13 it has a version that every
//! change by CPython's functions replaces by one that no dict has had. Where dicts are laid out
//! otherwise, which is tried once at import, the public function is called.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Object, Outcome, interned, none, sys};

/// The part of a dict that its entries are in: the same from 3.11 to 3.13. Behind it is the index,
/// of `1 << log2_index_bytes` bytes, and behind that the entries.
#[repr(C)]
struct Keys {
    _reference_count: isize,
    _log2_size: u8,
    log2_index_bytes: u8,
    /// 0 for keys of any kind.
    kind: u8,
    _version: u32,
    _usable: isize,
    entry_count: isize,
}

/// An entry where keys are of any kind. The pointers are null in one that is not in use.
#[repr(C)]
struct Entry {
    _hash: isize,
    key: *mut sys::PyObject,
    value: *mut sys::PyObject,
}

/// So many entries are looked through, from the last one on.
const FARTHEST: usize = 16;

/// Whether dicts are laid out as above.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// Where a certain entry was found last.
pub(crate) struct ReplacedValue {
    /// The dict's version at that time; 0 for never.
    version: Cell<u64>,
    entry: Cell<*mut Entry>,
}

impl ReplacedValue {
    pub(crate) const fn new() -> ReplacedValue {
        ReplacedValue {
            version: Cell::new(0),
            entry: Cell::new(ptr::null_mut()),
        }
    }

    /// `dict[key] = value` on an exact dict: always the same dict and key. The value is one that
    /// the garbage collector knows.
    #[inline]
    pub(crate) fn set(&self, dict: &Object, key: &Object, value: &Object) -> Outcome<()> {
        // SAFETY: an exact dict by the caller's word.
        if unsafe { version(dict) } == self.version.get() {
            // SAFETY: the dict is what it was when the entry was found.
            unsafe { self.put(value) };
            return Ok(());
        }
        self.set_and_find(dict, key, value)
    }

    /// Puts the value into the entry.
    ///
    /// # Safety
    /// * Nothing has changed the dict since the entry was found.
    #[inline]
    unsafe fn put(&self, value: &Object) {
        let value = value.clone();
        // SAFETY: an entry in use, whose value is a reference that the dict owns, and which changes
        // hands; it is dropped last, when anything may run.
        let before = unsafe {
            let place = &raw mut (*self.entry.get()).value;
            Object::from_owned(place.replace(value.into_ptr()))
        };
        drop(before);
    }

    #[cold]
    fn set_and_find(&self, dict: &Object, key: &Object, value: &Object) -> Outcome<()> {
        self.version.set(0);
        dict.dict_set(key, value)?;
        if KNOWN.load(Ordering::Relaxed) {
            self.find(dict, key);
        }
        Ok(())
    }

    /// Looks for the key's entry among the last ones.
    fn find(&self, dict: &Object, key: &Object) {
        // SAFETY: the layout is known, or is being looked at on a dict with few entries. Of a table
        // of the general kind, entries are looked at that are or have been in use.
        unsafe {
            let version = version(dict);
            let dict = dict.as_ptr().cast::<sys::PyDictObject>();
            let keys = (*dict).ma_keys.cast::<Keys>();
            if is_watched(version) || !(*dict).ma_values.is_null() || (*keys).kind != 0 {
                return;
            }
            let index = keys.add(1).cast::<u8>();
            let entries = index.add(1 << (*keys).log2_index_bytes).cast::<Entry>();
            let place = (0..(*keys).entry_count)
                .rev()
                .take(FARTHEST)
                .map(|number| entries.offset(number))
                .find(|&entry| (*entry).key == key.as_ptr());
            if let Some(entry) = place {
                self.entry.set(entry);
                self.version.set(version);
            }
        }
    }
}

/// The number that is another one after each change; never 0 for a dict in which something is.
///
/// # Safety
/// * `dict` is an exact dict.
#[inline]
unsafe fn version(dict: &Object) -> u64 {
    #[cfg(not(Py_3_14))]
    #[allow(deprecated, reason = "it goes away with 3.14, and so does this use")]
    // SAFETY: by the caller's word.
    unsafe {
        (*dict.as_ptr().cast::<sys::PyDictObject>()).ma_version_tag
    }
    #[cfg(Py_3_14)]
    {
        let _ = dict;
        u64::MAX // Dicts have none, and none is written to here.
    }
}

/// Whether somebody is told of every change, as can be asked for since 3.12: a bit for each.
fn is_watched(version: u64) -> bool {
    const WATCHERS: u64 = 0xff;
    cfg!(Py_3_12) && version & WATCHERS != 0
}

/// Tries on a dict of its own, at import, whether dicts are as is thought here.
pub(crate) fn learn_dict_layout() -> Outcome<()> {
    if cfg!(any(Py_3_14, Py_GIL_DISABLED)) {
        // There the current task is in no dict, or a dict is not one thread's to change.
        return Ok(());
    }
    KNOWN.store(dicts_are_as_thought()?, Ordering::Relaxed);
    Ok(())
}

fn dicts_are_as_thought() -> Outcome<bool> {
    let (dict, first, second) = (Object::dict()?, Object::dict()?, Object::dict()?);
    let keys = [first.type_object(), none().type_object()];
    for key in &keys {
        let place = ReplacedValue::new();
        dict.dict_set(key, &first)?;
        place.find(&dict, key);
        if place.version.get() == 0 {
            return Ok(false);
        }
        // SAFETY: a place within the dict's table, whatever it is, and then the entry itself.
        unsafe {
            if (*place.entry.get()).value != first.as_ptr() {
                return Ok(false);
            }
            place.put(&second);
        }
        if !dict.dict_get(key)?.is_some_and(|value| value.is(&second)) {
            return Ok(false);
        }
    }
    // Every kind of change must show.
    let changes: [&dyn Fn() -> Outcome<()>; 4] = [
        &|| dict.dict_set(&keys[0], &first),
        &|| dict.dict_remove(&keys[0]),
        &|| dict.dict_set(&keys[0], &second),
        &|| dict.call_method(&interned(c"clear")?, &[]).map(drop),
    ];
    for change in changes {
        // SAFETY: a dict.
        let before = unsafe { version(&dict) };
        change()?;
        // SAFETY: a dict.
        if unsafe { version(&dict) } == before {
            return Ok(false);
        }
    }
    Ok(true)
}
