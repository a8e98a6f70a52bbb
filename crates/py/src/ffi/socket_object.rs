//! The file descriptor of a `socket.socket`, without a call.
//!
//! A transport asks for it before every system call, because a socket may be
//! closed behind its back and the number may then be another file's. The
//! method `fileno()` costs as much as one percent of a small echo, so the
//! number is read out of the object where its place is certain.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{Object, ObjectCell, Outcome, Visitor, interned, sys};

/// `_socket.socket`, when its objects are laid out as expected; null otherwise.
static SOCKET_TYPE: AtomicPtr<sys::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// A socket object begins with its header and an `int`, the descriptor.
#[repr(C)]
struct SocketObject {
    header: sys::PyObject,
    fd: c_int,
    family: c_int,
}

/// Looks at the layout of `_socket.socket`; called once, at import.
///
/// The type's table of members says where the address family is. CPython's structure has the
/// descriptor right before it, and between the header and the family there is room for one int
/// and nothing else. [`SocketCell::set`] compares each object's with its `fileno()`.
pub(crate) fn learn_socket_layout() -> Outcome<()> {
    let class = crate::imports::module(c"_socket")?.get_attr(&interned(c"socket")?)?;
    let class = class.as_ptr().cast::<sys::PyTypeObject>();
    let expected = std::mem::offset_of!(SocketObject, family);
    if member_offset(class, c"family") == isize::try_from(expected).ok() {
        SOCKET_TYPE.store(class, Ordering::Relaxed);
    }
    Ok(())
}

/// The offset of a type's member of C type `int`.
fn member_offset(class: *mut sys::PyTypeObject, name: &CStr) -> Option<isize> {
    /// `Py_T_INT`, by this name only since 3.12.
    const C_INT: c_int = 1;
    // SAFETY: a live type, whose table of members is null or ends with a null name.
    unsafe {
        let mut member = (*class).tp_members;
        while !member.is_null() && !(*member).name.is_null() {
            if CStr::from_ptr((*member).name) == name && (*member).type_code == C_INT {
                return Some((*member).offset);
            }
            member = member.add(1);
        }
    }
    None
}

/// A place for a socket object.
pub(crate) struct SocketCell {
    object: ObjectCell,
    /// Whether the object has the layout of [`SocketObject`].
    plain: Cell<bool>,
}

impl SocketCell {
    pub(crate) const fn new() -> SocketCell {
        SocketCell {
            object: ObjectCell::new(),
            plain: Cell::new(false),
        }
    }

    /// Takes a socket in; returns its `fileno()`.
    ///
    /// # Errors
    /// What `fileno()` raises.
    pub(crate) fn set(&self, socket: &Object) -> Outcome<RawFd> {
        let fd = call_fileno(socket)?;
        let class = SOCKET_TYPE.load(Ordering::Relaxed);
        // SAFETY: a live object and a live type; a subclass's instance begins with its base's.
        let plain = !class.is_null()
            && unsafe {
                sys::PyType_IsSubtype(socket.type_ptr(), class) != 0 && read_fd(socket) == fd
            };
        self.object.set(socket.clone());
        self.plain.set(plain);
        Ok(fd)
    }

    /// The socket's `fileno()` now: -1 once it is closed.
    #[inline]
    pub(crate) fn fileno(&self) -> RawFd {
        let Some(socket) = self.object.get() else {
            return -1;
        };
        if self.plain.get() {
            // SAFETY: `set` has looked; an object's class may be assigned to, but only with one
            // of the same layout.
            return unsafe { read_fd(&socket) };
        }
        call_fileno(&socket).unwrap_or_else(|raised| {
            raised.discard(); // An object that cannot say which file it is has none.
            -1
        })
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.object.is_some()
    }

    pub(crate) fn get(&self) -> Option<Object> {
        self.object.get()
    }

    pub(crate) fn take(&self) -> Option<Object> {
        self.object.take()
    }

    /// For `tp_traverse`.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.object.visit(visitor)
    }
}

fn call_fileno(socket: &Object) -> Outcome<RawFd> {
    let number = socket
        .call_method(&crate::imports::imports().names.fileno, &[])?
        .to_i64()?;
    Ok(RawFd::try_from(number).unwrap_or(-1))
}

/// # Safety
/// * `socket` is an instance of [`SOCKET_TYPE`].
#[inline]
unsafe fn read_fd(socket: &Object) -> RawFd {
    // SAFETY: `learn_socket_layout` has compared the type's layout.
    unsafe { (*socket.as_ptr().cast::<SocketObject>()).fd }
}
