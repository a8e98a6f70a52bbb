//! The objects of Python's `_ssl` module, which is OpenSSL, called with memory of ours.
//!
//! What `_ssl` reads from and writes into may be any object that lends bytes. [`Window`] is one
//! that lends memory which no Python object owns. That is sound because only the two functions
//! below are ever shown one: both are C, of types that cannot be changed, and have given the
//! memory back when they return.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::cell::Reference;
use super::{
    Native, Object, Outcome, Own, Raised, This, TypeBuilder, TypeObject, Visitor, interned, sys,
};
use crate::imports::imports;

/// `_ssl.MemoryBIO` and `_ssl._SSLSocket`; null until [`learn_tls_types`].
static MEMORY_BIO: AtomicPtr<sys::PyTypeObject> = AtomicPtr::new(ptr::null_mut());
static SSL_SOCKET: AtomicPtr<sys::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// Looks up the types of `_ssl`, of which a Python without OpenSSL has none.
///
/// # Errors
/// ImportError without OpenSSL.
pub(crate) fn learn_tls_types() -> Outcome<()> {
    if !SSL_SOCKET.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    let module = crate::imports::module(c"_ssl")?;
    // The types live as long as the process: one reference to each is never given back.
    for (place, name) in [(&MEMORY_BIO, c"MemoryBIO"), (&SSL_SOCKET, c"_SSLSocket")] {
        let class = module.get_attr(&interned(name)?)?;
        place.store(class.into_ptr().cast(), Ordering::Relaxed);
    }
    Ok(())
}

/// An `ssl.MemoryBIO`: bytes on their way to or from OpenSSL.
#[derive(Clone)]
pub(crate) struct MemoryBio(Object);

impl MemoryBio {
    /// # Errors
    /// TypeError for anything but an `ssl.MemoryBIO`.
    pub(crate) fn of(object: &Object) -> Outcome<MemoryBio> {
        if object.type_ptr() == MEMORY_BIO.load(Ordering::Relaxed) {
            return Ok(MemoryBio(object.clone()));
        }
        Err(Raised::type_error("an ssl.MemoryBIO was expected"))
    }

    pub(crate) fn into_object(self) -> Object {
        self.0
    }

    /// Adds a copy of the bytes.
    #[inline]
    pub(crate) fn write(&self, bytes: &[u8]) -> Outcome<()> {
        let name = &imports().names.write;
        // SAFETY: the type was compared; its `write` copies out of the memory, which it is told
        // not to change, and gives it back before it returns.
        unsafe {
            show(
                bytes.as_ptr().cast_mut(),
                bytes.len(),
                Access::Read,
                |view| self.0.call_method(name, &[view]).map(drop),
            )
        }
    }

    /// Takes out everything, as `bytes`.
    #[inline]
    pub(crate) fn read(&self) -> Outcome<Object> {
        self.0.call_method(&imports().names.read, &[])
    }

    /// How many bytes are in it.
    #[inline]
    pub(crate) fn pending(&self) -> Outcome<usize> {
        let pending = self.0.get_attr(&imports().names.pending)?.to_i64()?;
        Ok(usize::try_from(pending).unwrap_or(0))
    }
}

impl Reference for MemoryBio {
    #[inline]
    fn address(&self) -> *mut sys::PyObject {
        self.0.as_ptr()
    }
}

/// An `_ssl._SSLSocket`: OpenSSL's side of one connection, which an `ssl.SSLObject` wraps.
#[derive(Clone)]
pub(crate) struct SslSocket(Object);

impl SslSocket {
    /// `None` for anything that is not exactly an `_ssl._SSLSocket`.
    pub(crate) fn of(object: &Object) -> Option<SslSocket> {
        (object.type_ptr() == SSL_SOCKET.load(Ordering::Relaxed)).then(|| SslSocket(object.clone()))
    }

    /// Goes on with the handshake.
    pub(crate) fn do_handshake(&self) -> Outcome<()> {
        self.0
            .call_method(&imports().names.do_handshake, &[])
            .map(drop)
    }

    /// Goes on with the closing handshake.
    pub(crate) fn shutdown(&self) -> Outcome<()> {
        self.0.call_method(&imports().names.shutdown, &[]).map(drop)
    }

    /// Encrypts an object's bytes; returns how many of them were taken.
    #[inline]
    pub(crate) fn write(&self, data: &Object) -> Outcome<usize> {
        size(&self.0.call_method(&imports().names.write, &[data])?)
    }

    /// Decrypts one record, or what is left of one, into `memory`; returns how many bytes it
    /// had, 0 when the peer has said that no more will come.
    #[inline]
    pub(crate) fn read_into(&self, memory: &mut [u8]) -> Outcome<usize> {
        // SAFETY: memory that may be written to as long as it is borrowed.
        unsafe { self.read_to(memory.as_mut_ptr(), memory.len()) }
    }

    /// [`Self::read_into`] for memory that nobody has written to yet.
    #[inline]
    pub(crate) fn read_onto(&self, bytes: &mut FreshBytes) -> Outcome<usize> {
        // SAFETY: the rest of a `bytes` object that nobody but its builder knows.
        unsafe {
            let count = self.read_to(bytes.start().add(bytes.filled), bytes.room())?;
            bytes.filled += count.min(bytes.room());
            Ok(count)
        }
    }

    /// # Safety
    /// * `length` bytes at `start` may be written to until this returns.
    #[inline]
    unsafe fn read_to(&self, start: *mut u8, length: usize) -> Outcome<usize> {
        let limit = Object::from_i64(i64::try_from(length).unwrap_or(i64::MAX))?;
        // SAFETY: the memory by the caller's word. The type was compared; its `read` writes no
        // further than the memory goes and gives it back before it returns.
        let count = unsafe {
            show(start, length, Access::Write, |view| {
                self.0.call_method(&imports().names.read, &[&limit, view])
            })
        }?;
        size(&count)
    }
}

impl Reference for SslSocket {
    #[inline]
    fn address(&self) -> *mut sys::PyObject {
        self.0.as_ptr()
    }
}

fn size(number: &Object) -> Outcome<usize> {
    Ok(usize::try_from(number.to_i64()?).unwrap_or(0))
}

/// A `bytes` object that is being filled and that nobody has seen yet.
pub(crate) struct FreshBytes {
    object: Object,
    capacity: usize,
    filled: usize,
}

impl FreshBytes {
    pub(crate) fn with_capacity(capacity: usize) -> Outcome<FreshBytes> {
        // SAFETY: a new object whose contents are undefined, or null. The empty and, on some
        // versions, single-byte objects are shared, so one byte more is asked for.
        let object = unsafe {
            Object::from_new(sys::PyBytes_FromStringAndSize(
                ptr::null(),
                (capacity + 2).cast_signed(),
            ))?
        };
        Ok(FreshBytes {
            object,
            capacity,
            filled: 0,
        })
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        // SAFETY: a live `bytes` object.
        unsafe {
            sys::PyBytes_AS_STRING(self.object.as_ptr())
                .cast_mut()
                .cast()
        }
    }

    /// How many bytes can still be added.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.filled
    }

    /// How many bytes were added.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// The object, as long as what was added to it.
    pub(crate) fn finish(self) -> Outcome<Object> {
        unsafe extern "C" {
            fn _PyBytes_Resize(object: *mut *mut sys::PyObject, size: sys::Py_ssize_t) -> c_int;
        }
        let mut pointer = self.object.into_ptr();
        // SAFETY: the only reference to a `bytes` object; the function replaces the pointer, by
        // null when it fails and has freed the object.
        unsafe {
            let _null_says_it = _PyBytes_Resize(&raw mut pointer, self.filled.cast_signed());
            Object::from_new(pointer)
        }
    }
}

/// An object that lends memory for the length of one call.
pub(crate) struct Window {
    /// Null outside of a call.
    start: Cell<*mut u8>,
    length: Cell<usize>,
    access: Cell<Access>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Window` in `build_window`.
unsafe impl Native for Window {
    const NAME: &'static CStr = c"ferrio._ferrio.Window";

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Window> {
        Ok(Window::closed())
    }

    fn visit(&self, _visitor: Visitor<'_>) -> Result<(), c_int> {
        Ok(())
    }

    fn clear(&self) {}
}

impl Window {
    fn closed() -> Window {
        Window {
            start: Cell::new(ptr::null_mut()),
            length: Cell::new(0),
            access: Cell::new(Access::Read),
        }
    }
}

/// Builds the type of [`Window`]; nobody can make one from Python.
pub(crate) fn build_window(module: &Object) -> Outcome<()> {
    TypeBuilder::<Window>::new(c"Memory that is lent for the length of one call.")
        .only_from_rust()
        .raw_slot(sys::Py_bf_getbuffer, get_buffer as *mut c_void)
        .build(module, None)
}

unsafe extern "C" fn get_buffer(
    exporter: *mut sys::PyObject,
    view: *mut sys::Py_buffer,
    flags: c_int,
) -> c_int {
    // SAFETY: CPython calls this for instances of the type, with a description to fill. The
    // memory is there: the window is open.
    unsafe {
        let window = This::<Window>::from_raw(exporter);
        let start = window.start.get();
        if start.is_null() {
            (*view).obj = ptr::null_mut();
            sys::PyErr_SetString(sys::PyExc_BufferError, c"the memory is not lent".as_ptr());
            return -1;
        }
        let read_only = c_int::from(window.access.get() == Access::Read);
        let length = window.length.get().cast_signed();
        sys::PyBuffer_FillInfo(view, exporter, start.cast(), length, read_only, flags)
    }
}

/// A window that is not in use, for the next call.
struct Spare(Cell<Option<Own<Window>>>);

// SAFETY: only touched by threads that hold the interpreter, like all of this module.
unsafe impl Sync for Spare {}

static SPARE: Spare = Spare(Cell::new(None));

/// Calls `body` with an object that lends the memory.
///
/// # Safety
/// * `length` bytes at `start` are there until this returns, and may be written to for
///   [`Access::Write`].
/// * Whoever `body` shows the object to has given the memory back when `body` returns.
#[inline]
unsafe fn show<R>(
    start: *mut u8,
    length: usize,
    access: Access,
    body: impl FnOnce(&Object) -> Outcome<R>,
) -> Outcome<R> {
    let window = match SPARE.0.take() {
        Some(window) => window,
        None => {
            let window = Own::new(Window::closed())?;
            // Nobody finds it through the collector and takes a view that outlives the call.
            // SAFETY: a live object that the collector tracks since it was made.
            unsafe { sys::PyObject_GC_UnTrack(window.this().object().as_ptr().cast()) };
            window
        }
    };
    window.start.set(start);
    window.length.set(length);
    window.access.set(access);
    let result = body(&window.this().object());
    window.start.set(ptr::null_mut());
    // While the interpreter was released another thread may have left its own here.
    drop(SPARE.0.replace(Some(window)));
    result
}
