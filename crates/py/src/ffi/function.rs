//! Functions and methods in Rust that look like the Python functions they stand for.
//!
//! A built-in function has no `__code__`, so `inspect.iscoroutinefunction` and
//! `inspect.signature` know nothing of it. A [`Function`] answers these questions with the
//! attributes of the Python function in whose place it stands, and binds in a class as
//! functions do. Calling it costs what calling a built-in function costs.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::bound::{self, BoundFunction};
use super::method::GetSet;
use super::native::{TypeObject, Visitor};
use super::slots::conjure;
use super::type_builder::TypeBuilder;
use super::{
    Arguments, Method, Native, Object, ObjectCell, Outcome, Own, Raised, Signature, This,
    attributes, guard, interned, methods, sys, text,
};

/// A function in Rust.
#[repr(C)]
pub(crate) struct Function {
    vectorcall: sys::vectorcallfunc,
    dict: ObjectCell,
    weak_references: ObjectCell,
    /// The Python function in whose place it stands.
    stands_for: ObjectCell,
    name: ObjectCell,
    qualified_name: ObjectCell,
    module: ObjectCell,
    /// Whether what binding it gives is an object of ours, and not Python's.
    binds_natively: Cell<bool>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Function` in `build`; the offsets are those of fields that only
// CPython touches, and the C function is set by the one constructor.
unsafe impl Native for Function {
    const NAME: &'static CStr = c"ferrio._ferrio.function";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Function, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Function, weak_references));
    const VECTORCALL_OFFSET: Option<usize> = Some(std::mem::offset_of!(Function, vectorcall));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Function> {
        Err(Raised::type_error("functions are not made by calling"))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.stands_for.visit(visitor)?;
        self.name.visit(visitor)?;
        self.qualified_name.visit(visitor)?;
        self.module.visit(visitor)
    }

    fn clear(&self) {
        self.stands_for.clear();
    }
}

impl Function {
    /// A function with the given body in the place of `stands_for`, which belongs to `module`.
    pub(crate) fn make<F>(stands_for: &Object, module: &str, _body: F) -> Outcome<Own<Function>>
    where
        F: Fn(This<'_, Function>, Arguments<'_>) -> Outcome<Object> + Copy + 'static,
    {
        Function::with_entry(stands_for, module, call::<F>)
    }

    fn with_entry(
        stands_for: &Object,
        module: &str,
        entry: sys::vectorcallfunc,
    ) -> Outcome<Own<Function>> {
        Own::new(Function {
            vectorcall: entry,
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            stands_for: ObjectCell::with(stands_for.clone()),
            name: ObjectCell::with(stands_for.get_attr(&interned(c"__name__")?)?),
            qualified_name: ObjectCell::with(stands_for.get_attr(&interned(c"__qualname__")?)?),
            module: ObjectCell::with(text(module)?),
            binds_natively: Cell::new(false),
        })
    }

    /// A coroutine method, or another, without arguments: `begin` gets the instance and its
    /// outcome is what the call returns.
    pub(crate) fn make_method<T, F>(stands_for: &Object, _begin: F) -> Outcome<Own<Function>>
    where
        T: Native,
        F: Fn(This<'_, Function>, Own<T>) -> Outcome<Object> + Copy + 'static,
    {
        Function::with_entry(stands_for, "ferrio", call_method::<T, F>)
    }

    /// The same with one argument, whose name `parameter` gives.
    pub(crate) fn make_method_with_argument<T, N, F>(
        stands_for: &Object,
        _parameter: N,
        _begin: F,
    ) -> Outcome<Own<Function>>
    where
        T: Native,
        N: Fn() -> &'static CStr + Copy + 'static,
        F: Fn(This<'_, Function>, Own<T>, &Object) -> Outcome<Object> + Copy + 'static,
    {
        Function::with_entry(stands_for, "ferrio", call_method_with_argument::<T, N, F>)
    }

    /// What a call runs.
    #[inline]
    pub(super) fn entry(&self) -> sys::vectorcallfunc {
        self.vectorcall
    }

    pub(crate) fn name(&self) -> Object {
        self.name.get().unwrap_or_else(super::none)
    }

    pub(crate) fn qualified_name(&self) -> Object {
        self.qualified_name.get().unwrap_or_else(super::none)
    }

    /// An attribute of the Python function.
    fn lent(&self, name: &CStr) -> Outcome<Object> {
        match self.stands_for.get() {
            Some(function) => function.get_attr(&interned(name)?),
            None => Err(Raised::runtime_error("the function is being freed")),
        }
    }
}

impl Own<Function> {
    /// As a method that the interpreter looks up by itself, time and again: `async with`'s two.
    pub(crate) fn into_special_method(self) -> Object {
        self.binds_natively.set(true);
        self.into_object()
    }
}

impl This<'_, Function> {
    /// Calls the Python function in whose place it stands.
    ///
    /// # Errors
    /// Whatever that raises.
    pub(crate) fn call_original(self, argument: &Object) -> Outcome<Object> {
        match self.stands_for.get() {
            Some(function) => function.call1(argument),
            None => Err(Raised::runtime_error("the function is being freed")),
        }
    }

    /// The one argument of a method: its instance.
    ///
    /// # Errors
    /// TypeError for any other arguments, and for an instance of another class.
    #[cold]
    fn parse_receiver<T: Native>(self, arguments: Arguments<'_>) -> Outcome<Own<T>> {
        let name = self.value().qualified_name().to_text()?;
        let signature = Signature {
            function: &name,
            names: [c"self"],
            positional: 1,
            required: 1,
        };
        let [this] = signature.parse(arguments)?;
        receiver(this, &name)
    }

    /// The instance and the one argument of a method.
    ///
    /// # Errors
    /// TypeError for any other arguments, and for an instance of another class.
    #[cold]
    fn parse_receiver_and<T: Native>(
        self,
        parameter: &'static CStr,
        arguments: Arguments<'_>,
    ) -> Outcome<(Own<T>, Object)> {
        let name = self.value().qualified_name().to_text()?;
        let signature = Signature {
            function: &name,
            names: [c"self", parameter],
            positional: 2,
            required: 2,
        };
        let [this, argument] = signature.parse(arguments)?;
        let argument = argument.map_or_else(super::none, Clone::clone);
        Ok((receiver(this, &name)?, argument))
    }
}

/// The receiver of a method that was called as a function of the class.
///
/// # Errors
/// TypeError for an instance of another class.
pub(crate) fn receiver<T: Native>(object: Option<&Object>, method: &str) -> Outcome<Own<T>> {
    if let Some(object) = object
        && let Some(this) = This::<T>::from_object(object)
    {
        return Ok(this.own());
    }
    let name = T::NAME.to_string_lossy();
    let name = name.rsplit('.').next().unwrap_or_default().to_owned();
    Err(Raised::type_error(&format!(
        "{method}() needs an instance of '{name}'"
    )))
}

unsafe extern "C" fn call<F>(
    callable: *mut sys::PyObject,
    arguments: *const *mut sys::PyObject,
    count: usize,
    names: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, Function>, Arguments<'_>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: CPython calls the function of a live instance; the arguments are lent for the
    // call; the body was handed to `make`, see `conjure`.
    guard(|| unsafe {
        let count = sys::PyVectorcall_NARGS(count).unsigned_abs();
        conjure::<F>()(
            This::from_raw(callable),
            Arguments::from_vectorcall(arguments, count, &names),
        )
    })
}

/// What calls a method without arguments. As it nearly always is called it needs no parsing.
unsafe extern "C" fn call_method<T, F>(
    callable: *mut sys::PyObject,
    arguments: *const *mut sys::PyObject,
    count: usize,
    names: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    T: Native,
    F: Fn(This<'_, Function>, Own<T>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: CPython calls the function of a live instance; the arguments are lent for the
    // call; the body was handed to `make_method`, see `conjure`.
    guard(|| unsafe {
        let function = This::<Function>::from_raw(callable);
        let count = sys::PyVectorcall_NARGS(count).unsigned_abs();
        if count == 1
            && names.is_null()
            && let Some(this) = This::<T>::from_object(Object::view(&*arguments))
        {
            return conjure::<F>()(function, this.own());
        }
        let arguments = Arguments::from_vectorcall(arguments, count, &names);
        let this = function.parse_receiver::<T>(arguments)?;
        conjure::<F>()(function, this)
    })
}

/// The same for a method with one argument.
unsafe extern "C" fn call_method_with_argument<T, N, F>(
    callable: *mut sys::PyObject,
    arguments: *const *mut sys::PyObject,
    count: usize,
    names: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    T: Native,
    N: Fn() -> &'static CStr + Copy + 'static,
    F: Fn(This<'_, Function>, Own<T>, &Object) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: as above; both bodies were handed to `make_method_with_argument`.
    guard(|| unsafe {
        let function = This::<Function>::from_raw(callable);
        let count = sys::PyVectorcall_NARGS(count).unsigned_abs();
        if count == 2
            && names.is_null()
            && let Some(this) = This::<T>::from_object(Object::view(&*arguments))
        {
            return conjure::<F>()(function, this.own(), Object::view(&*arguments.add(1)));
        }
        let arguments = Arguments::from_vectorcall(arguments, count, &names);
        let (this, argument) = function.parse_receiver_and::<T>(conjure::<N>()(), arguments)?;
        conjure::<F>()(function, this, &argument)
    })
}

/// `tp_descr_get`.
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
    // SAFETY: live objects, the first a function of ours; null means that it was got through the
    // class.
    unsafe {
        if object.is_null() {
            sys::Py_INCREF(function);
            return function;
        }
        let this = This::<Function>::from_raw(function);
        if this.binds_natively.get() {
            return guard(|| BoundFunction::make(this, Object::view(&object)));
        }
        PyMethod_New(function, object)
    }
}

/// Builds the Python types.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    bound::build(module)?;
    type Self_<'a> = This<'a, Function>;
    let table = attributes(vec![
        GetSet::read_only(c"__name__", |this: Self_<'_>| Ok(this.name()), c"The name."),
        GetSet::read_only(
            c"__qualname__",
            |this: Self_<'_>| Ok(this.qualified_name()),
            c"The name with that of the class.",
        ),
        GetSet::read_only(
            c"__module__",
            |this: Self_<'_>| Ok(this.module.get().unwrap_or_else(super::none)),
            c"The name of the module.",
        ),
        GetSet::read_only(
            c"__doc__",
            |this: Self_<'_>| this.lent(c"__doc__"),
            c"What it does.",
        ),
        GetSet::read_only(
            c"__code__",
            |this: Self_<'_>| this.lent(c"__code__"),
            c"The code of the function in whose place it stands: for signature and flags.",
        ),
        GetSet::read_only(
            c"__defaults__",
            |this: Self_<'_>| this.lent(c"__defaults__"),
            c"The default values.",
        ),
        GetSet::read_only(
            c"__kwdefaults__",
            |this: Self_<'_>| this.lent(c"__kwdefaults__"),
            c"The default values of keyword arguments.",
        ),
        GetSet::read_only(
            c"__annotations__",
            |this: Self_<'_>| this.lent(c"__annotations__"),
            c"The annotations.",
        ),
        GetSet::read_only(
            c"__globals__",
            |this: Self_<'_>| this.lent(c"__globals__"),
            c"The namespace in which the annotations have their meaning.",
        ),
    ]);
    let reduce = methods(vec![Method::no_arguments(
        c"__reduce__",
        |this: Self_<'_>| Ok(this.qualified_name()),
        c"Pickle it by its name.",
    )]);
    TypeBuilder::<Function>::new(c"A function or method in Rust.")
        .only_from_rust()
        .documented_by_instances()
        .vectorcall()
        .binds_as_function(bind)
        .unary(sys::Py_tp_repr, |this| {
            let name = this.qualified_name().to_text()?;
            text(&format!("<function {name} at {:p}>", this.as_ptr()))
        })
        .attributes(table)
        .methods(reduce)
        .build(module, None)
}
