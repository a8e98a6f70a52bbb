//! Native types: a Rust value behind a Python object header.
//!
//! A type is a Rust struct `T` that implements [`Native`]; its instances are
//! [`Instance<T>`], made by CPython's allocator and freed by its reference
//! counts. `T`'s fields are cells, because any of them may be read while
//! another call on the same object is under way: event loops re-enter.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use super::free_list::FreeList;
use super::method::{GetSet, Method};
use super::{Object, ObjectCell, Outcome, Raised, Ref, SavedException, guard, guard_status, sys};

/// A Python object with a `T` in it.
#[repr(C)]
pub(crate) struct Instance<T> {
    header: sys::PyObject,
    value: T,
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
pub(crate) struct TypeObject(AtomicPtr<sys::PyTypeObject>);

impl TypeObject {
    pub(crate) const fn new() -> TypeObject {
        TypeObject(AtomicPtr::new(ptr::null_mut()))
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut sys::PyTypeObject {
        self.0.load(Ordering::Relaxed)
    }

    /// Puts an attribute into the type, which Python cannot change; for the module's import.
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
        let class = T::type_object().as_ptr();
        let actual = object.type_ptr();
        // SAFETY: types are alive; a subclass's instance begins with its base's.
        unsafe {
            (actual == class || sys::PyType_IsSubtype(actual, class) != 0)
                .then(|| This::from_raw(object.as_ptr()))
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
            sys::Py_INCREF(self.as_ptr());
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
}

impl<T: Native> Deref for This<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value()
    }
}

/// An owned reference to a native object.
#[repr(transparent)]
pub(crate) struct Own<T: Native>(NonNull<Instance<T>>);

impl<T: Native> Own<T> {
    /// A new instance of `T`'s own type.
    #[inline]
    pub(crate) fn new(value: T) -> Outcome<Own<T>> {
        let class = T::type_object().as_ptr();
        // SAFETY: the type was built for `T`; the memory is fresh and large enough. A block from
        // the free list is tracked once its value is whole.
        unsafe {
            if let Some(object) = T::free_list().and_then(|list| list.take(class)) {
                let own = Own::<T>::from_object_unchecked(object);
                ptr::write(&raw mut (*own.0.as_ptr()).value, value);
                sys::PyObject_GC_Track(own.address().cast());
                return Ok(own);
            }
            let pointer = sys::PyType_GenericAlloc(class, 0);
            let instance = NonNull::new(pointer.cast::<Instance<T>>()).ok_or(Raised::NOW)?;
            ptr::write(&raw mut (*instance.as_ptr()).value, value);
            Ok(Own(instance))
        }
    }

    /// A new instance of `T`'s own type that the garbage collector does not look at until
    /// [`This::track`]: what it refers to counts as needed as long as it lives. `T`'s type has
    /// no instance dictionary.
    #[inline]
    pub(crate) fn new_untracked(value: T) -> Outcome<Own<T>> {
        const { assert!(T::DICT_OFFSET.is_none()) };
        let class = T::type_object().as_ptr();
        // SAFETY: the type was built for `T` and is collected; the memory is fresh and large
        // enough, and the value is the only thing in it behind the header.
        unsafe {
            let own = match T::free_list().and_then(|list| list.take(class)) {
                Some(object) => Own::<T>::from_object_unchecked(object),
                None => {
                    let pointer = sys::PyObject_GC_New::<sys::PyObject>(class);
                    Own(NonNull::new(pointer.cast()).ok_or(Raised::NOW)?)
                }
            };
            ptr::write(&raw mut (*own.0.as_ptr()).value, value);
            Ok(own)
        }
    }

    /// # Safety
    /// * `object` is an instance of `T`'s type or of a subclass.
    #[inline]
    pub(crate) unsafe fn from_object_unchecked(object: Object) -> Own<T> {
        // SAFETY: non-null; the type by the caller's word; the reference changes hands.
        Own(unsafe { NonNull::new_unchecked(object.into_ptr().cast()) })
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
        unsafe { sys::Py_DECREF(self.0.as_ptr().cast()) }
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

/// Collects what a type consists of, and builds it.
pub(crate) struct TypeBuilder<T: Native> {
    slots: Vec<sys::PyType_Slot>,
    flags: std::ffi::c_ulong,
    /// Whether messages of the interpreter name the type without its module.
    short_name: bool,
    native: PhantomData<T>,
}

impl<T: Native> TypeBuilder<T> {
    /// A garbage-collected type whose instances hold a `T`.
    pub(crate) fn new(doc: &'static CStr) -> TypeBuilder<T> {
        let mut builder = TypeBuilder {
            slots: Vec::new(),
            flags: sys::Py_TPFLAGS_DEFAULT
                | sys::Py_TPFLAGS_HAVE_GC
                | sys::Py_TPFLAGS_IMMUTABLETYPE,
            short_name: false,
            native: PhantomData,
        };
        builder.slot(sys::Py_tp_doc, doc.as_ptr().cast_mut().cast());
        builder.slot(sys::Py_tp_new, new_instance::<T> as *mut c_void);
        builder.slot(sys::Py_tp_dealloc, deallocate::<T> as *mut c_void);
        builder.slot(sys::Py_tp_traverse, traverse::<T> as *mut c_void);
        builder.slot(sys::Py_tp_clear, clear::<T> as *mut c_void);
        if T::FINALIZES {
            builder.slot(sys::Py_tp_finalize, finalize::<T> as *mut c_void);
        }
        builder.members();
        builder
    }

    /// Allows subclasses.
    pub(crate) fn subclassable(mut self) -> Self {
        self.flags |= sys::Py_TPFLAGS_BASETYPE;
        self
    }

    /// Has the interpreter's messages name the type as one that was written in Python: by its
    /// bare name.
    pub(crate) fn named_as_in_python(mut self) -> Self {
        self.short_name = true;
        self
    }

    /// Instances come from Rust alone, `Type()` raises TypeError.
    pub(crate) fn only_from_rust(mut self) -> Self {
        self.flags |= sys::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        self.slots.retain(|slot| slot.slot != sys::Py_tp_new);
        self
    }

    /// Derives the type from a class that was written in Python.
    ///
    /// Such a class can be changed, so a type that is based on it must not claim to be
    /// immutable: CPython warns of that since 3.12 and refuses it from 3.14. The caller's `T`
    /// begins with fields for what the base keeps in its instances.
    pub(crate) fn based_on(mut self, class: &Object) -> Self {
        self.flags &= !sys::Py_TPFLAGS_IMMUTABLETYPE;
        self.slot(sys::Py_tp_base, class.as_ptr().cast());
        self
    }

    pub(crate) fn methods(mut self, methods: &'static [sys::PyMethodDef]) -> Self {
        self.slot(sys::Py_tp_methods, methods.as_ptr().cast_mut().cast());
        self
    }

    pub(crate) fn attributes(mut self, attributes: &'static [sys::PyGetSetDef]) -> Self {
        self.slot(sys::Py_tp_getset, attributes.as_ptr().cast_mut().cast());
        self
    }

    /// `__init__`.
    pub(crate) fn init<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, super::Arguments<'_>) -> Outcome<()> + Copy + 'static,
    {
        self.slot(sys::Py_tp_init, init_instance::<T, F> as *mut c_void);
        self
    }

    /// `__call__`, and likewise any slot that takes positional and keyword arguments.
    pub(crate) fn call<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, super::Arguments<'_>) -> Outcome<Object> + Copy + 'static,
    {
        self.slot(sys::Py_tp_call, call_instance::<T, F> as *mut c_void);
        self
    }

    /// A slot that takes the instance alone and returns an object (`tp_repr`, `am_await`, …).
    pub(crate) fn unary<F>(mut self, slot: c_int, _body: F) -> Self
    where
        F: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
    {
        self.slot(slot, unary_slot::<T, F> as *mut c_void);
        self
    }

    /// `tp_iternext`: `None` ends the iteration without raising, which the interpreter
    /// takes for `StopIteration(None)`.
    pub(crate) fn next<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>) -> Outcome<Option<Object>> + Copy + 'static,
    {
        self.slot(sys::Py_tp_iternext, next_slot::<T, F> as *mut c_void);
        self
    }

    /// `am_send`: a step of what can be awaited, without an exception for what it returns.
    pub(crate) fn send<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, &Object) -> Outcome<Progress> + Copy + 'static,
    {
        self.slot(sys::Py_am_send, send_slot::<T, F> as *mut c_void);
        self
    }

    /// Has calls go through the C function in the field at [`Native::VECTORCALL_OFFSET`].
    pub(super) fn vectorcall(mut self) -> Self {
        const { assert!(T::VECTORCALL_OFFSET.is_some()) };
        self.flags |= sys::Py_TPFLAGS_HAVE_VECTORCALL;
        self.slot(sys::Py_tp_call, sys::PyVectorcall_Call as *mut c_void);
        self
    }

    /// Makes instances behave as functions do in a class: got through an object, they are
    /// methods of it.
    pub(super) fn binds_as_function(mut self) -> Self {
        self.flags |= sys::Py_TPFLAGS_METHOD_DESCRIPTOR;
        self.slot(sys::Py_tp_descr_get, bind as *mut c_void);
        self
    }

    /// `tp_richcompare`; `None` is NotImplemented.
    pub(crate) fn compare<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, &Object, c_int) -> Outcome<Option<bool>> + Copy + 'static,
    {
        self.slot(sys::Py_tp_richcompare, compare_slot::<T, F> as *mut c_void);
        self
    }

    /// `tp_hash`.
    pub(crate) fn hash<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>) -> Outcome<isize> + Copy + 'static,
    {
        self.slot(sys::Py_tp_hash, hash_slot::<T, F> as *mut c_void);
        self
    }

    /// `tp_setattro`, called for every assignment and deletion of an attribute.
    pub(crate) fn set_attribute<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, &Object, Option<&Object>) -> Outcome<()> + Copy + 'static,
    {
        self.slot(
            sys::Py_tp_setattro,
            set_attribute_slot::<T, F> as *mut c_void,
        );
        self
    }

    /// Builds the type, remembers it for `T` and adds it to `module`.
    pub(crate) fn build(mut self, module: &Object, base: Option<&TypeObject>) -> Outcome<()> {
        if !T::type_object().as_ptr().is_null() {
            // The module is imported a second time; its objects are still of the first's types.
            let class = T::type_object().object();
            // SAFETY: a live module and a live type.
            return Raised::check(unsafe {
                sys::PyModule_AddType(module.as_ptr(), class.as_ptr().cast())
            });
        }
        if let Some(base) = base {
            self.slot(sys::Py_tp_base, base.as_ptr().cast());
        }
        self.slots.push(sys::PyType_Slot {
            slot: 0,
            pfunc: ptr::null_mut(),
        });
        let mut spec = sys::PyType_Spec {
            name: T::NAME.as_ptr(),
            basicsize: c_int::try_from(size_of::<Instance<T>>()).unwrap_or(c_int::MAX),
            itemsize: 0,
            flags: std::ffi::c_uint::try_from(self.flags).unwrap_or(0),
            slots: self.slots.as_mut_ptr(),
        };
        // SAFETY: a spec whose slots hold functions of the slots' own types; CPython
        // copies what it keeps, but for the tables, which live forever.
        unsafe {
            let class = Object::from_new(sys::PyType_FromModuleAndSpec(
                module.as_ptr(),
                &raw mut spec,
                ptr::null_mut(),
            ))?;
            if self.short_name {
                let name = T::NAME.to_bytes_with_nul();
                let start = name
                    .iter()
                    .rposition(|&byte| byte == b'.')
                    .map_or(0, |dot| dot + 1);
                let class = class.as_ptr().cast::<sys::PyTypeObject>();
                (*class).tp_name = name[start..].as_ptr().cast();
            }
            T::type_object()
                .0
                .store(class.as_ptr().cast(), Ordering::Release);
            // The reference in TypeObject is never given back: types outlive their users.
            Raised::check(sys::PyModule_AddType(
                module.as_ptr(),
                class.into_ptr().cast(),
            ))
        }
    }

    /// Any other slot, with a C function of the slot's own type.
    pub(super) fn raw_slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slot(slot, function);
        self
    }

    fn slot(&mut self, slot: c_int, pfunc: *mut c_void) {
        self.slots.push(sys::PyType_Slot { slot, pfunc });
    }

    /// The two members by which CPython learns where `__dict__` and weak references are.
    fn members(&mut self) {
        let mut members = Vec::new();
        for (name, offset) in [
            (c"__dictoffset__", T::DICT_OFFSET),
            (c"__weaklistoffset__", T::WEAK_REFERENCES_OFFSET),
            (c"__vectorcalloffset__", T::VECTORCALL_OFFSET),
        ] {
            if let Some(offset) = offset {
                members.push(member(name, Instance::<T>::VALUE_OFFSET + offset));
            }
        }
        if members.is_empty() {
            return;
        }
        members.push(END_OF_MEMBERS);
        self.slot(sys::Py_tp_members, members.leak().as_mut_ptr().cast());
    }
}

const END_OF_MEMBERS: sys::PyMemberDef = sys::PyMemberDef {
    name: ptr::null(),
    type_code: 0,
    offset: 0,
    flags: 0,
    doc: ptr::null(),
};

fn member(name: &'static CStr, offset: usize) -> sys::PyMemberDef {
    /// `Py_T_PYSSIZET` and `Py_READONLY`, by these names only since 3.12.
    const PY_SSIZE_T: c_int = 19;
    const READ_ONLY: c_int = 1;
    sys::PyMemberDef {
        name: name.as_ptr(),
        type_code: PY_SSIZE_T,
        offset: offset.cast_signed(),
        flags: READ_ONLY,
        doc: ptr::null(),
    }
}

/// A function item or a closure without captures, made again from its type.
///
/// # Safety
/// * A value of `F` was handed to the builder, so one exists; `F` is zero-sized.
pub(super) unsafe fn conjure<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "a slot's body cannot capture anything") };
    // SAFETY: a zero-sized Copy type that is inhabited, by the caller's word.
    unsafe { NonNull::<F>::dangling().read() }
}

unsafe extern "C" fn new_instance<T: Native>(
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

unsafe extern "C" fn deallocate<T: Native>(pointer: *mut sys::PyObject) {
    // SAFETY: CPython calls this once, when the last reference is gone. A subclass's
    // instance comes through CPython's own deallocator first, which has run the
    // finalizer already. The value is dropped in place, then the memory is freed.
    unsafe {
        let class = sys::Py_TYPE(pointer);
        let this = This::<T>::from_raw(pointer);
        let exact = class == T::type_object().as_ptr();
        if T::FINALIZES
            && exact
            && this.wants_finalize()
            && sys::PyObject_CallFinalizerFromDealloc(pointer) < 0
        {
            return;
        }
        sys::PyObject_GC_UnTrack(pointer.cast());
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
        let kept = exact && T::free_list().is_some_and(|list| list.keep(pointer));
        if let (false, Some(free)) = (kept, (*class).tp_free) {
            free(pointer.cast());
        }
        sys::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn traverse<T: Native>(
    pointer: *mut sys::PyObject,
    visit: sys::visitproc,
    argument: *mut c_void,
) -> c_int {
    let visitor = Visitor {
        visit,
        argument,
        scope: PhantomData,
    };
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

unsafe extern "C" fn clear<T: Native>(pointer: *mut sys::PyObject) -> c_int {
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

unsafe extern "C" fn finalize<T: Native>(pointer: *mut sys::PyObject) {
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

unsafe extern "C" fn init_instance<T: Native, F>(
    pointer: *mut sys::PyObject,
    arguments: *mut sys::PyObject,
    keywords: *mut sys::PyObject,
) -> c_int
where
    F: Fn(This<'_, T>, super::Arguments<'_>) -> Outcome<()> + Copy + 'static,
{
    guard_status(|| {
        // SAFETY: a live instance of the type; a tuple, and null or a dict.
        unsafe {
            super::Arguments::with_tuple_and_dict(arguments, keywords, |arguments| {
                conjure::<F>()(This::from_raw(pointer), arguments)
            })
        }
    })
}

unsafe extern "C" fn call_instance<T: Native, F>(
    pointer: *mut sys::PyObject,
    arguments: *mut sys::PyObject,
    keywords: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>, super::Arguments<'_>) -> Outcome<Object> + Copy + 'static,
{
    guard(|| {
        // SAFETY: a live instance of the type; a tuple, and null or a dict.
        unsafe {
            super::Arguments::with_tuple_and_dict(arguments, keywords, |arguments| {
                conjure::<F>()(This::from_raw(pointer), arguments)
            })
        }
    })
}

unsafe extern "C" fn unary_slot<T: Native, F>(pointer: *mut sys::PyObject) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: CPython checked the type; see `conjure`.
    guard(|| unsafe { conjure::<F>()(This::from_raw(pointer)) })
}

unsafe extern "C" fn next_slot<T: Native, F>(pointer: *mut sys::PyObject) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>) -> Outcome<Option<Object>> + Copy + 'static,
{
    let mut ended = false;
    let result = guard(|| {
        // SAFETY: CPython checked the type; see `conjure`.
        let item = unsafe { conjure::<F>()(This::from_raw(pointer)) }?;
        ended = item.is_none();
        // A stand-in that is replaced below: the end is null without an exception.
        Ok(item.unwrap_or_else(super::none))
    });
    if ended {
        // SAFETY: gives back the stand-in's reference.
        drop(unsafe { Object::from_owned(result) });
        return ptr::null_mut();
    }
    result
}

/// How far a step of something that is awaited came.
pub(crate) enum Progress {
    /// It waits; the object is for the task, or for whoever drives it.
    Yielded(Object),
    /// It is over, with this result.
    Returned(Object),
}

unsafe extern "C" fn send_slot<T: Native, F>(
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

unsafe extern "C" fn bind(
    function: *mut sys::PyObject,
    object: *mut sys::PyObject,
    _class: *mut sys::PyObject,
) -> *mut sys::PyObject {
    unsafe extern "C" {
        fn PyMethod_New(
            function: *mut sys::PyObject,
            object: *mut sys::PyObject,
        ) -> *mut sys::PyObject;
    }
    // SAFETY: live objects; null means that it was got through the class.
    unsafe {
        if object.is_null() {
            sys::Py_INCREF(function);
            return function;
        }
        PyMethod_New(function, object)
    }
}

unsafe extern "C" fn compare_slot<T: Native, F>(
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

unsafe extern "C" fn hash_slot<T: Native, F>(pointer: *mut sys::PyObject) -> sys::Py_hash_t
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

unsafe extern "C" fn set_attribute_slot<T: Native, F>(
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

impl Object {
    /// `object.__setattr__(self, name, value)`; no value deletes.
    pub(crate) fn generic_set_attr(&self, name: &Object, value: Option<&Object>) -> Outcome<()> {
        // SAFETY: live objects; null deletes.
        Raised::check(unsafe {
            sys::PyObject_GenericSetAttr(
                self.as_ptr(),
                name.as_ptr(),
                value.map_or(ptr::null_mut(), Object::as_ptr),
            )
        })
    }
}

/// Leaks a table of methods for a type that lives forever.
pub(crate) fn leak_methods(methods: Vec<Method>) -> &'static [sys::PyMethodDef] {
    let mut table: Vec<_> = methods.into_iter().map(|method| method.0).collect();
    table.push(sys::PyMethodDef::zeroed());
    table.leak()
}

/// Leaks a table of attributes for a type that lives forever.
pub(crate) fn leak_attributes(attributes: Vec<GetSet>) -> &'static [sys::PyGetSetDef] {
    let mut table: Vec<_> = attributes
        .into_iter()
        .map(|attribute| attribute.0)
        .collect();
    table.push(END_OF_ATTRIBUTES);
    table.leak()
}

const END_OF_ATTRIBUTES: sys::PyGetSetDef = sys::PyGetSetDef {
    name: ptr::null(),
    get: None,
    set: None,
    doc: ptr::null(),
    closure: ptr::null_mut(),
};

/// Calls a function item or a closure without captures by its type alone.
pub(crate) fn call_captureless<F>() -> &'static Object
where
    F: Fn() -> &'static Object + Copy + 'static,
{
    // SAFETY: whoever names `F` as a type parameter here was handed a value of it.
    unsafe { conjure::<F>()() }
}
