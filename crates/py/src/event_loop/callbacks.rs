//! `call_soon`, `call_later`, `call_at`, `call_soon_threadsafe`, `add_reader` and their kin.

use std::ffi::CStr;
use std::os::fd::RawFd;

use ferrio_core::Instant;

use super::sources::{Side, file_descriptor, file_number, invalid_descriptor};
use super::{Entry, EventLoop};
use crate::ffi::{Arguments, Object, Outcome, Own, Raised, This, none, sys, thread_id};
use crate::handle::{Handle, ThreadSafeHandle, TimerHandle, When};
use crate::imports::imports;

/// A variadic call's arguments, taken apart.
struct Call<'a> {
    /// The arguments in front of the callback: a delay, a time, a descriptor.
    leading: Option<&'a Object>,
    callback: &'a Object,
    arguments: &'a [Object],
    context: Option<&'a Object>,
}

impl<'a> Call<'a> {
    /// `method(callback, *args, context=None)`.
    #[inline]
    fn plain(arguments: Arguments<'a>, method: &str) -> Outcome<Call<'a>> {
        match (arguments.positional(), arguments.only_keyword(c"context")) {
            ([callback, rest @ ..], Some(context)) => Ok(Call {
                leading: None,
                callback,
                arguments: rest,
                context,
            }),
            _ => {
                let [callback, context] = arguments.named(method, [c"callback", c"context"], 1)?;
                let callback = callback.ok_or_else(|| missing(method, &["callback"]))?;
                let rest = arguments.positional().get(1..).unwrap_or_default();
                let context = context.and_then(Object::some);
                Ok(Call {
                    leading: None,
                    callback,
                    arguments: rest,
                    context,
                })
            }
        }
    }

    /// `method(leading, callback, *args, context=None)`.
    #[inline]
    fn with_leading(
        arguments: Arguments<'a>,
        method: &str,
        name: &'static CStr,
    ) -> Outcome<Call<'a>> {
        match (arguments.positional(), arguments.only_keyword(c"context")) {
            ([leading, callback, rest @ ..], Some(context)) => Ok(Call {
                leading: Some(leading),
                callback,
                arguments: rest,
                context,
            }),
            _ => {
                let [leading, callback, context] =
                    arguments.named(method, [name, c"callback", c"context"], 2)?;
                let text = name.to_string_lossy();
                let (leading, callback) = match (leading, callback) {
                    (Some(leading), Some(callback)) => (leading, callback),
                    (None, Some(_)) => return Err(missing(method, &[&text])),
                    (Some(_), None) => return Err(missing(method, &["callback"])),
                    (None, None) => return Err(missing(method, &[&text, "callback"])),
                };
                let rest = arguments.positional().get(2..).unwrap_or_default();
                let context = context.and_then(Object::some);
                Ok(Call {
                    leading: Some(leading),
                    callback,
                    arguments: rest,
                    context,
                })
            }
        }
    }
}

/// Python's own words for arguments that were not given.
#[cold]
pub(super) fn missing(method: &str, names: &[&str]) -> Raised {
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    Raised::type_error(&format!(
        "{method}() missing {} required positional argument{}: {}",
        names.len(),
        if names.len() == 1 { "" } else { "s" },
        quoted.join(" and "),
    ))
}

impl This<'_, EventLoop> {
    /// Debug mode's checks of who calls, and with what.
    #[inline]
    fn check_call(self, callback: &Object, method: &str) -> Outcome<()> {
        self.check_closed()?;
        if !self.is_running() {
            // While it runs, every turn looks.
            self.refresh_overrides()?;
        }
        if self.is_debug() {
            self.check_thread()?;
            check_callback(callback, method)?;
        }
        Ok(())
    }

    pub(super) fn call_soon(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let call = Call::plain(arguments, "call_soon")?;
        self.check_call(call.callback, "call_soon")?;
        let handle = Own::<Handle>::make_queued(self, call.callback, call.arguments, call.context)?;
        self.keep_order_with_injected();
        self.push(Entry::Handle(handle.clone()));
        Ok(handle.into_object())
    }

    /// A call that another thread made before, and this one may know of, comes first.
    #[inline]
    fn keep_order_with_injected(self) {
        if self.core.has_injected() && self.is_owner() {
            self.core.collect_injected();
        }
    }

    /// Whether this thread may touch what belongs to the loop's: it runs it, or nobody does. A
    /// program may call call_soon() from a wrong thread and, outside debug mode, get away with it.
    fn is_owner(self) -> bool {
        self.thread.get().is_none_or(|owner| owner == thread_id())
    }

    pub(super) fn call_soon_threadsafe(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let call = Call::plain(arguments, "call_soon_threadsafe")?;
        self.check_closed()?;
        if self.is_debug() {
            check_callback(call.callback, "call_soon_threadsafe")?;
        }
        let make = if cfg!(Py_3_14) {
            Own::<ThreadSafeHandle>::make_queued
        } else {
            Own::<Handle>::make_queued
        };
        let handle = make(self, call.callback, call.arguments, call.context)?;
        let entry = Entry::Handle(handle.clone());
        // From the loop's own thread nothing has to be woken, and the order with call_soon()
        // stays as it was called.
        if self.thread.get() == Some(thread_id()) {
            self.keep_order_with_injected();
            self.push(entry);
            return Ok(handle.into_object());
        }
        match self.core.inject(entry) {
            Ok(()) => Ok(handle.into_object()),
            Err(refused) => {
                drop(refused);
                Err(Raised::runtime_error("Event loop is closed"))
            }
        }
    }

    pub(super) fn call_later(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let call = Call::with_leading(arguments, "call_later", c"delay")?;
        let Some(delay) = call.leading.and_then(Object::some) else {
            return Err(Raised::type_error("delay must not be None"));
        };
        if !self.is_running() {
            self.refresh_overrides()?;
        }
        let sum;
        let when = match exact_seconds(delay) {
            Some(seconds) if !self.overrides.time() => {
                When::Computed(self.core.now().as_secs_f64() + seconds)
            }
            _ => {
                let now = self.object().call_method(&imports().names.time, &[])?;
                sum = now.add(delay)?;
                When::Given(&sum)
            }
        };
        if self.overrides.call_at() {
            return self.call_overridden_at(&when.to_object()?, &call);
        }
        self.schedule_at(when, &call, "call_later")
    }

    pub(super) fn call_at(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let call = Call::with_leading(arguments, "call_at", c"when")?;
        let Some(when) = call.leading.and_then(Object::some) else {
            return Err(Raised::type_error("when cannot be None"));
        };
        self.schedule_at(When::Given(when), &call, "call_at")
    }

    /// `call_later` goes through a subclass's `call_at`, as in asyncio.
    #[cold]
    fn call_overridden_at(self, when: &Object, call: &Call<'_>) -> Outcome<Object> {
        let mut values: Vec<&Object> = vec![when, call.callback];
        values.extend(call.arguments);
        let keywords = Object::dict()?;
        if let Some(context) = call.context {
            keywords.dict_set(&crate::ffi::text("context")?, context)?;
        }
        let method = self.object().get_attr(&imports().names.call_at)?;
        let values = Object::tuple(&values)?;
        // SAFETY: a callable, a tuple and a dict; a new reference or null.
        unsafe {
            Object::from_new(sys::PyObject_Call(
                method.as_ptr(),
                values.as_ptr(),
                keywords.as_ptr(),
            ))
        }
    }

    /// The timer of `call_at(when, callback)`; `None` when that has to be called by name.
    #[inline]
    pub(crate) fn plain_timer(
        self,
        when: &Object,
        callback: &Object,
    ) -> Outcome<Option<Own<TimerHandle>>> {
        if !self.is_plain() || self.overrides.call_at() {
            return Ok(None);
        }
        let when = When::Given(when);
        let timer = Own::<TimerHandle>::make(self, when, callback, &[], None)?;
        self.start_timer(&timer, deadline(when)?);
        Ok(Some(timer))
    }

    /// `time()` in seconds; `None` when that has to be called by name.
    #[inline]
    pub(crate) fn plain_time(self) -> Option<f64> {
        (self.is_plain() && !self.overrides.time()).then(|| self.core.now().as_secs_f64())
    }

    #[inline]
    fn start_timer(self, timer: &Own<TimerHandle>, deadline: Instant) {
        let entry = Entry::Handle(timer.clone().into_handle());
        timer.scheduled_as(self.core.add_timer(deadline, entry));
        if self.is_in_turns() {
            self.untracked_timers.set(true);
        }
    }

    #[inline]
    fn schedule_at(self, when: When<'_>, call: &Call<'_>, method: &str) -> Outcome<Object> {
        self.check_call(call.callback, method)?;
        let deadline = deadline(when)?;
        let timer =
            Own::<TimerHandle>::make(self, when, call.callback, call.arguments, call.context)?;
        self.start_timer(&timer, deadline);
        Ok(timer.into_object())
    }

    /// `time()`: the loop's clock in seconds.
    #[inline]
    pub(super) fn time(self) -> Outcome<Object> {
        Object::from_f64(self.core.now().as_secs_f64())
    }

    /// `add_reader` and `add_writer`.
    pub(super) fn add_watch(self, arguments: Arguments<'_>, side: Side) -> Outcome<Object> {
        let method = match side {
            Side::Reader => "add_reader",
            Side::Writer => "add_writer",
        };
        let call = Call::with_leading(arguments, method, c"fd")?;
        let file = call.leading.unwrap_or(call.callback);
        let fd = self.descriptor(file)?;
        self.check_closed()?;
        let handle = Own::<Handle>::make(self, call.callback, call.arguments, call.context)?;
        self.watch_handle(fd, side, handle.clone())?;
        if !file.is_int() {
            let before = self.watched_files.borrow_mut().add(fd, side, file);
            drop(before);
        }
        Ok(handle.into_object())
    }

    /// `remove_reader` and `remove_writer`.
    pub(super) fn remove_watch(self, file: &Object, side: Side) -> Outcome<Object> {
        self.check_owner()?;
        let number = file_number(file)?;
        if let Ok(fd) = RawFd::try_from(number)
            && fd >= 0
        {
            return self.end_watch(self.without_transport(file, fd)?, side);
        }
        // A file that has been closed is known by its object.
        let watched = self.watched_files.borrow().find(file);
        match watched {
            Some(fd) => self.end_watch(fd, side),
            None if self.is_closed() => Ok(Object::from_bool(false)),
            None => Err(invalid_descriptor(number)),
        }
    }

    /// [`Self::remove_watch`] for descriptors that a transport may own: those stay watched.
    pub(super) fn remove_own_watch(self, file: &Object, side: Side) -> Outcome<Object> {
        self.end_watch(file_descriptor(file)?, side)
    }

    fn end_watch(self, fd: RawFd, side: Side) -> Outcome<Object> {
        let object = self.watched_files.borrow_mut().remove(fd, side);
        drop(object);
        let removed = !self.is_closed() && self.unwatch_handle(fd, side)?;
        Ok(Object::from_bool(removed))
    }

    /// Puts a handle that was made elsewhere into the ready queue, unless it is cancelled.
    pub(super) fn add_handle(self, handle: &Object) -> Outcome<Object> {
        let Some(handle) = This::<Handle>::from_object(handle) else {
            return Err(Raised::type_error("a handle of this loop was expected"));
        };
        self.check_closed()?;
        if !handle.is_cancelled() {
            self.push(Entry::Handle(handle.own()));
        }
        Ok(none())
    }
}

/// The value of a float, or of an int so small that it is a float's exactly.
#[inline]
fn exact_seconds(delay: &Object) -> Option<f64> {
    const EXACT: i64 = 1 << 53;
    // SAFETY: questions about a live object, by its exact type, and none that can fail.
    unsafe {
        if sys::PyFloat_CheckExact(delay.as_ptr()) != 0 {
            return Some(sys::PyFloat_AsDouble(delay.as_ptr()));
        }
        if sys::PyLong_CheckExact(delay.as_ptr()) == 0 {
            return None;
        }
    }
    let seconds = delay.as_integer().filter(|seconds| seconds.abs() < EXACT)?;
    #[allow(clippy::cast_precision_loss, reason = "it is small enough to be exact")]
    Some(seconds as f64)
}

/// The point in time that `when` names.
///
/// NaN compares as neither early nor late, so asyncio fires such a timer at once; so do we.
#[inline]
fn deadline(when: When<'_>) -> Outcome<Instant> {
    let seconds = when.to_f64()?;
    if seconds.is_nan() {
        return Ok(Instant::from_nanos(i64::MIN));
    }
    Ok(Instant::from_secs_f64(seconds))
}

/// Debug mode: what cannot be called, or is called without being awaited, is refused.
pub(super) fn check_callback(callback: &Object, method: &str) -> Outcome<()> {
    let imports = imports();
    let coroutine = imports.is_coroutine.call1(callback)?.is_true()?
        || imports.is_coroutine_function.call1(callback)?.is_true()?;
    if coroutine {
        return Err(Raised::type_error(&format!(
            "coroutines cannot be used with {method}()"
        )));
    }
    if !callback.is_callable() {
        return Err(Raised::type_error(&format!(
            "a callable object was expected by {method}(), got {}",
            callback.repr_text()?,
        )));
    }
    Ok(())
}
