//! The parameters of native methods and classes, in the form in which `inspect.signature` reads
//! them: the first line of what CPython keeps as their documentation.

use std::ffi::{CStr, CString};

use super::sys;

/// The parameters behind `self` of the methods of that name. A class's own come first.
const METHODS: &[(Option<&str>, &str, &str)] = &[
    (Some("StreamReader"), "set_exception", "exc"),
    (Some("StreamWriter"), "writelines", "data"),
    (Some("ThreadPool"), "submit", "job"),
    (Some("ThreadPool"), "thread_failed", "ticket"),
    (None, "_wakeup", "future"),
    (None, "add_done_callback", "fn, /, *, context=None"),
    (None, "add_reader", "fd, callback, *args"),
    (None, "add_writer", "fd, callback, *args"),
    (None, "buffer_updated", "nbytes"),
    (None, "call_at", "when, callback, *args, context=None"),
    (None, "call_later", "delay, callback, *args, context=None"),
    (None, "call_soon", "callback, *args, context=None"),
    (
        None,
        "call_soon_threadsafe",
        "callback, *args, context=None",
    ),
    (None, "cancel", "msg=None"),
    (None, "connection_lost", "exc"),
    (None, "connection_made", "transport"),
    (None, "create_task", CREATE_TASK),
    (None, "data_received", "data"),
    (None, "feed_data", "data"),
    (None, "get_buffer", "sizehint"),
    (None, "get_extra_info", "name, default=None"),
    (None, "get_stack", "*, limit=None"),
    (None, "notify", "n=1"),
    (None, "print_stack", "*, limit=None, file=None"),
    (None, "put_nowait", "item"),
    (None, "remove_done_callback", "fn"),
    (None, "remove_reader", "fd"),
    (None, "remove_writer", "fd"),
    (None, "reschedule", "when"),
    (None, "run_in_executor", "executor, func, *args"),
    (None, "send", "value"),
    (None, "sendto", "data, addr=None"),
    (None, "set_debug", "enabled"),
    (None, "set_exception", "exception"),
    (None, "set_name", "value"),
    (None, "set_protocol", "protocol"),
    (None, "set_read_buffer_limits", "high=None, low=None"),
    (None, "set_result", "result"),
    (None, "set_task_factory", "factory"),
    (None, "set_transport", "transport"),
    (None, "set_write_buffer_limits", "high=None, low=None"),
    (None, "shutdown", "immediate=False"),
    (None, "throw", "type, value=None, traceback=None, /"),
    (None, "write", "data"),
    (None, "writelines", "list_of_data"),
];

/// As asyncio's own, which hands on whatever it is given from 3.14 on.
const CREATE_TASK: &str = if cfg!(Py_3_14) {
    "coro, **kwargs"
} else {
    "coro, *, name=None, context=None"
};

/// The parameters of classes whose documentation does not say them itself.
const CLASSES: &[(&str, &str)] = &[
    ("Barrier", "parties"),
    ("BoundedSemaphore", "value=1"),
    ("Condition", "lock=None"),
    ("Event", ""),
    ("LifoQueue", "maxsize=0"),
    ("Lock", ""),
    ("PriorityQueue", "maxsize=0"),
    ("Queue", "maxsize=0"),
    ("Semaphore", "value=1"),
    ("StreamReader", "limit=65536, loop=None"),
    (
        "StreamReaderProtocol",
        "stream_reader, client_connected_cb=None, loop=None",
    ),
    ("StreamWriter", "transport, protocol, reader, loop"),
    ("TaskGroup", ""),
    ("Timeout", "when"),
];

/// "Queue" of "ferrio._ferrio.Queue".
fn short_name(class: &'static CStr) -> &'static str {
    let name = class.to_str().unwrap_or_default();
    name.rsplit('.').next().unwrap_or(name)
}

/// The table with each method's parameters before its documentation, where they are known.
pub(super) fn with_signatures(
    class: &'static CStr,
    methods: &'static [sys::PyMethodDef],
) -> &'static [sys::PyMethodDef] {
    let class = short_name(class);
    let table: Vec<sys::PyMethodDef> = methods
        .iter()
        .map(|method| with_signature(class, *method))
        .collect();
    table.leak()
}

fn with_signature(class: &str, mut method: sys::PyMethodDef) -> sys::PyMethodDef {
    if method.ml_name.is_null() || method.ml_doc.is_null() || method.ml_flags & sys::METH_CLASS != 0
    {
        return method;
    }
    // SAFETY: the names and texts of method tables are C strings that live as long as the process.
    let (name, doc) = unsafe {
        (
            CStr::from_ptr(method.ml_name),
            CStr::from_ptr(method.ml_doc),
        )
    };
    let Ok(name) = name.to_str() else {
        return method;
    };
    let parameters = if method.ml_flags & sys::METH_NOARGS != 0 {
        Some("/".to_owned())
    } else {
        let known = METHODS
            .iter()
            .find(|(owner, method, _)| *method == name && owner.is_none_or(|owner| owner == class));
        known.map(|(_, _, parameters)| {
            // By a name only what can be given by one.
            let by_position = method.ml_flags & sys::METH_O != 0;
            format!("{parameters}{}", if by_position { ", /" } else { "" })
        })
    };
    if let Some(parameters) = parameters {
        method.ml_doc = documented(name, &format!("$self, {parameters}"), doc).as_ptr();
    }
    method
}

/// A class's documentation with its parameters before it, where they are known.
pub(super) fn class_doc(class: &'static CStr, doc: &'static CStr) -> &'static CStr {
    let name = short_name(class);
    match CLASSES.iter().find(|(class, _)| *class == name) {
        Some((_, parameters)) => documented(name, parameters, doc),
        None => doc,
    }
}

fn documented(name: &str, parameters: &str, doc: &CStr) -> &'static CStr {
    let words = format!("{name}({parameters})\n--\n\n{}", doc.to_string_lossy());
    match CString::new(words) {
        Ok(words) => Box::leak(words.into_boxed_c_str()),
        Err(_) => c"",
    }
}
