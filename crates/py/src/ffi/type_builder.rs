//! What a native type consists of, put together from Rust functions.

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use super::native::{Instance, Native, This, TypeObject};
use super::slots::{self, Progress};
use super::text_signature::{class_doc, with_signatures};
use super::{Arguments, Object, Outcome, Raised, sys};

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
        let doc = class_doc(T::NAME, doc);
        builder.slot(sys::Py_tp_doc, doc.as_ptr().cast_mut().cast());
        builder.slot(sys::Py_tp_new, slots::new_instance::<T> as *mut c_void);
        builder.slot(sys::Py_tp_dealloc, slots::deallocate::<T> as *mut c_void);
        builder.slot(sys::Py_tp_traverse, slots::traverse::<T> as *mut c_void);
        builder.slot(sys::Py_tp_clear, slots::clear::<T> as *mut c_void);
        if T::FINALIZES {
            builder.slot(sys::Py_tp_finalize, slots::finalize::<T> as *mut c_void);
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

    /// Lets programs change the class, as one that was written in Python. Who takes a shortcut past
    /// its methods' names has to ask [`TypeObject::is_unchanged`].
    pub(crate) fn changeable(mut self) -> Self {
        self.flags &= !sys::Py_TPFLAGS_IMMUTABLETYPE;
        self
    }

    /// Instances come from Rust alone, `Type()` raises TypeError.
    pub(crate) fn only_from_rust(mut self) -> Self {
        self.flags |= sys::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        self.slots.retain(|slot| slot.slot != sys::Py_tp_new);
        self
    }

    /// Leaves `__doc__` to the instances' own attribute of that name, which the type's would hide.
    pub(super) fn documented_by_instances(mut self) -> Self {
        self.slots.retain(|slot| slot.slot != sys::Py_tp_doc);
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
        let methods = with_signatures(T::NAME, methods);
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
        F: Fn(This<'_, T>, Arguments<'_>) -> Outcome<()> + Copy + 'static,
    {
        self.slot(sys::Py_tp_init, slots::init_instance::<T, F> as *mut c_void);
        self
    }

    /// `__call__`, and likewise any slot that takes positional and keyword arguments.
    pub(crate) fn call<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, Arguments<'_>) -> Outcome<Object> + Copy + 'static,
    {
        self.slot(sys::Py_tp_call, slots::call_instance::<T, F> as *mut c_void);
        self
    }

    /// A slot that takes the instance alone and returns an object (`tp_repr`, `am_await`, …).
    pub(crate) fn unary<F>(mut self, slot: c_int, _body: F) -> Self
    where
        F: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
    {
        self.slot(slot, slots::unary_slot::<T, F> as *mut c_void);
        self
    }

    /// `tp_iternext`: `None` ends the iteration without raising, which the interpreter
    /// takes for `StopIteration(None)`.
    pub(crate) fn next<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>) -> Outcome<Option<Object>> + Copy + 'static,
    {
        self.slot(sys::Py_tp_iternext, slots::next_slot::<T, F> as *mut c_void);
        self
    }

    /// `am_send`: a step of what can be awaited, without an exception for what it returns.
    pub(crate) fn send<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, &Object) -> Outcome<Progress> + Copy + 'static,
    {
        self.slot(sys::Py_am_send, slots::send_slot::<T, F> as *mut c_void);
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
    /// methods of it, which `bind` makes.
    pub(super) fn binds_as_function(mut self, bind: sys::descrgetfunc) -> Self {
        self.flags |= sys::Py_TPFLAGS_METHOD_DESCRIPTOR;
        self.slot(sys::Py_tp_descr_get, bind as *mut c_void);
        self
    }

    /// `tp_richcompare`; `None` is NotImplemented.
    pub(crate) fn compare<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, &Object, c_int) -> Outcome<Option<bool>> + Copy + 'static,
    {
        self.slot(
            sys::Py_tp_richcompare,
            slots::compare_slot::<T, F> as *mut c_void,
        );
        self
    }

    /// `tp_hash`.
    pub(crate) fn hash<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>) -> Outcome<isize> + Copy + 'static,
    {
        self.slot(sys::Py_tp_hash, slots::hash_slot::<T, F> as *mut c_void);
        self
    }

    /// `tp_setattro`, called for every assignment and deletion of an attribute.
    pub(crate) fn set_attribute<F>(mut self, _body: F) -> Self
    where
        F: Fn(This<'_, T>, &Object, Option<&Object>) -> Outcome<()> + Copy + 'static,
    {
        self.slot(
            sys::Py_tp_setattro,
            slots::set_attribute_slot::<T, F> as *mut c_void,
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
            T::type_object().fill(class.as_ptr().cast());
            if self.flags & sys::Py_TPFLAGS_IMMUTABLETYPE == 0 {
                super::changeable::add(T::type_object());
            }
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

/// Gives a type of ours, and so the classes that will be derived from it, another metaclass.
///
/// # Errors
/// TypeError for anything but a type and a metaclass whose instances are laid out as types are.
pub(crate) fn set_metaclass(class: &Object, metaclass: &Object) -> Outcome<()> {
    // SAFETY: questions about live objects; types are checked to be some, and a reference to the
    // metaclass goes into the type, which lives as long as the process.
    unsafe {
        let of_types = &raw mut sys::PyType_Type;
        let fits = sys::PyType_Check(class.as_ptr()) != 0
            && sys::PyType_Check(metaclass.as_ptr()) != 0
            && sys::PyType_IsSubtype(metaclass.as_ptr().cast(), of_types) != 0
            && (*metaclass.as_ptr().cast::<sys::PyTypeObject>()).tp_basicsize
                == (*of_types).tp_basicsize;
        if !fits {
            return Err(Raised::type_error("a type and a metaclass were expected"));
        }
        (*class.as_ptr()).ob_type = metaclass.clone().into_ptr().cast();
        sys::PyType_Modified(class.as_ptr().cast());
    }
    Ok(())
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
