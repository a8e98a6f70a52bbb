//! What the extension uses of Python's own modules, looked up once at import.

use std::ffi::CStr;

use crate::ffi::{LookedUp, Object, Outcome, Raised, interned, sys};

/// References that live as long as the process.
pub(crate) struct Imports {
    pub(crate) cancelled_error: Object,
    pub(crate) invalid_state_error: Object,

    /// What `__class__` answers for our types (see `identity.rs`).
    pub(crate) asyncio_future: Object,
    pub(crate) asyncio_task: Object,
    /// `asyncio.tasks._PyTask`, which the one above nearly always is not.
    pub(crate) python_task: Object,
    pub(crate) asyncio_handle: Object,
    pub(crate) asyncio_timer_handle: Object,
    /// Missing before 3.14.
    pub(crate) asyncio_thread_safe_handle: Option<Object>,

    /// `asyncio.Transport`, `asyncio.DatagramTransport` and `asyncio.BufferedProtocol`.
    pub(crate) asyncio_transport: Object,
    pub(crate) asyncio_read_transport: Object,
    pub(crate) asyncio_datagram_transport: Object,
    pub(crate) buffered_protocol: Object,
    /// `weakref.ref`.
    pub(crate) weak_reference: Object,

    /// The loop of a future that was given none.
    pub(crate) get_event_loop: Object,
    pub(crate) is_coroutine: Object,
    pub(crate) is_coroutine_function: Object,
    pub(crate) int: Object,
    pub(crate) future_repr: Object,
    pub(crate) task_repr: Object,
    pub(crate) task_get_stack: Object,
    pub(crate) task_print_stack: Object,
    pub(crate) format_callback_source: Object,
    /// `traceback.extract_stack`: where a future was made.
    pub(crate) extract_stack: Object,
    /// asyncio's own, which stops after a few frames: where a handle was made.
    pub(crate) extract_short_stack: Object,

    pub(crate) enter_task: Object,
    pub(crate) leave_task: Object,
    /// `asyncio.future_add_to_awaited_by` and its opposite, for futures that are not ours;
    /// missing before 3.14.
    pub(crate) add_to_awaited_by: Option<Object>,
    pub(crate) discard_from_awaited_by: Option<Object>,
    /// Missing before 3.12.
    pub(crate) swap_current_task: Option<Object>,
    /// `{loop: task}`, read by `asyncio.current_task` up to 3.13.
    pub(crate) current_tasks: Option<Object>,

    pub(crate) names: Names,
    /// The keyword names `("context",)` and `("msg",)`.
    pub(crate) context_keyword: Object,
    pub(crate) message_keyword: Object,
    pub(crate) debug_keyword: Object,
}

/// Attribute names, interned.
macro_rules! names {
    ($($field:ident = $text:literal),* $(,)?) => {
        /// Interned attribute names.
        pub(crate) struct Names { $(pub(crate) $field: Object),* }

        impl Names {
            fn load() -> Outcome<Names> {
                Ok(Names { $($field: interned($text)?),* })
            }
        }
    };
}

names! {
    add_done_callback = c"add_done_callback",
    asyncio_future_blocking = c"_asyncio_future_blocking",
    buffer_updated = c"buffer_updated",
    call_at = c"call_at",
    call_later = c"call_later",
    call_connection_lost = c"_call_connection_lost",
    call_exception_handler = c"call_exception_handler",
    call_soon = c"call_soon",
    cancel = c"cancel",
    cause = c"__cause__",
    close = c"close",
    connection_made = c"connection_made",
    connection_lost = c"connection_lost",
    context_attribute = c"__context__",
    create_future = c"create_future",
    data_received = c"data_received",
    datagram_received = c"datagram_received",
    detach = c"_detach",
    do_handshake = c"do_handshake",
    eof_received = c"eof_received",
    fileno = c"fileno",
    force_close = c"_force_close",
    get = c"get",
    get_buffer = c"get_buffer",
    get_debug = c"get_debug",
    get_extra_info = c"get_extra_info",
    get_loop = c"get_loop",
    handle_signal = c"_handle_signal",
    is_running = c"is_running",
    loop_attribute = c"_loop",
    pause_reading = c"pause_reading",
    pending = c"pending",
    qualname = c"__qualname__",
    read = c"read",
    read_ready = c"_read_ready",
    result = c"result",
    resume_reading = c"resume_reading",
    set_exception = c"set_exception",
    set_name = c"set_name",
    set_result = c"set_result",
    shutdown = c"shutdown",
    socket = c"socket",
    sockname = c"sockname",
    peername = c"peername",
    throw = c"throw",
    time = c"time",
    traceback = c"__traceback__",
    unwrap = c"unwrap",
    write = c"write",
    write_ready = c"_write_ready",
}

static IMPORTS: LookedUp<Imports> = LookedUp::new();

/// The looked-up objects.
///
/// # Panics
/// Before [`load`]; no code of ours runs before it.
#[inline]
pub(crate) fn imports() -> &'static Imports {
    IMPORTS.get()
}

/// Looks everything up; called once, by the module's import.
pub(crate) fn load() -> Outcome<()> {
    let exceptions = module(c"asyncio.exceptions")?;
    let events = module(c"asyncio.events")?;
    let tasks = module(c"asyncio.tasks")?;
    let base_futures = module(c"asyncio.base_futures")?;
    let base_tasks = module(c"asyncio.base_tasks")?;
    let format_helpers = module(c"asyncio.format_helpers")?;
    let coroutines = module(c"asyncio.coroutines")?;
    let futures = module(c"asyncio.futures")?;
    // 3.11 looks for a running loop without the warnings of get_event_loop().
    let get_event_loop = match find(&events, c"_get_event_loop")? {
        Some(function) => function,
        None => get(&events, c"get_event_loop")?,
    };
    let imports = Imports {
        cancelled_error: get(&exceptions, c"CancelledError")?,
        invalid_state_error: get(&exceptions, c"InvalidStateError")?,
        asyncio_future: get(&futures, c"Future")?,
        asyncio_task: get(&tasks, c"Task")?,
        python_task: get(&tasks, c"_PyTask")?,
        asyncio_handle: get(&events, c"Handle")?,
        asyncio_thread_safe_handle: find(&events, c"_ThreadSafeHandle")?,
        asyncio_timer_handle: get(&events, c"TimerHandle")?,
        asyncio_transport: get(&module(c"asyncio.transports")?, c"Transport")?,
        asyncio_read_transport: get(&module(c"asyncio.transports")?, c"ReadTransport")?,
        asyncio_datagram_transport: get(&module(c"asyncio.transports")?, c"DatagramTransport")?,
        buffered_protocol: get(&module(c"asyncio.protocols")?, c"BufferedProtocol")?,
        weak_reference: get(&module(c"weakref")?, c"ref")?,
        get_event_loop,
        is_coroutine: get(&coroutines, c"iscoroutine")?,
        // The public name is deprecated from 3.14 on, and warns at every call.
        is_coroutine_function: match find(&coroutines, c"_iscoroutinefunction")? {
            Some(function) => function,
            None => get(&coroutines, c"iscoroutinefunction")?,
        },
        int: get(&module(c"builtins")?, c"int")?,
        future_repr: get(&base_futures, c"_future_repr")?,
        task_repr: get(&base_tasks, c"_task_repr")?,
        task_get_stack: get(&base_tasks, c"_task_get_stack")?,
        task_print_stack: get(&base_tasks, c"_task_print_stack")?,
        format_callback_source: get(&format_helpers, c"_format_callback_source")?,
        extract_stack: get(&module(c"traceback")?, c"extract_stack")?,
        extract_short_stack: get(&format_helpers, c"extract_stack")?,
        enter_task: get(&tasks, c"_enter_task")?,
        leave_task: get(&tasks, c"_leave_task")?,
        add_to_awaited_by: find(&futures, c"future_add_to_awaited_by")?,
        discard_from_awaited_by: find(&futures, c"future_discard_from_awaited_by")?,
        swap_current_task: find(&tasks, c"_swap_current_task")?,
        current_tasks: if cfg!(Py_3_14) {
            // It is there, for asyncio's functions in Python alone, which are not in use.
            None
        } else {
            Some(get(&tasks, c"_current_tasks")?)
        },
        names: Names::load()?,
        context_keyword: keywords(&[c"context"])?,
        message_keyword: keywords(&[c"msg"])?,
        debug_keyword: keywords(&[c"debug"])?,
    };
    IMPORTS.fill(imports);
    Ok(())
}

pub(crate) fn module(name: &CStr) -> Outcome<Object> {
    // SAFETY: a C string; a new reference or null.
    unsafe { Object::from_new(sys::PyImport_ImportModule(name.as_ptr())) }
}

fn get(object: &Object, name: &CStr) -> Outcome<Object> {
    object.get_attr(&interned(name)?)
}

fn find(object: &Object, name: &CStr) -> Outcome<Option<Object>> {
    object.find_attr(&interned(name)?)
}

fn keywords(names: &[&CStr]) -> Outcome<Object> {
    let names = names
        .iter()
        .map(|name| interned(name))
        .collect::<Outcome<Vec<_>>>()?;
    Object::tuple_of(&names)
}

/// What is used of the module `ssl`.
pub(crate) struct TlsImports {
    pub(crate) ssl_error: Object,
    pub(crate) want_read_error: Object,
    pub(crate) syscall_error: Object,
    pub(crate) certificate_error: Object,
    /// The methods of `ssl.SSLObject` that TLS calls: name and function.
    pub(crate) ssl_object_methods: [(Object, Object); 4],
}

/// [`TlsImports`], looked up when first asked for: a Python may have been built without OpenSSL.
///
/// # Errors
/// ImportError without OpenSSL.
#[inline]
pub(crate) fn tls_imports() -> Outcome<&'static TlsImports> {
    static IMPORTS: LookedUp<TlsImports> = LookedUp::new();
    if let Some(imports) = IMPORTS.find() {
        return Ok(imports);
    }
    let ssl = module(c"ssl")?;
    let class = get(&ssl, c"SSLObject")?;
    let method =
        |name: &CStr| -> Outcome<(Object, Object)> { Ok((interned(name)?, get(&class, name)?)) };
    let imports = TlsImports {
        ssl_error: get(&ssl, c"SSLError")?,
        want_read_error: get(&ssl, c"SSLWantReadError")?,
        syscall_error: get(&ssl, c"SSLSyscallError")?,
        certificate_error: get(&ssl, c"CertificateError")?,
        ssl_object_methods: [
            method(c"do_handshake")?,
            method(c"read")?,
            method(c"write")?,
            method(c"unwrap")?,
        ],
    };
    Ok(IMPORTS.fill(imports))
}

/// Refuses to be imported anywhere but in the main interpreter: the objects above are
/// shared by the whole process.
pub(crate) fn require_main_interpreter() -> Outcome<()> {
    // SAFETY: asks for two addresses.
    let main = unsafe { sys::PyInterpreterState_Get() == sys::PyInterpreterState_Main() };
    if main {
        return Ok(());
    }
    // SAFETY: a built-in exception type.
    Err(unsafe {
        Raised::builtin(
            sys::PyExc_ImportError,
            "ferrio does not support subinterpreters yet",
        )
    })
}
