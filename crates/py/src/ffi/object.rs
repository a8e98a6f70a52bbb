//! References to Python objects.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use super::{Outcome, Raised, reference_count, sys};

/// An owned reference to a Python object.
///
/// It is one non-null pointer, so a `&Object` can also be a view of a pointer
/// that CPython lends us ([`Object::view`], [`Object::view_slice`]).
#[repr(transparent)]
pub(crate) struct Object(NonNull<sys::PyObject>);

impl Object {
    /// Takes over a new reference; null means that the error indicator is set.
    ///
    /// # Safety
    /// * `pointer` is null with an exception set, or a reference the caller owns.
    #[inline]
    pub(crate) unsafe fn from_new(pointer: *mut sys::PyObject) -> Outcome<Object> {
        NonNull::new(pointer).map(Object).ok_or(Raised::NOW)
    }

    /// Takes over a reference that cannot be null.
    ///
    /// # Safety
    /// * `pointer` is a non-null reference that the caller owns.
    #[inline]
    pub(crate) unsafe fn from_owned(pointer: *mut sys::PyObject) -> Object {
        debug_assert!(!pointer.is_null());
        // SAFETY: non-null by the caller's word.
        Object(unsafe { NonNull::new_unchecked(pointer) })
    }

    /// Makes an owned reference out of a borrowed one.
    ///
    /// # Safety
    /// * `pointer` is a valid, non-null object.
    #[inline]
    pub(crate) unsafe fn from_borrowed(pointer: *mut sys::PyObject) -> Object {
        // SAFETY: a live object, by the caller's word.
        unsafe {
            reference_count::raise(pointer);
            Object::from_owned(pointer)
        }
    }

    /// Sees a borrowed pointer as a reference for as long as it is lent.
    ///
    /// # Safety
    /// * `*pointer` is a valid, non-null object for as long as it is lent.
    #[inline]
    pub(crate) unsafe fn view(pointer: &*mut sys::PyObject) -> &Object {
        debug_assert!(!pointer.is_null());
        // SAFETY: `Object` is `repr(transparent)` over a non-null pointer.
        unsafe { &*std::ptr::from_ref(pointer).cast::<Object>() }
    }

    /// Sees an array of borrowed pointers as references for as long as it is lent.
    ///
    /// # Safety
    /// * `pointer` is null with `length` 0, or points to `length` valid, non-null objects for `'a`.
    #[inline]
    pub(crate) unsafe fn view_slice<'a>(
        pointer: *const *mut sys::PyObject,
        length: usize,
    ) -> &'a [Object] {
        if length == 0 {
            return &[];
        }
        // SAFETY: `Object` is `repr(transparent)` over a non-null pointer.
        unsafe { std::slice::from_raw_parts(pointer.cast::<Object>(), length) }
    }

    /// The same reference, as what is lent.
    #[inline]
    pub(crate) fn lend(&self) -> Ref<'_> {
        Ref(self.0, PhantomData)
    }

    /// Whether somebody holds the object beside the one who asks.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: a live object.
        unsafe { sys::Py_REFCNT(self.as_ptr()) > 1 }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut sys::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference away, to C code that takes it over.
    #[inline]
    pub(crate) fn into_ptr(self) -> *mut sys::PyObject {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// How many references there are; a later one never makes it less than it is now.
    #[inline]
    pub(crate) fn reference_count(&self) -> isize {
        // SAFETY: a live object.
        unsafe { sys::Py_REFCNT(self.as_ptr()) }
    }

    #[inline]
    pub(crate) fn is(&self, other: &Object) -> bool {
        self.0 == other.0
    }

    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        // SAFETY: None lives as long as the interpreter.
        self.as_ptr() == unsafe { sys::Py_None() }
    }

    /// The same object, or `None` for Python's None.
    #[inline]
    pub(crate) fn some(&self) -> Option<&Object> {
        if self.is_none() { None } else { Some(self) }
    }

    #[inline]
    pub(crate) fn type_ptr(&self) -> *mut sys::PyTypeObject {
        // SAFETY: a live object has a type.
        unsafe { sys::Py_TYPE(self.as_ptr()) }
    }

    pub(crate) fn type_object(&self) -> Object {
        // SAFETY: a type is an object.
        unsafe { Object::from_borrowed(self.type_ptr().cast()) }
    }

    /// `type(self).__name__`.
    pub(crate) fn type_name(&self) -> Outcome<Object> {
        self.type_object().get_attr(&text("__name__")?)
    }

    /// Whether this is a method written in C and bound to `owner`.
    pub(crate) fn is_builtin_method_of(&self, owner: &Object) -> bool {
        // SAFETY: a live object, whose type is asked first.
        unsafe {
            sys::PyCFunction_Check(self.as_ptr()) != 0
                && sys::PyCFunction_GetSelf(self.as_ptr()) == owner.as_ptr()
        }
    }

    /// Whether this is a function of Python's that is bound to an object.
    pub(crate) fn is_bound_method(&self) -> bool {
        unsafe extern "C" {
            static mut PyMethod_Type: sys::PyTypeObject;
        }
        self.type_ptr() == &raw mut PyMethod_Type
    }

    /// What this is bound to, if it is a method: nothing of the program's runs.
    pub(crate) fn bound_receiver(&self) -> Option<Object> {
        unsafe extern "C" {
            static mut PyMethod_Type: sys::PyTypeObject;
            fn PyMethod_Self(method: *mut sys::PyObject) -> *mut sys::PyObject;
        }
        // SAFETY: a live object, whose type is asked first; the borrowed receiver is owned.
        unsafe {
            let receiver = if sys::PyCFunction_Check(self.as_ptr()) != 0 {
                sys::PyCFunction_GetSelf(self.as_ptr())
            } else if self.type_ptr() == &raw mut PyMethod_Type {
                PyMethod_Self(self.as_ptr())
            } else {
                return None;
            };
            (!receiver.is_null()).then(|| Object::from_borrowed(receiver))
        }
    }

    /// Python's `self[key]` on an exact dict, where a missing key is `None`.
    pub(crate) fn dict_get(&self, key: &Object) -> Outcome<Option<Object>> {
        // SAFETY: live objects; `self` is a dict by its construction. The reference is borrowed.
        unsafe {
            let value = sys::PyDict_GetItemWithError(self.as_ptr(), key.as_ptr());
            if !value.is_null() {
                return Ok(Some(Object::from_borrowed(value)));
            }
            if sys::PyErr_Occurred().is_null() {
                Ok(None)
            } else {
                Err(Raised::NOW)
            }
        }
    }

    /// Python's `key in self` on an exact dict.
    pub(crate) fn dict_contains(&self, key: &Object) -> Outcome<bool> {
        // SAFETY: live objects; `self` is a dict by its construction; -1 means an exception.
        match unsafe { sys::PyDict_Contains(self.as_ptr(), key.as_ptr()) } {
            -1 => Err(Raised::NOW),
            answer => Ok(answer == 1),
        }
    }

    /// Python's `getattr(self, name)`; `name` is interned text.
    pub(crate) fn get_attr(&self, name: &Object) -> Outcome<Object> {
        // SAFETY: both are live objects; the result is a new reference.
        unsafe { Object::from_new(sys::PyObject_GetAttr(self.as_ptr(), name.as_ptr())) }
    }

    /// Python's `getattr(self, name, None)`, with a missing attribute as `None`.
    pub(crate) fn find_attr(&self, name: &Object) -> Outcome<Option<Object>> {
        match self.get_attr(name) {
            Ok(value) => Ok(Some(value)),
            // SAFETY: the exception types live as long as the interpreter.
            Err(raised) if raised.matches(unsafe { sys::PyExc_AttributeError }) => {
                raised.discard();
                Ok(None)
            }
            Err(raised) => Err(raised),
        }
    }

    pub(crate) fn set_attr(&self, name: &Object, value: &Object) -> Outcome<()> {
        // SAFETY: three live objects.
        Raised::check(unsafe {
            sys::PyObject_SetAttr(self.as_ptr(), name.as_ptr(), value.as_ptr())
        })
    }

    #[inline]
    pub(crate) fn call0(&self) -> Outcome<Object> {
        // SAFETY: a live object; the result is a new reference.
        unsafe {
            Object::from_new(match self.direct_call() {
                Some(call) => call(self.as_ptr(), std::ptr::null(), 0, std::ptr::null_mut()),
                None => sys::PyObject_CallNoArgs(self.as_ptr()),
            })
        }
    }

    #[inline]
    pub(crate) fn call1(&self, argument: &Object) -> Outcome<Object> {
        // SAFETY: live objects, behind a scratch slot, which is what the flag promises; the result
        // is a new reference.
        unsafe {
            Object::from_new(match self.direct_call() {
                Some(call) => {
                    let mut array = [std::ptr::null_mut(), argument.as_ptr()];
                    let first = array.as_mut_ptr().add(1);
                    let count = 1 | sys::PY_VECTORCALL_ARGUMENTS_OFFSET;
                    call(self.as_ptr(), first, count, std::ptr::null_mut())
                }
                None => sys::PyObject_CallOneArg(self.as_ptr(), argument.as_ptr()),
            })
        }
    }

    /// The C function behind a call of a Python function or of a method that is bound, which most
    /// callbacks are. `PyObject_Call…` comes to the same function, and looks afterwards whether it
    /// returned either a result or an exception; the interpreter's own do.
    #[inline]
    fn direct_call(&self) -> Option<sys::vectorcallfunc> {
        unsafe extern "C" {
            static mut PyMethod_Type: sys::PyTypeObject;
        }
        let class = self.type_ptr();
        // SAFETY: the objects of these two types have such a function at the type's offset.
        unsafe {
            if class != &raw mut sys::PyFunction_Type && class != &raw mut PyMethod_Type {
                return None;
            }
            let offset = (*class).tp_vectorcall_offset;
            self.as_ptr()
                .byte_offset(offset)
                .cast::<Option<sys::vectorcallfunc>>()
                .read()
        }
    }

    /// Calls with positional arguments, and keyword arguments when `names` (a tuple) says so:
    /// then the last values of `arguments` are theirs.
    #[inline]
    pub(crate) fn call(&self, arguments: &[&Object], names: Option<&Object>) -> Outcome<Object> {
        let mut array = [std::ptr::null_mut(); MOST_ARGUMENTS + 1];
        copy_pointers(&mut array[1..], arguments);
        let positional = arguments.len() - names.map_or(0, tuple_len);
        // SAFETY: the array holds the live arguments behind one scratch slot, which
        // is what PY_VECTORCALL_ARGUMENTS_OFFSET promises; `names` is a tuple of text.
        unsafe {
            Object::from_new(sys::PyObject_Vectorcall(
                self.as_ptr(),
                array.as_ptr().add(1),
                positional | sys::PY_VECTORCALL_ARGUMENTS_OFFSET,
                names.map_or(std::ptr::null_mut(), Object::as_ptr),
            ))
        }
    }

    /// Calls with the items of a tuple.
    pub(crate) fn call_tuple(&self, arguments: &Object) -> Outcome<Object> {
        // SAFETY: live objects; CPython checks that the second is a tuple.
        unsafe { Object::from_new(sys::PyObject_CallObject(self.as_ptr(), arguments.as_ptr())) }
    }

    /// Calls the method `name` without a bound method in between.
    #[inline]
    pub(crate) fn call_method(&self, name: &Object, arguments: &[&Object]) -> Outcome<Object> {
        self.call_method_with(name, arguments, None)
    }

    /// [`Object::call_method`] with keyword arguments, as in [`Object::call`].
    #[inline]
    pub(crate) fn call_method_with(
        &self,
        name: &Object,
        arguments: &[&Object],
        names: Option<&Object>,
    ) -> Outcome<Object> {
        let mut array = [std::ptr::null_mut(); MOST_ARGUMENTS + 1];
        let count = arguments.len() + 1;
        array[0] = self.as_ptr();
        copy_pointers(&mut array[1..], arguments);
        let positional = count - names.map_or(0, tuple_len);
        // SAFETY: `array` holds `count` live objects, `self` first.
        unsafe {
            Object::from_new(sys::PyObject_VectorcallMethod(
                name.as_ptr(),
                array.as_ptr(),
                positional,
                names.map_or(std::ptr::null_mut(), Object::as_ptr),
            ))
        }
    }

    pub(crate) fn is_true(&self) -> Outcome<bool> {
        // SAFETY: a live object.
        match unsafe { sys::PyObject_IsTrue(self.as_ptr()) } {
            -1 => Err(Raised::NOW),
            truth => Ok(truth == 1),
        }
    }

    /// Python's `self == other`.
    pub(crate) fn equals(&self, other: &Object) -> Outcome<bool> {
        // SAFETY: live objects.
        match unsafe { sys::PyObject_RichCompareBool(self.as_ptr(), other.as_ptr(), sys::Py_EQ) } {
            -1 => Err(Raised::NOW),
            truth => Ok(truth == 1),
        }
    }

    /// Python's `self + other`, with its own rules and errors for odd types.
    #[inline]
    pub(crate) fn add(&self, other: &Object) -> Outcome<Object> {
        // SAFETY: live objects; a new reference or null.
        unsafe { Object::from_new(sys::PyNumber_Add(self.as_ptr(), other.as_ptr())) }
    }

    /// Python's `issubclass(self, class)`.
    pub(crate) fn is_subclass(&self, class: &Object) -> Outcome<bool> {
        // SAFETY: live objects.
        match unsafe { sys::PyObject_IsSubclass(self.as_ptr(), class.as_ptr()) } {
            -1 => Err(Raised::NOW),
            truth => Ok(truth == 1),
        }
    }

    pub(crate) fn is_instance(&self, class: *mut sys::PyObject) -> Outcome<bool> {
        // SAFETY: a live object and a class that the caller keeps alive.
        match unsafe { sys::PyObject_IsInstance(self.as_ptr(), class) } {
            -1 => Err(Raised::NOW),
            truth => Ok(truth == 1),
        }
    }

    pub(crate) fn is_callable(&self) -> bool {
        // SAFETY: a live object.
        unsafe { sys::PyCallable_Check(self.as_ptr()) == 1 }
    }

    pub(crate) fn repr(&self) -> Outcome<Object> {
        // SAFETY: a live object; the result is a new reference.
        unsafe { Object::from_new(sys::PyObject_Repr(self.as_ptr())) }
    }

    pub(crate) fn str(&self) -> Outcome<Object> {
        // SAFETY: a live object; the result is a new reference.
        unsafe { Object::from_new(sys::PyObject_Str(self.as_ptr())) }
    }

    /// The text of `str(self)`, for messages; unpaired surrogates become question marks.
    pub(crate) fn to_text(&self) -> Outcome<String> {
        let text = self.str()?;
        // SAFETY: `text` is a str; the encoded bytes are copied before it goes.
        unsafe {
            let bytes = Object::from_new(sys::PyUnicode_AsEncodedString(
                text.as_ptr(),
                c"utf-8".as_ptr(),
                c"replace".as_ptr(),
            ))?;
            let start = sys::PyBytes_AsString(bytes.as_ptr()).cast::<u8>();
            let length = sys::PyBytes_Size(bytes.as_ptr()).unsigned_abs();
            let slice = std::slice::from_raw_parts(start, length);
            Ok(String::from_utf8_lossy(slice).into_owned())
        }
    }

    /// The text of `repr(self)`, for messages.
    pub(crate) fn repr_text(&self) -> Outcome<String> {
        self.repr()?.to_text()
    }

    pub(crate) fn to_f64(&self) -> Outcome<f64> {
        // SAFETY: a live object; -1.0 may be a value, so the indicator decides.
        unsafe {
            let value = sys::PyFloat_AsDouble(self.as_ptr());
            if value == -1.0 && !sys::PyErr_Occurred().is_null() {
                return Err(Raised::NOW);
            }
            Ok(value)
        }
    }

    /// Whether it is an int, of a subclass too.
    #[inline]
    pub(crate) fn is_int(&self) -> bool {
        // SAFETY: a question about a live object's type.
        unsafe { sys::PyLong_Check(self.as_ptr()) != 0 }
    }

    pub(crate) fn to_i64(&self) -> Outcome<i64> {
        // SAFETY: a live object; -1 may be a value, so the indicator decides.
        unsafe {
            let value = sys::PyLong_AsLongLong(self.as_ptr());
            if value == -1 && !sys::PyErr_Occurred().is_null() {
                return Err(Raised::NOW);
            }
            Ok(value)
        }
    }

    /// The value of an int (or a subclass's instance) that fits; `None` for anything else.
    #[inline]
    pub(crate) fn as_integer(&self) -> Option<i64> {
        // SAFETY: a live object, checked to be an int.
        unsafe {
            if sys::PyLong_Check(self.as_ptr()) == 0 {
                return None;
            }
            let mut overflow = 0;
            let value = sys::PyLong_AsLongLongAndOverflow(self.as_ptr(), &raw mut overflow);
            (overflow == 0).then_some(value)
        }
    }

    /// The characters of a text (or a subclass's instance) that is plain ASCII; `None` for
    /// anything else.
    #[cfg(not(Py_3_14))]
    #[inline]
    pub(crate) fn ascii(&self) -> Option<&str> {
        // SAFETY: checked to be text whose characters are a byte each, which never change as long
        // as it lives; ASCII is UTF-8.
        unsafe {
            let pointer = self.as_ptr();
            if sys::PyUnicode_Check(pointer) == 0 || sys::PyUnicode_IS_COMPACT_ASCII(pointer) == 0 {
                return None;
            }
            let length = sys::PyUnicode_GET_LENGTH(pointer).unsigned_abs();
            let start = sys::PyUnicode_1BYTE_DATA(pointer);
            let bytes = std::slice::from_raw_parts(start, length);
            Some(std::str::from_utf8_unchecked(bytes))
        }
    }

    /// The same on 3.14, for which `pyo3-ffi` does not know the inside of a text any more: the
    /// UTF-8 of an ASCII text is the text itself, and has as many bytes as it has characters.
    #[cfg(Py_3_14)]
    #[inline]
    pub(crate) fn ascii(&self) -> Option<&str> {
        // SAFETY: checked to be text, which keeps its UTF-8 as long as it lives.
        unsafe {
            let pointer = self.as_ptr();
            if sys::PyUnicode_Check(pointer) == 0 {
                return None;
            }
            let mut size = 0;
            let start = sys::PyUnicode_AsUTF8AndSize(pointer, &raw mut size);
            if start.is_null() {
                Raised::NOW.discard(); // Half of a surrogate pair, say.
                return None;
            }
            if sys::PyUnicode_GetLength(pointer) != size {
                return None;
            }
            let bytes = std::slice::from_raw_parts(start.cast::<u8>(), size.unsigned_abs());
            Some(std::str::from_utf8_unchecked(bytes))
        }
    }

    /// What a weak reference refers to, if that lives; any other object is called for it.
    ///
    /// # Errors
    /// What such a call raises.
    #[inline]
    pub(crate) fn weak_target(&self) -> Outcome<Option<Object>> {
        // SAFETY: a live object. The borrowed target is owned before anything else can run.
        unsafe {
            if sys::PyWeakref_CheckRefExact(self.as_ptr()) == 0 {
                return self.call0().map(|object| object.some().cloned());
            }
            #[cfg(Py_3_13)]
            {
                let mut target = std::ptr::null_mut();
                Raised::check(sys::PyWeakref_GetRef(self.as_ptr(), &raw mut target))?;
                Ok((!target.is_null()).then(|| Object::from_owned(target)))
            }
            #[cfg(not(Py_3_13))]
            {
                let target = sys::PyWeakref_GetObject(self.as_ptr());
                Ok(Object::view(&target).some().cloned())
            }
        }
    }

    /// Python's `os.fsdecode(path)`.
    pub(crate) fn from_path(path: &[u8]) -> Outcome<Object> {
        // SAFETY: the bytes are copied; a new reference or null.
        unsafe {
            Object::from_new(sys::PyUnicode_DecodeFSDefaultAndSize(
                path.as_ptr().cast(),
                path.len().cast_signed(),
            ))
        }
    }

    pub(crate) fn from_f64(value: f64) -> Outcome<Object> {
        // SAFETY: a new reference or null.
        unsafe { Object::from_new(sys::PyFloat_FromDouble(value)) }
    }

    pub(crate) fn from_i64(value: i64) -> Outcome<Object> {
        // SAFETY: a new reference or null.
        unsafe { Object::from_new(sys::PyLong_FromLongLong(value)) }
    }

    pub(crate) fn from_bool(value: bool) -> Object {
        // SAFETY: True and False live as long as the interpreter.
        unsafe {
            Object::from_borrowed(if value {
                sys::Py_True()
            } else {
                sys::Py_False()
            })
        }
    }

    /// Python's `bytes(slice)`.
    #[inline]
    pub(crate) fn from_bytes(slice: &[u8]) -> Outcome<Object> {
        // SAFETY: the bytes are copied; a new reference or null.
        unsafe {
            Object::from_new(sys::PyBytes_FromStringAndSize(
                slice.as_ptr().cast(),
                slice.len().cast_signed(),
            ))
        }
    }

    pub(crate) fn tuple(items: &[&Object]) -> Outcome<Object> {
        // SAFETY: a fresh tuple is filled slot by slot with owned references.
        unsafe {
            let tuple = Object::from_new(sys::PyTuple_New(items.len().cast_signed()))?;
            for (index, item) in items.iter().enumerate() {
                let owned = (*item).clone().into_ptr();
                sys::PyTuple_SetItem(tuple.as_ptr(), index.cast_signed(), owned);
            }
            Ok(tuple)
        }
    }

    /// A tuple of owned references out of a slice of them.
    pub(crate) fn tuple_of(items: &[Object]) -> Outcome<Object> {
        let references: Vec<&Object> = items.iter().collect();
        Object::tuple(&references)
    }

    pub(crate) fn list(items: Vec<Object>) -> Outcome<Object> {
        // SAFETY: a fresh list is filled slot by slot with owned references.
        unsafe {
            let list = Object::from_new(sys::PyList_New(items.len().cast_signed()))?;
            for (index, item) in items.into_iter().enumerate() {
                sys::PyList_SetItem(list.as_ptr(), index.cast_signed(), item.into_ptr());
            }
            Ok(list)
        }
    }

    pub(crate) fn dict() -> Outcome<Object> {
        // SAFETY: a new reference or null.
        unsafe { Object::from_new(sys::PyDict_New()) }
    }

    /// A new, empty set.
    pub(crate) fn set() -> Outcome<Object> {
        // SAFETY: null stands for no items; a new reference or null.
        unsafe { Object::from_new(sys::PySet_New(std::ptr::null_mut())) }
    }

    /// Python's `set(self)`.
    pub(crate) fn to_set(&self) -> Outcome<Object> {
        // SAFETY: a live object; a new reference or null.
        unsafe { Object::from_new(sys::PySet_New(self.as_ptr())) }
    }

    /// Python's `tuple(self)`.
    pub(crate) fn to_tuple(&self) -> Outcome<Object> {
        // SAFETY: a live object; a new reference or null.
        unsafe { Object::from_new(sys::PySequence_Tuple(self.as_ptr())) }
    }

    /// A frozenset of the items of `items`.
    pub(crate) fn frozenset(items: &Object) -> Outcome<Object> {
        // SAFETY: a live object; a new reference or null.
        unsafe { Object::from_new(sys::PyFrozenSet_New(items.as_ptr())) }
    }

    /// Python's `self.add(item)` on a set.
    pub(crate) fn set_add(&self, item: &Object) -> Outcome<()> {
        // SAFETY: live objects; CPython raises SystemError when `self` is no set.
        Raised::check(unsafe { sys::PySet_Add(self.as_ptr(), item.as_ptr()) })
    }

    /// Python's `self.discard(item)` on a set.
    pub(crate) fn set_discard(&self, item: &Object) -> Outcome<()> {
        // SAFETY: as above. 1 says that the item was there.
        let status = unsafe { sys::PySet_Discard(self.as_ptr(), item.as_ptr()) };
        Raised::check(status.min(0))
    }

    /// `len(self)`.
    pub(crate) fn length(&self) -> Outcome<usize> {
        // SAFETY: a live object; -1 means that an exception is set.
        match unsafe { sys::PyObject_Size(self.as_ptr()) } {
            -1 => Err(Raised::NOW),
            length => Ok(length.unsigned_abs()),
        }
    }

    /// `list(self)`.
    pub(crate) fn items(&self) -> Outcome<Vec<Object>> {
        // SAFETY: a live object; a new reference or null.
        let items = unsafe { Object::from_new(sys::PySequence_Tuple(self.as_ptr()))? };
        Ok(items.tuple_items().to_vec())
    }

    /// Python's `self[key] = value` on an exact dict.
    pub(crate) fn dict_set(&self, key: &Object, value: &Object) -> Outcome<()> {
        // SAFETY: live objects; `self` is a dict by the caller's construction, and
        // CPython raises SystemError otherwise.
        Raised::check(unsafe { sys::PyDict_SetItem(self.as_ptr(), key.as_ptr(), value.as_ptr()) })
    }

    /// The items of an exact tuple, lent for as long as the tuple is.
    pub(crate) fn tuple_items(&self) -> &[Object] {
        // SAFETY: checked to be a tuple, whose items are contiguous and never null
        // once it is visible to others.
        unsafe {
            if sys::PyTuple_Check(self.as_ptr()) == 0 {
                return &[];
            }
            let length = sys::PyTuple_GET_SIZE(self.as_ptr()).unsigned_abs();
            let first = (&raw const (*self.as_ptr().cast::<sys::PyTupleObject>()).ob_item)
                .cast::<*mut sys::PyObject>();
            Object::view_slice(first, length)
        }
    }
}

impl Clone for Object {
    #[inline]
    fn clone(&self) -> Object {
        // SAFETY: a live object.
        unsafe { Object::from_borrowed(self.as_ptr()) }
    }
}

impl Drop for Object {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and this thread holds the interpreter
        // (the module's first rule).
        unsafe { reference_count::lower(self.as_ptr()) }
    }
}

/// A borrowed reference, for as long as something else keeps the object alive.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Ref<'a>(NonNull<sys::PyObject>, PhantomData<&'a Object>);

impl Ref<'_> {
    /// # Safety
    /// * `pointer` is a valid, non-null object for the reference's lifetime.
    #[inline]
    pub(crate) unsafe fn new(pointer: *mut sys::PyObject) -> Self {
        // SAFETY: non-null by the caller's word.
        Ref(unsafe { NonNull::new_unchecked(pointer) }, PhantomData)
    }
}

impl Deref for Ref<'_> {
    type Target = Object;

    #[inline]
    fn deref(&self) -> &Object {
        // SAFETY: `Object` and `Ref` are both one non-null pointer.
        unsafe { &*std::ptr::from_ref(self).cast::<Object>() }
    }
}

/// Python's None.
#[inline]
pub(crate) fn none() -> Object {
    // SAFETY: None lives as long as the interpreter.
    unsafe { Object::from_borrowed(sys::Py_None()) }
}

/// NotImplemented.
pub(crate) fn not_implemented() -> Object {
    // SAFETY: it lives as long as the interpreter.
    unsafe { Object::from_borrowed(sys::Py_NotImplemented()) }
}

/// A new `str`.
pub(crate) fn text(value: &str) -> Outcome<Object> {
    // SAFETY: valid UTF-8 of that length; a new reference or null.
    unsafe {
        Object::from_new(sys::PyUnicode_FromStringAndSize(
            value.as_ptr().cast(),
            value.len().cast_signed(),
        ))
    }
}

/// An interned `str`, for attribute names that are looked up often.
pub(crate) fn interned(value: &CStr) -> Outcome<Object> {
    // SAFETY: a C string; a new reference or null.
    unsafe { Object::from_new(sys::PyUnicode_InternFromString(value.as_ptr())) }
}

/// The most arguments of a call from Rust; calls with a user's arguments go through
/// [`super::Arguments`].
const MOST_ARGUMENTS: usize = 6;

#[inline]
fn copy_pointers(slots: &mut [*mut sys::PyObject], references: &[&Object]) {
    debug_assert!(references.len() <= slots.len());
    for (slot, reference) in slots.iter_mut().zip(references) {
        *slot = reference.as_ptr();
    }
}

fn tuple_len(tuple: &Object) -> usize {
    // SAFETY: the callers pass tuples that they made at import.
    unsafe { sys::PyTuple_GET_SIZE(tuple.as_ptr()) }.unsigned_abs()
}

/// The address of the class `str`, for those who look at objects from outside.
pub(crate) fn text_type_address() -> usize {
    (&raw const sys::PyUnicode_Type).addr()
}
