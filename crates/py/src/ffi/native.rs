//! Native types: a Rust value behind a Python object header.
//!
//! A type is a Rust struct `T` that implements [`Native`]; its instances are
//! [`Instance<T>`], made by CPython's allocator and freed by its reference
//! counts. `T`'s fields are cells, because any of them may be read while
//! another call on the same object is under way: event loops re-enter.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::changeable::Original;
use super::free_list::FreeList;
use super::{Object, Outcome, Raised, Ref, reference_count, sys};

/// A Python object with a `T` in it.
#[repr(C)]
pub(crate) struct Instance<T> {
    header: sys::PyObject,
    pub(super) value: T,
}

impl<T> Instance<T> {
    /// Where `T` begins within the object.
    pub(crate) const VALUE_OFFSET: usize = std::mem::offset_of!(Instance<T>, value);
}

/// What a Rust struct says of itself to become a Python type.
///
/// # Safety
/// * [`Native::type_object`] gives the type that was built for `Self` by [`TypeBuilder`].
/// * [`Native::DICT_OFFSET`] and [`Native::WEAK_REFERENCES_OFFSET`] are the offsets, within
///   `Self`, of fields of type [`ObjectCell`] that nothing else uses.
/// * [`Native::VECTORCALL_OFFSET`] is the offset, within `Self`, of a field that always holds a
///   C function of type `vectorcallfunc`.
pub(crate) unsafe trait Native: Sized + 'static {
    /// The qualified name, `module.Name`.
    const NAME: &'static CStr;
    /// The field that holds the instance's `__dict__`, if it has one.
    const DICT_OFFSET: Option<usize> = None;
    /// The field that holds the weak references to the instance, if there may be any.
    const WEAK_REFERENCES_OFFSET: Option<usize> = None;
    /// The field that holds the C function behind a call, if instances are called by vectorcall.
    const VECTORCALL_OFFSET: Option<usize> = None;
    /// Whether instances may hold each other in chains of any length.
    const CHAINS: bool = false;
    /// Whether [`Native::finalize`] does anything.
    const FINALIZES: bool = false;

    /// Where the memory of dead instances waits for the next ones, if it does.
    fn free_list() -> Option<&'static FreeList> {
        None
    }

    /// Where the type is kept.
    fn type_object() -> &'static TypeObject;

    /// The value of a new instance, before its `__init__`.
    ///
    /// # Errors
    /// What stops the instance from being made.
    fn create() -> Outcome<Self>;

    /// Shows every reference held to the garbage collector.
    ///
    /// # Errors
    /// The visitor's non-zero answer, passed on at once.
    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int>;

    /// Drops the references that may be part of a cycle.
    fn clear(&self);

    /// Runs once, before the instance dies, while it is still whole.
    fn finalize(_this: This<'_, Self>) {}

    /// Whether [`Native::finalize`] has something to do: a cheap look that spares the call.
    fn wants_finalize(&self) -> bool {
        false
    }

    /// Whether CPython may have called the finalizer: who remembers that spares the question.
    #[inline]
    fn may_be_finalized(&self) -> bool {
        true
    }

    /// Whether an instance of a type with [`Native::CHAINS`] may hold another at this moment.
    #[inline]
    fn may_hold_chain(&self) -> bool {
        true
    }

    /// Takes the value out of every list that does not count references.
    fn detach(&self) {}
}

/// Says that a `Self` begins with a `Base`, so that a `Base` may be had from it.
///
/// # Safety
/// * `Self` is `repr(C)` and its first field is a `Base`.
/// * `Self`'s Python type was built with `Base`'s as its base.
pub(crate) unsafe trait Extends<Base: Native>: Native {}

/// The place of a native type, filled once at import.
pub(crate) struct TypeObject {
    class: AtomicPtr<sys::PyTypeObject>,
    /// What it was like then, if programs may change it.
    pub(super) original: Original,
}

impl TypeObject {
    pub(crate) const fn new() -> TypeObject {
        TypeObject {
            class: AtomicPtr::new(ptr::null_mut()),
            original: Original::new(),
        }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut sys::PyTypeObject {
        self.class.load(Ordering::Relaxed)
    }

    /// Keeps the type for ever; for the one who builds it.
    pub(super) fn fill(&self, class: *mut sys::PyTypeObject) {
        self.class.store(class, Ordering::Release);
    }

    /// Puts an attribute into the type, which Python may not be able to; for the module's import.
    pub(crate) fn add_attribute(&self, name: &CStr, value: &Object) -> Outcome<()> {
        let class = self.as_ptr();
        // SAFETY: a live type of ours, whose dict is there; the caches are told.
        unsafe {
            Raised::check(sys::PyDict_SetItemString(
                (*class).tp_dict,
                name.as_ptr(),
                value.as_ptr(),
            ))?;
            sys::PyType_Modified(class);
        }
        Ok(())
    }

    pub(crate) fn object(&self) -> Object {
        // SAFETY: filled at import, before anything could ask; types are never freed.
        unsafe { Object::from_borrowed(self.as_ptr().cast()) }
    }
}

/// A borrowed native object.
pub(crate) struct This<'a, T: Native>(NonNull<Instance<T>>, PhantomData<&'a T>);

impl<T: Native> Clone for This<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Native> Copy for This<'_, T> {}

impl<'a, T: Native> This<'a, T> {
    /// # Safety
    /// * `pointer` is a live instance of `T`'s type or of a subclass.
    #[inline]
    pub(crate) unsafe fn from_raw(pointer: *mut sys::PyObject) -> This<'a, T> {
        // SAFETY: non-null by the caller's word.
        This(
            unsafe { NonNull::new_unchecked(pointer.cast()) },
            PhantomData,
        )
    }

    /// The native object behind a reference, subclasses included.
    #[inline]
    pub(crate) fn from_object(object: &'a Object) -> Option<This<'a, T>> {
        let wanted = T::type_object().as_ptr();
        let mut class = object.type_ptr();
        // The chain of those whose instances a class's own ones begin with is much shorter than its
        // MRO, and whatever has T's layout has T in it.
        // SAFETY: types are alive, and so are their bases; the last one has none.
        unsafe {
            while class != wanted {
                class = (*class).tp_base;
                if class.is_null() {
                    return None;
                }
            }
            Some(This::from_raw(object.as_ptr()))
        }
    }

    /// The native object behind a reference whose type is `T`'s own, no subclass.
    #[inline]
    pub(crate) fn from_exact(object: &'a Object) -> Option<This<'a, T>> {
        // SAFETY: the type was compared.
        (object.type_ptr() == T::type_object().as_ptr())
            .then(|| unsafe { This::from_raw(object.as_ptr()) })
    }

    #[inline]
    pub(crate) fn as_ptr(self) -> *mut sys::PyObject {
        self.0.as_ptr().cast()
    }

    #[inline]
    pub(crate) fn object(self) -> Ref<'a> {
        // SAFETY: alive for 'a.
        unsafe { Ref::new(self.as_ptr()) }
    }

    #[inline]
    pub(crate) fn own(self) -> Own<T> {
        // SAFETY: alive, and of the right type.
        unsafe {
            reference_count::raise(self.as_ptr());
            Own(self.0)
        }
    }

    /// The value, for as long as the object is lent.
    #[inline]
    pub(crate) fn value(self) -> &'a T {
        // SAFETY: alive for 'a; the value is never moved and its fields are cells.
        unsafe { &(*self.0.as_ptr()).value }
    }

    #[inline]
    pub(crate) fn upcast<Base: Native>(self) -> This<'a, Base>
    where
        T: Extends<Base>,
    {
        This(self.0.cast(), PhantomData)
    }

    #[inline]
    pub(crate) fn is_exact(self) -> bool {
        self.object().type_ptr() == T::type_object().as_ptr()
    }

    /// Whether it is of exactly this type, and nobody has changed that.
    #[inline]
    pub(crate) fn has_original_methods(self) -> bool {
        self.is_exact() && T::type_object().is_unchanged()
    }
}

impl<T: Native> Deref for This<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value()
    }
}

/// Puts the value of a new instance into it.
///
/// # Safety
/// * `instance` is memory of an instance without a value.
#[inline]
unsafe fn place<T>(instance: NonNull<Instance<T>>, value: T) {
    // SAFETY: by the caller's word.
    unsafe { ptr::write(&raw mut (*instance.as_ptr()).value, value) };
}

/// There was no memory for an instance with this value.
#[cold]
fn give_up<T>(value: T) -> Raised {
    let exception = Raised::NOW.take();
    drop(value); // May run code, which must find no exception on its way.
    Raised::exception(&exception)
}

/// An owned reference to a native object.
#[repr(transparent)]
pub(crate) struct Own<T: Native>(NonNull<Instance<T>>);

impl<T: Native> Own<T> {
    /// A new instance of `T`'s own type.
    ///
    /// The value has nothing to be dropped on its way, or the compiler would build it on the stack:
    /// written there field by field and then copied in larger pieces, for each of which the
    /// processor has to wait.
    #[inline]
    pub(crate) fn new(value: T) -> Outcome<Own<T>> {
        let value = ManuallyDrop::new(value);
        let class = T::type_object().as_ptr();
        // SAFETY: the type was built for `T`; the memory is fresh and large enough. A block from
        // the free list is tracked once its value is whole.
        unsafe {
            if let Some(object) = T::free_list().and_then(|list| list.take(class)) {
                let own = Own::<T>::from_object_unchecked(object);
                place(own.0, ManuallyDrop::into_inner(value));
                sys::PyObject_GC_Track(own.address().cast());
                return Ok(own);
            }
            let pointer = sys::PyType_GenericAlloc(class, 0);
            match NonNull::new(pointer.cast::<Instance<T>>()) {
                Some(instance) => {
                    place(instance, ManuallyDrop::into_inner(value));
                    Ok(Own(instance))
                }
                None => {
                    let value = ManuallyDrop::into_inner(value);
                    Err(give_up(value))
                }
            }
        }
    }

    /// A new instance of `T`'s own type that the garbage collector does not look at until
    /// [`This::track`]: what it refers to counts as needed as long as it lives. `T`'s type has
    /// no instance dictionary.
    #[inline]
    pub(crate) fn new_untracked(value: T) -> Outcome<Own<T>> {
        const { assert!(T::DICT_OFFSET.is_none()) };
        let value = ManuallyDrop::new(value);
        let class = T::type_object().as_ptr();
        // SAFETY: the type was built for `T` and is collected; the memory is fresh and large
        // enough, and the value is the only thing in it behind the header.
        unsafe {
            if let Some(object) = T::free_list().and_then(|list| list.take(class)) {
                let own = Own::<T>::from_object_unchecked(object);
                place(own.0, ManuallyDrop::into_inner(value));
                return Ok(own);
            }
            let pointer = sys::PyObject_GC_New::<sys::PyObject>(class);
            match NonNull::new(pointer.cast::<Instance<T>>()) {
                Some(instance) => {
                    place(instance, ManuallyDrop::into_inner(value));
                    Ok(Own(instance))
                }
                None => {
                    let value = ManuallyDrop::into_inner(value);
                    Err(give_up(value))
                }
            }
        }
    }

    /// # Safety
    /// * `object` is an instance of `T`'s type or of a subclass.
    #[inline]
    pub(crate) unsafe fn from_object_unchecked(object: Object) -> Own<T> {
        // SAFETY: non-null; the type by the caller's word; the reference changes hands.
        Own(unsafe { NonNull::new_unchecked(object.into_ptr().cast()) })
    }

    /// The object, if it is exactly a `T`; or else as it was.
    #[inline]
    pub(crate) fn from_exact(object: Object) -> Result<Own<T>, Object> {
        if object.type_ptr() == T::type_object().as_ptr() {
            // SAFETY: the type was compared.
            Ok(unsafe { Own::from_object_unchecked(object) })
        } else {
            Err(object)
        }
    }

    #[inline]
    pub(crate) fn this(&self) -> This<'_, T> {
        This(self.0, PhantomData)
    }

    #[inline]
    pub(crate) fn into_object(self) -> Object {
        let pointer = self.0.as_ptr().cast();
        std::mem::forget(self);
        // SAFETY: our reference changes hands.
        unsafe { Object::from_owned(pointer) }
    }

    #[inline]
    pub(crate) fn address(&self) -> *mut sys::PyObject {
        self.0.as_ptr().cast()
    }
}

impl<T: Native> This<'_, T> {
    /// Shows the instance to the garbage collector, if it does not look at it yet.
    #[inline]
    pub(crate) fn track(self) {
        let pointer = self.0.as_ptr();
        // SAFETY: a live and whole instance of a collected type.
        unsafe {
            if sys::PyObject_GC_IsTracked(pointer.cast()) == 0 {
                sys::PyObject_GC_Track(pointer.cast());
            }
        }
    }

    /// Whether somebody holds the instance beside the one who asks.
    #[inline]
    pub(crate) fn is_shared(self) -> bool {
        // SAFETY: a live instance.
        unsafe { sys::Py_REFCNT(self.0.as_ptr().cast()) > 1 }
    }
}

impl<T: Native> Clone for Own<T> {
    #[inline]
    fn clone(&self) -> Self {
        self.this().own()
    }
}

impl<T: Native> Drop for Own<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and this thread holds the interpreter.
        unsafe { reference_count::lower(self.0.as_ptr().cast()) }
    }
}

impl<T: Native> Deref for Own<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.this().value()
    }
}

/// The garbage collector's question: to whom do you refer?
#[derive(Clone, Copy)]
pub(crate) struct Visitor<'a> {
    visit: sys::visitproc,
    argument: *mut c_void,
    scope: PhantomData<&'a ()>,
}

impl Visitor<'_> {
    pub(super) fn new(visit: sys::visitproc, argument: *mut c_void) -> Self {
        Visitor {
            visit,
            argument,
            scope: PhantomData,
        }
    }

    /// Shows one reference; null is none.
    #[inline]
    pub(crate) fn pointer(self, pointer: *mut sys::PyObject) -> Result<(), c_int> {
        if pointer.is_null() {
            return Ok(());
        }
        // SAFETY: a live object that the visited one holds; the collector's own function.
        match unsafe { (self.visit)(pointer, self.argument) } {
            0 => Ok(()),
            answer => Err(answer),
        }
    }

    #[inline]
    pub(crate) fn object(self, object: &Object) -> Result<(), c_int> {
        self.pointer(object.as_ptr())
    }

    #[inline]
    pub(crate) fn own<T: Native>(self, native: &Own<T>) -> Result<(), c_int> {
        self.pointer(native.address())
    }
}
