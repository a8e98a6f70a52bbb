//! The C functions in a native type's slots: each finds the Rust value and calls its function.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};

use super::native::{Instance, Native, This, Visitor};
use super::trashcan::Level;
use super::{
    Arguments, Object, ObjectCell, Outcome, SavedException, guard, guard_optional, guard_status,
    sys,
};

/// A function item or a closure without captures, made again from its type.
///
/// # Safety
/// * A value of `F` was handed to the builder, so one exists; `F` is zero-sized.
pub(super) unsafe fn conjure<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "a slot's body cannot capture anything") };
    // SAFETY: a zero-sized Copy type that is inhabited, by the caller's word.
    unsafe { NonNull::<F>::dangling().read() }
}

pub(super) unsafe extern "C" fn new_instance<T: Native>(
    class: *mut sys::PyTypeObject,
    _arguments: *mut sys::PyObject,
    _keywords: *mut sys::PyObject,
) -> *mut sys::PyObject {
    guard(|| {
        let value = T::create()?;
        // SAFETY: `class` is T's type or a subclass, so an instance begins with an
        // `Instance<T>`; the memory is fresh.
        unsafe {
            let allocate = (*class).tp_alloc.unwrap_or(sys::PyType_GenericAlloc);
            let object = Object::from_new(allocate(class, 0))?;
            ptr::write(
                &raw mut (*object.as_ptr().cast::<Instance<T>>()).value,
                value,
            );
            Ok(object)
        }
    })
}

pub(super) unsafe extern "C" fn deallocate<T: Native>(pointer: *mut sys::PyObject) {
    // SAFETY: CPython calls this once, when the last reference is gone.
    unsafe {
        if T::CHAINS && This::<T>::from_raw(pointer).may_hold_chain() {
            deallocate_in_chain::<T>(pointer);
        } else {
            end::<T>(pointer);
        }
    }
}

/// The deallocator of what may hold others of its kind. On its own, so that nothing of it is left
/// where there is no chain.
#[inline(never)]
unsafe extern "C" fn deallocate_in_chain<T: Native>(pointer: *mut sys::PyObject) {
    // SAFETY: the caller's word, the first time and when it was put off.
    unsafe {
        if let Some(_level) = Level::enter(pointer, deallocate_in_chain::<T>) {
            end::<T>(pointer);
        }
    }
}

/// # Safety
/// * `pointer` has no references, and CPython has called its deallocator.
#[inline(always)]
unsafe fn end<T: Native>(pointer: *mut sys::PyObject) {
    // SAFETY: the last reference is gone. A subclass's instance comes through CPython's own
    // deallocator first, which has run the finalizer already. The value is dropped in place, then
    // the memory is freed.
    unsafe {
        let class = sys::Py_TYPE(pointer);
        let this = This::<T>::from_raw(pointer);
        let exact = class == T::type_object().as_ptr();
        if T::FINALIZES
            && exact
            && this.wants_finalize()
            && sys::PyObject_CallFinalizerFromDealloc(pointer) < 0
        {
            // It lives on. Putting its end off has hidden it from the collector.
            if sys::PyObject_GC_IsTracked(pointer.cast()) == 0 {
                sys::PyObject_GC_Track(pointer.cast());
            }
            return;
        }
        sys::PyObject_GC_UnTrack(pointer.cast());
        let reusable = exact
            && (!T::FINALIZES
                || !this.may_be_finalized()
                || sys::PyObject_GC_IsFinalized(pointer) == 0);
        let status = guard_status(|| {
            let value = this.value();
            value.detach();
            if let Some(offset) = T::WEAK_REFERENCES_OFFSET {
                let field = ptr::from_ref(value).cast::<u8>().add(offset);
                if (*field.cast::<ObjectCell>()).is_some() {
                    sys::PyObject_ClearWeakRefs(pointer);
                    // The list's head is CPython's and holds no reference of ours.
                    field
                        .cast::<*mut sys::PyObject>()
                        .cast_mut()
                        .write(ptr::null_mut());
                }
            }
            ptr::drop_in_place(&raw mut (*pointer.cast::<Instance<T>>()).value);
            Ok(())
        });
        if status < 0 {
            sys::PyErr_WriteUnraisable(class.cast());
        }
        if reusable && T::free_list().is_some_and(|list| list.keep(pointer)) {
            return;
        }
        if let Some(free) = (*class).tp_free {
            free(pointer.cast());
        }
        sys::Py_DECREF(class.cast());
    }
}

pub(super) unsafe extern "C" fn traverse<T: Native>(
    pointer: *mut sys::PyObject,
    visit: sys::visitproc,
    argument: *mut c_void,
) -> c_int {
    let visitor = Visitor::new(visit, argument);
    let body = || {
        // SAFETY: a live instance; traversing reads and never calls Python.
        unsafe {
            let this = This::<T>::from_raw(pointer);
            visitor.pointer(sys::Py_TYPE(pointer).cast())?;
            if let Some(offset) = T::DICT_OFFSET {
                let field = ptr::from_ref(this.value()).cast::<u8>().add(offset);
                (*field.cast::<ObjectCell>()).visit(visitor)?;
            }
            this.visit(visitor)
        }
    };
    // What is not shown counts as held from outside, so a panic costs a leak at most.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Err(answer)) => answer,
        Ok(Ok(())) | Err(_) => 0,
    }
}

pub(super) unsafe extern "C" fn clear<T: Native>(pointer: *mut sys::PyObject) -> c_int {
    guard_status(|| {
        // SAFETY: a live instance, kept alive by the collector for the call.
        let this = unsafe { This::<T>::from_raw(pointer) };
        if let Some(offset) = T::DICT_OFFSET {
            // SAFETY: the offset of an ObjectCell, by the trait's contract.
            unsafe {
                let field = ptr::from_ref(this.value()).cast::<u8>().add(offset);
                (*field.cast::<ObjectCell>()).clear();
            }
        }
        this.value().clear();
        Ok(())
    })
}

pub(super) unsafe extern "C" fn finalize<T: Native>(pointer: *mut sys::PyObject) {
    let saved = SavedException::new();
    let status = guard_status(|| {
        // SAFETY: CPython keeps the instance alive for the call.
        T::finalize(unsafe { This::<T>::from_raw(pointer) });
        Ok(())
    });
    if status < 0 {
        // SAFETY: a live object; the panic's exception is set.
        unsafe { sys::PyErr_WriteUnraisable(pointer) }
    }
    drop(saved);
}

pub(super) unsafe extern "C" fn init_instance<T: Native, F>(
    pointer: *mut sys::PyObject,
    arguments: *mut sys::PyObject,
    keywords: *mut sys::PyObject,
) -> c_int
where
    F: Fn(This<'_, T>, Arguments<'_>) -> Outcome<()> + Copy + 'static,
{
    guard_status(|| {
        // SAFETY: a live instance of the type; a tuple, and null or a dict.
        unsafe {
            Arguments::with_tuple_and_dict(arguments, keywords, |arguments| {
                conjure::<F>()(This::from_raw(pointer), arguments)
            })
        }
    })
}

pub(super) unsafe extern "C" fn call_instance<T: Native, F>(
    pointer: *mut sys::PyObject,
    arguments: *mut sys::PyObject,
    keywords: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>, Arguments<'_>) -> Outcome<Object> + Copy + 'static,
{
    guard(|| {
        // SAFETY: a live instance of the type; a tuple, and null or a dict.
        unsafe {
            Arguments::with_tuple_and_dict(arguments, keywords, |arguments| {
                conjure::<F>()(This::from_raw(pointer), arguments)
            })
        }
    })
}

pub(super) unsafe extern "C" fn unary_slot<T: Native, F>(
    pointer: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: CPython checked the type; see `conjure`.
    guard(|| unsafe { conjure::<F>()(This::from_raw(pointer)) })
}

pub(super) unsafe extern "C" fn next_slot<T: Native, F>(
    pointer: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>) -> Outcome<Option<Object>> + Copy + 'static,
{
    guard_optional(|| {
        // SAFETY: CPython checked the type; see `conjure`.
        unsafe { conjure::<F>()(This::from_raw(pointer)) }
    })
}

/// How far a step of something that is awaited came.
pub(crate) enum Progress {
    /// It waits; the object is for the task, or for whoever drives it.
    Yielded(Object),
    /// It is over, with this result.
    Returned(Object),
}

pub(super) unsafe extern "C" fn send_slot<T: Native, F>(
    pointer: *mut sys::PyObject,
    value: *mut sys::PyObject,
    result: *mut *mut sys::PyObject,
) -> sys::PySendResult
where
    F: Fn(This<'_, T>, &Object) -> Outcome<Progress> + Copy + 'static,
{
    let mut returned = false;
    let item = guard(|| {
        // SAFETY: CPython checked the type; see `conjure`; the value is lent for the call.
        let progress = unsafe { conjure::<F>()(This::from_raw(pointer), Object::view(&value)) }?;
        Ok(match progress {
            Progress::Yielded(item) => item,
            Progress::Returned(item) => {
                returned = true;
                item
            }
        })
    });
    // SAFETY: CPython's place for the result; null together with an error.
    unsafe { *result = item };
    match (item.is_null(), returned) {
        (true, _) => sys::PySendResult::PYGEN_ERROR,
        (false, true) => sys::PySendResult::PYGEN_RETURN,
        (false, false) => sys::PySendResult::PYGEN_NEXT,
    }
}

pub(super) unsafe extern "C" fn compare_slot<T: Native, F>(
    pointer: *mut sys::PyObject,
    other: *mut sys::PyObject,
    operation: c_int,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>, &Object, c_int) -> Outcome<Option<bool>> + Copy + 'static,
{
    guard(|| {
        // SAFETY: CPython checked the first operand's type; the other is any object.
        unsafe {
            let answer = conjure::<F>()(This::from_raw(pointer), Object::view(&other), operation)?;
            Ok(match answer {
                Some(truth) => Object::from_bool(truth),
                None => Object::from_borrowed(sys::Py_NotImplemented()),
            })
        }
    })
}

pub(super) unsafe extern "C" fn hash_slot<T: Native, F>(
    pointer: *mut sys::PyObject,
) -> sys::Py_hash_t
where
    F: Fn(This<'_, T>) -> Outcome<isize> + Copy + 'static,
{
    let mut hash = -1;
    let status = guard_status(|| {
        // SAFETY: CPython checked the type; see `conjure`.
        hash = unsafe { conjure::<F>()(This::from_raw(pointer)) }?;
        Ok(())
    });
    match (status, hash) {
        (0, -1) => -2, // -1 means failure, so CPython's own hashes avoid it too.
        (0, hash) => hash,
        _ => -1,
    }
}

pub(super) unsafe extern "C" fn set_attribute_slot<T: Native, F>(
    pointer: *mut sys::PyObject,
    name: *mut sys::PyObject,
    value: *mut sys::PyObject,
) -> c_int
where
    F: Fn(This<'_, T>, &Object, Option<&Object>) -> Outcome<()> + Copy + 'static,
{
    guard_status(|| {
        // SAFETY: CPython checked the type; `value` is null for a deletion.
        unsafe {
            let value = if value.is_null() {
                None
            } else {
                Some(Object::view(&value))
            };
            conjure::<F>()(This::from_raw(pointer), Object::view(&name), value)
        }
    })
}
