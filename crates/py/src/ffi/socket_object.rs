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
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::{LookedUp, Native, Object, ObjectCell, Outcome, Raised, This, Visitor, interned, sys};

/// `_socket.socket`, when its objects are laid out as expected; null otherwise.
static SOCKET_TYPE: AtomicPtr<sys::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// A socket object begins with its header and this.
#[repr(C)]
pub(crate) struct SocketHead {
    /// The descriptor; -1 once it is closed.
    pub(crate) fd: Cell<c_int>,
    pub(crate) family: c_int,
}

#[repr(C)]
struct SocketObject {
    header: sys::PyObject,
    head: SocketHead,
}

/// Says that instances of a native type begin as socket objects do, with a descriptor.
///
/// # Safety
/// * `Self` is `repr(C)` and its first field is a [`SocketHead`].
pub(crate) unsafe trait BeginsAsSocket: Native {}

/// Looks at the layout of `_socket.socket`; called once, at import.
///
/// The type's table of members says where the address family is. CPython's structure has the
/// descriptor right before it, and between the header and the family there is room for one int
/// and nothing else. [`SocketCell::set`] compares each object's with its `fileno()`.
pub(crate) fn learn_socket_layout() -> Outcome<()> {
    let class = crate::imports::module(c"_socket")?.get_attr(&interned(c"socket")?)?;
    let class = class.as_ptr().cast::<sys::PyTypeObject>();
    let expected = std::mem::offset_of!(SocketObject, head.family);
    if member_offset(class, c"family") == isize::try_from(expected).ok() {
        SOCKET_TYPE.store(class, Ordering::Relaxed);
        STANDARD.fill(StandardSocket::learn()?);
    }
    Ok(())
}

/// `socket.socket` as it was at import; empty where the layout is not the expected one.
static STANDARD: LookedUp<StandardSocket> = LookedUp::new();

/// The class that Python programs make sockets of, and the methods that system calls of ours
/// stand for.
struct StandardSocket {
    class: Object,
    /// Names, and what the class had under them.
    methods: Vec<(Object, Object)>,
    /// The class's version tag when its methods were last found to be those; 0 is never valid.
    version: AtomicU32,
}

impl StandardSocket {
    fn learn() -> Outcome<StandardSocket> {
        let class = crate::imports::module(c"socket")?.get_attr(&interned(c"socket")?)?;
        // SAFETY: a question about a live object.
        if unsafe { sys::PyType_Check(class.as_ptr()) } == 0 {
            return Err(Raised::type_error("socket.socket is no class"));
        }
        let names = [
            c"recv",
            c"recv_into",
            c"recvfrom",
            c"recvfrom_into",
            c"send",
            c"sendto",
            c"accept",
            c"connect",
            c"fileno",
        ];
        let methods = names.into_iter().map(|name| {
            let name = interned(name)?;
            let method = class.get_attr(&name)?;
            Ok((name, method))
        });
        Ok(StandardSocket {
            methods: methods.collect::<Outcome<Vec<_>>>()?,
            version: AtomicU32::new(0),
            class,
        })
    }

    #[inline]
    fn class_version(&self) -> u32 {
        // SAFETY: `learn` has seen that it is a type; types that are referred to are alive.
        unsafe { (*self.class.as_ptr().cast::<sys::PyTypeObject>()).tp_version_tag }
    }

    /// Whether nobody has replaced a method of the class.
    #[inline]
    fn is_unchanged(&self) -> bool {
        let version = self.class_version();
        (version != 0 && version == self.version.load(Ordering::Relaxed)) || self.look_again()
    }

    #[cold]
    fn look_again(&self) -> bool {
        let unchanged = self.methods.iter().all(|(name, method)| {
            self.class.get_attr(name).map_or_else(
                |raised| {
                    raised.discard(); // A method that is gone is not the one that was there.
                    false
                },
                |found| found.is(method),
            )
        });
        let version = if unchanged { self.class_version() } else { 0 };
        self.version.store(version, Ordering::Relaxed);
        unchanged
    }
}

/// The descriptor of a socket whose methods may be passed over: an open object of exactly
/// `socket.socket`, none of whose methods was replaced.
#[inline]
pub(crate) fn standard_socket_fd(socket: &Object) -> Option<RawFd> {
    standard_socket(socket).map(|head| head.fd.get())
}

/// The head of such a socket: its descriptor and its address family.
#[inline]
pub(crate) fn standard_socket(socket: &Object) -> Option<&SocketHead> {
    let standard = STANDARD.find()?;
    if socket.type_ptr().cast() != standard.class.as_ptr() || !standard.is_unchanged() {
        return None;
    }
    // SAFETY: an instance of a subclass of `SOCKET_TYPE`: the class has no other layout.
    let head = unsafe { &(*socket.as_ptr().cast::<SocketObject>()).head };
    (head.fd.get() >= 0).then_some(head)
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
    /// Whether the object begins as a [`SocketObject`].
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

    /// Takes in a native object that owns a descriptor as a socket does; returns the descriptor.
    pub(crate) fn set_native<T: BeginsAsSocket>(&self, socket: This<'_, T>) -> RawFd {
        self.object.set(socket.own().into_object());
        self.plain.set(true);
        self.fileno()
    }

    /// Takes in a socket that [`standard_socket_fd`] has answered for.
    #[inline]
    pub(crate) fn with_standard(socket: &Object) -> SocketCell {
        SocketCell {
            object: ObjectCell::with(socket.clone()),
            plain: Cell::new(
                STANDARD
                    .find()
                    .is_some_and(|standard| socket.type_ptr().cast() == standard.class.as_ptr()),
            ),
        }
    }

    /// The socket's `fileno()` now: -1 once it is closed.
    #[inline]
    pub(crate) fn fileno(&self) -> RawFd {
        let Some(socket) = self.object.get() else {
            return -1;
        };
        if self.plain.get() {
            // SAFETY: `set` has looked, or the type says so; an object's class may be assigned to,
            // but only with one of the same layout.
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

    pub(crate) fn clear(&self) {
        self.object.clear();
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
/// * `socket` is an instance of [`SOCKET_TYPE`], or of a type that [`BeginsAsSocket`].
#[inline]
unsafe fn read_fd(socket: &Object) -> RawFd {
    // SAFETY: `learn_socket_layout` has compared the type's layout.
    unsafe { (*socket.as_ptr().cast::<SocketObject>()).head.fd.get() }
}
