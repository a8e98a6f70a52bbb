//! Bytes that Python objects lend (PEP 3118).

use super::{Object, Outcome, Raised, sys};

/// An object's bytes, lent until this is dropped. The object refuses to resize meanwhile.
///
/// The description is boxed because an exporter may keep its address until it is released.
pub(crate) struct Buffer(Box<sys::Py_buffer>);

impl Buffer {
    /// The bytes of any contiguous bytes-like object, to read.
    ///
    /// # Errors
    /// TypeError when it has none, BufferError when they are not contiguous.
    pub(crate) fn to_read(object: &Object) -> Outcome<Buffer> {
        Buffer::new(object, sys::PyBUF_SIMPLE)
    }

    /// The bytes of a contiguous, mutable bytes-like object, to write into.
    ///
    /// # Errors
    /// TypeError or BufferError when it has none or they cannot be changed.
    pub(crate) fn to_write(object: &Object) -> Outcome<BufferMut> {
        Buffer::new(object, sys::PyBUF_WRITABLE).map(BufferMut)
    }

    fn new(object: &Object, flags: std::ffi::c_int) -> Outcome<Buffer> {
        let mut view = Box::new(sys::Py_buffer::new());
        // SAFETY: a live object and a description to fill. It is only released (on drop) when
        // it was filled.
        match Raised::check(unsafe {
            sys::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags)
        }) {
            Ok(()) => Ok(Buffer(view)),
            Err(raised) => Err(raised),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        if self.0.len <= 0 {
            return &[];
        }
        // SAFETY: the exporter promises `len` contiguous bytes at `buf` until the release. No
        // other thread writes to them while this one holds the interpreter.
        unsafe { std::slice::from_raw_parts(self.0.buf.cast(), self.0.len.unsigned_abs()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: filled by PyObject_GetBuffer, released once.
        unsafe { sys::PyBuffer_Release(&raw mut *self.0) }
    }
}

/// A [`Buffer`] that may be written into.
pub(crate) struct BufferMut(Buffer);

impl BufferMut {
    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        let view = &self.0.0;
        if view.len <= 0 {
            return &mut [];
        }
        // SAFETY: as in `as_slice`; the exporter was asked for memory that may be changed, and
        // nothing in Rust has another reference to it.
        unsafe { std::slice::from_raw_parts_mut(view.buf.cast(), view.len.unsigned_abs()) }
    }
}

impl Object {
    /// The contents of a `bytes` object or of one of a subclass; `None` for anything else.
    #[inline]
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        // SAFETY: checked to be bytes, which never change as long as they live.
        unsafe {
            if sys::PyBytes_Check(self.as_ptr()) == 0 {
                return None;
            }
            let length = sys::Py_SIZE(self.as_ptr()).unsigned_abs();
            let start = sys::PyBytes_AS_STRING(self.as_ptr());
            Some(std::slice::from_raw_parts(start.cast(), length))
        }
    }

    /// Whether this is what asyncio's transports let through: bytes, a bytearray, a memoryview.
    #[inline]
    pub(crate) fn is_writable_data(&self) -> bool {
        // SAFETY: questions about a live object's type.
        unsafe {
            sys::PyBytes_Check(self.as_ptr()) != 0
                || sys::PyByteArray_Check(self.as_ptr()) != 0
                || sys::PyMemoryView_Check(self.as_ptr()) != 0
        }
    }

    /// Python's `bytearray(size)`, with undefined contents.
    pub(crate) fn bytearray(size: usize) -> Outcome<Object> {
        // SAFETY: a new reference or null.
        unsafe {
            Object::from_new(sys::PyByteArray_FromStringAndSize(
                std::ptr::null(),
                size.cast_signed(),
            ))
        }
    }

    /// Python's `memoryview(self)`.
    pub(crate) fn memory_view(&self) -> Outcome<Object> {
        // SAFETY: a live object; a new reference or null.
        unsafe { Object::from_new(sys::PyMemoryView_FromObject(self.as_ptr())) }
    }

    /// Python's `self[start:]`.
    pub(crate) fn slice_from(&self, start: usize) -> Outcome<Object> {
        // SAFETY: a live object; a new reference or null.
        unsafe {
            Object::from_new(sys::PySequence_GetSlice(
                self.as_ptr(),
                start.cast_signed(),
                isize::MAX,
            ))
        }
    }

    /// Python's `len(self)`.
    pub(crate) fn len(&self) -> Outcome<usize> {
        // SAFETY: a live object.
        match unsafe { sys::PyObject_Size(self.as_ptr()) } {
            -1 => Err(Raised::NOW),
            length => Ok(length.unsigned_abs()),
        }
    }

    /// References of one's own to everything that `iter(self)` gives.
    pub(crate) fn collect(&self) -> Outcome<Vec<Object>> {
        // SAFETY: a live object; a new iterator or null.
        let iterator = unsafe { Object::from_new(sys::PyObject_GetIter(self.as_ptr()))? };
        let mut items = Vec::new();
        loop {
            // SAFETY: an iterator; a new reference, or null at its end or with an exception.
            unsafe {
                let item = sys::PyIter_Next(iterator.as_ptr());
                if !item.is_null() {
                    items.push(Object::from_owned(item));
                } else if sys::PyErr_Occurred().is_null() {
                    return Ok(items);
                } else {
                    return Err(Raised::NOW);
                }
            }
        }
    }

    /// The contents of a `bytes` object of no subclass; `None` for anything else.
    #[inline]
    pub(crate) fn as_exact_bytes(&self) -> Option<&[u8]> {
        // SAFETY: a question about a live object's type.
        if unsafe { sys::PyBytes_CheckExact(self.as_ptr()) } == 0 {
            return None;
        }
        self.as_bytes()
    }

    /// Python's `first + second` for bytes.
    pub(crate) fn from_two(first: &[u8], second: &[u8]) -> Outcome<Object> {
        let length = first.len() + second.len();
        // SAFETY: a new object of that many bytes, undefined as yet, that nobody else knows; the
        // two parts fill it. (The shared objects are those of no and of one byte, which is the
        // same byte whoever writes it.)
        unsafe {
            let bytes = Object::from_new(sys::PyBytes_FromStringAndSize(
                std::ptr::null(),
                length.cast_signed(),
            ))?;
            let start = sys::PyBytes_AS_STRING(bytes.as_ptr())
                .cast_mut()
                .cast::<u8>();
            std::ptr::copy_nonoverlapping(first.as_ptr(), start, first.len());
            std::ptr::copy_nonoverlapping(second.as_ptr(), start.add(first.len()), second.len());
            Ok(bytes)
        }
    }

    /// Whether this is a bytearray of no subclass.
    #[inline]
    pub(crate) fn is_exact_bytearray(&self) -> bool {
        // SAFETY: a question about a live object's type.
        unsafe { sys::PyByteArray_CheckExact(self.as_ptr()) != 0 }
    }

    /// Python's `bytearray(first + second)`.
    pub(crate) fn bytearray_of(first: &[u8], second: &[u8]) -> Outcome<Object> {
        let array = Object::bytearray(first.len() + second.len())?;
        // SAFETY: a new bytearray of that many bytes, which nobody else knows.
        unsafe {
            let start = sys::PyByteArray_AsString(array.as_ptr()).cast::<u8>();
            std::ptr::copy_nonoverlapping(first.as_ptr(), start, first.len());
            std::ptr::copy_nonoverlapping(second.as_ptr(), start.add(first.len()), second.len());
        }
        Ok(array)
    }

    /// The contents of an exact bytearray, for as long as `look` runs, which runs no Python code.
    #[inline]
    pub(crate) fn look_at_bytearray<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        if !self.is_exact_bytearray() {
            return look(&[]);
        }
        // SAFETY: a bytearray has so many bytes there (one more, in fact, a zero); no Python code
        // that could change its size runs meanwhile.
        unsafe {
            let length = sys::PyByteArray_Size(self.as_ptr()).unsigned_abs();
            let start = sys::PyByteArray_AsString(self.as_ptr()).cast::<u8>();
            look(std::slice::from_raw_parts(start, length))
        }
    }

    /// Python's `self += bytes` on an exact bytearray.
    pub(crate) fn extend_bytearray(&self, bytes: &[u8]) -> Outcome<()> {
        let before = self.look_at_bytearray(<[u8]>::len);
        let length = (before + bytes.len()).cast_signed();
        // SAFETY: a live object, which CPython checks to be a bytearray that lends its bytes to
        // nobody; then it has room for the bytes behind those that it had.
        unsafe {
            Raised::check(sys::PyByteArray_Resize(self.as_ptr(), length))?;
            let start = sys::PyByteArray_AsString(self.as_ptr()).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.add(before), bytes.len());
        }
        Ok(())
    }

    /// Python's `del self[:count]`, of everything when there is less.
    pub(crate) fn delete_front(&self, count: usize) -> Outcome<()> {
        let count = isize::try_from(count).unwrap_or(isize::MAX);
        // SAFETY: a live object.
        Raised::check(unsafe { sys::PySequence_DelSlice(self.as_ptr(), 0, count) })
    }
}
