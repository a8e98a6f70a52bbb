//! A native function bound to an object: what `object.__aenter__` gives.
//!
//! `async with` binds two methods for each block it enters, and Python's own objects for that come
//! from the allocator and go back to it. These are taken from a list. They answer as Python's do,
//! `__class__` included, so that `inspect` takes them for methods.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use super::method::GetSet;
use super::native::{TypeObject, Visitor};
use super::{
    FreeList, Function, Method, Native, Object, ObjectCell, Outcome, Own, Raised, Slot, This,
    TypeBuilder, attributes, guard, interned, methods, none, sys, text,
};

/// A function of ours with its first argument.
#[repr(C)]
pub(super) struct BoundFunction {
    vectorcall: sys::vectorcallfunc,
    weak_references: ObjectCell,
    /// Empty only in garbage, as is the receiver.
    function: Slot<Own<Function>>,
    receiver: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `BoundFunction` in `build`; the offsets are those of fields that only
// CPython touches, and the C function is set by the one constructor.
unsafe impl Native for BoundFunction {
    const NAME: &'static CStr = c"ferrio._ferrio.method";
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(BoundFunction, weak_references));
    const VECTORCALL_OFFSET: Option<usize> = Some(std::mem::offset_of!(BoundFunction, vectorcall));

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<BoundFunction> {
        Err(Raised::type_error("methods are not made by calling"))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.function.visit(visitor)?;
        self.receiver.visit(visitor)
    }

    fn clear(&self) {
        self.function.clear();
        self.receiver.clear();
    }
}

impl BoundFunction {
    #[inline]
    pub(super) fn make(function: This<'_, Function>, receiver: &Object) -> Outcome<Object> {
        let bound = Own::new(BoundFunction {
            vectorcall: call,
            weak_references: ObjectCell::new(),
            function: Slot::with(function.own()),
            receiver: ObjectCell::with(receiver.clone()),
        })?;
        Ok(bound.into_object())
    }
}

impl This<'_, BoundFunction> {
    fn function(self) -> Outcome<Own<Function>> {
        let function = self.value().function.get();
        function.ok_or_else(|| Raised::runtime_error("the method is being freed"))
    }

    fn receiver(self) -> Object {
        self.value().receiver.get().unwrap_or_else(none)
    }

    fn describe(self) -> Outcome<Object> {
        let name = self.function()?.qualified_name().to_text()?;
        let receiver = self.receiver().repr_text()?;
        text(&format!("<bound method {name} of {receiver}>"))
    }

    /// `==`: of the same function and the same object.
    fn equals(self, other: &Object, operation: c_int) -> Option<bool> {
        let other = This::<BoundFunction>::from_exact(other)?;
        let equal = self.value().function.address() == other.value().function.address()
            && self.value().receiver.address() == other.value().receiver.address();
        match operation {
            sys::Py_EQ => Some(equal),
            sys::Py_NE => Some(!equal),
            _ => None,
        }
    }

    fn hash(self) -> isize {
        let function = self.value().function.address().addr();
        let receiver = self.value().receiver.address().addr();
        // The lowest bits of an address are zero.
        (function.rotate_right(4) ^ receiver.rotate_right(7)).cast_signed()
    }

    /// For pickling and copying: `getattr(receiver, name)`.
    fn reduce(self) -> Outcome<Object> {
        let builtins = crate::imports::module(c"builtins")?;
        let arguments = Object::tuple(&[&self.receiver(), &self.function()?.name()])?;
        Object::tuple(&[&builtins.get_attr(&interned(c"getattr")?)?, &arguments])
    }
}

unsafe extern "C" {
    static mut PyMethod_Type: sys::PyTypeObject;
}

/// How many arguments are passed on without asking for memory.
const FEW: usize = 6;

unsafe extern "C" fn call(
    callable: *mut sys::PyObject,
    arguments: *const *mut sys::PyObject,
    count: usize,
    names: *mut sys::PyObject,
) -> *mut sys::PyObject {
    // SAFETY: CPython calls the function of a live instance, which it holds; as many arguments as
    // it says, named ones last. The function's own entry catches what panics.
    unsafe {
        let this = This::<BoundFunction>::from_raw(callable);
        let (function, receiver) = (
            this.value().function.address(),
            this.value().receiver.address(),
        );
        if function.is_null() || receiver.is_null() {
            return guard(|| this.function().map(Own::into_object));
        }
        let entry = This::<Function>::from_raw(function).value().entry();
        let count = sys::PyVectorcall_NARGS(count).unsigned_abs();
        let all = if names.is_null() {
            count
        } else {
            count + sys::PyTuple_Size(names).unsigned_abs()
        };
        if all <= FEW {
            let mut array = [ptr::null_mut(); FEW + 1];
            array[0] = receiver;
            for index in 0..all {
                array[index + 1] = *arguments.add(index);
            }
            return entry(function, array.as_ptr(), count + 1, names);
        }
        let mut array = vec![receiver];
        array.extend_from_slice(std::slice::from_raw_parts(arguments, all));
        entry(function, array.as_ptr(), count + 1, names)
    }
}

/// `tp_getattro`: what the method itself does not have, its function may.
unsafe extern "C" fn get_attribute(
    pointer: *mut sys::PyObject,
    name: *mut sys::PyObject,
) -> *mut sys::PyObject {
    // SAFETY: CPython asks a live instance for a name; null means that an exception is set.
    unsafe {
        let own = sys::PyObject_GenericGetAttr(pointer, name);
        if !own.is_null() || sys::PyErr_ExceptionMatches(sys::PyExc_AttributeError) == 0 {
            return own;
        }
        Raised::NOW.discard(); // The function says whether there is none.
        guard(|| {
            let function = This::<BoundFunction>::from_raw(pointer).function()?;
            function.into_object().get_attr(Object::view(&name))
        })
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, BoundFunction>;
    let table = attributes(vec![
        GetSet::read_only(
            c"__class__",
            |_: Self_<'_>| {
                // SAFETY: a type that lives as long as the interpreter.
                Ok(unsafe { Object::from_borrowed((&raw mut PyMethod_Type).cast()) })
            },
            c"The class that this object stands for.",
        ),
        GetSet::read_only(
            c"__func__",
            |this: Self_<'_>| Ok(this.function()?.into_object()),
            c"The function.",
        ),
        GetSet::read_only(
            c"__self__",
            |this: Self_<'_>| Ok(this.receiver()),
            c"The object to which the function is bound.",
        ),
        GetSet::read_only(
            c"__doc__",
            |this: Self_<'_>| {
                this.function()?
                    .into_object()
                    .get_attr(&interned(c"__doc__")?)
            },
            c"What it does.",
        ),
        GetSet::read_only(
            c"__module__",
            |this: Self_<'_>| {
                let function = this.function()?.into_object();
                function.get_attr(&interned(c"__module__")?)
            },
            c"The name of the module.",
        ),
    ]);
    let reduce = methods(vec![Method::no_arguments(
        c"__reduce__",
        |this: Self_<'_>| this.reduce(),
        c"Pickle it by its name.",
    )]);
    TypeBuilder::<BoundFunction>::new(c"A function of ferrio's, bound to an object.")
        .only_from_rust()
        .documented_by_instances()
        .vectorcall()
        .raw_slot(sys::Py_tp_getattro, get_attribute as *mut c_void)
        .unary(sys::Py_tp_repr, |this| this.describe())
        .compare(|this, other, operation| Ok(this.equals(other, operation)))
        .hash(|this| Ok(this.hash()))
        .attributes(table)
        .methods(reduce)
        .build(module, None)
}
