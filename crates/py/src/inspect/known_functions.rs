//! The coroutines of asyncio's and ferrio's that are written in Python, and what they wait for.

use ferrio_inspect::snapshot::WaitKind;

/// What a function of asyncio's or ferrio's waits for, by the name of its file and its qualified
/// name.
pub(super) fn kind_of_function(file: &str, function: &str) -> Option<WaitKind> {
    let module = file.rsplit('/').next().unwrap_or(file);
    let name = function.rsplit('.').next().unwrap_or(function);
    let kind = match (module, function) {
        ("locks.py", "Lock.acquire") => WaitKind::Lock,
        ("locks.py", "Semaphore.acquire") => WaitKind::Semaphore,
        ("locks.py", "Event.wait") => WaitKind::Event,
        ("locks.py", "Condition.wait" | "Condition.wait_for") => WaitKind::Condition,
        ("locks.py", "Barrier.wait" | "Barrier._block" | "Barrier._wait") => WaitKind::Barrier,
        ("queues.py", "Queue.get") => WaitKind::QueueGet,
        ("queues.py", "Queue.put") => WaitKind::QueuePut,
        ("queues.py", "Queue.join") => WaitKind::QueueJoin,
        ("tasks.py", "sleep") => WaitKind::Sleep,
        ("tasks.py", "wait_for") => WaitKind::Timeout,
        ("tasks.py", "wait" | "_wait" | "_cancel_and_wait") => WaitKind::Tasks,
        ("tasks.py", _) if function.contains("_wait_for_one") => WaitKind::Tasks,
        ("taskgroups.py", _) if name == "__aexit__" || name == "_aexit" => WaitKind::TaskGroup,
        ("streams.py", "StreamWriter.drain" | "StreamWriter.wait_closed")
        | ("streams.py", "FlowControlMixin._drain_helper") => WaitKind::Write,
        ("streams.py", _) if function.starts_with("StreamReader.") => WaitKind::Read,
        ("streams.py", "open_connection" | "open_unix_connection") => WaitKind::Connection,
        ("threads.py", "to_thread") => WaitKind::Executor,
        ("subprocess.py", _) if function.starts_with("Process.") => WaitKind::Subprocess,
        ("base_subprocess.py" | "processes.py" | "child.py" | "children.py", _) => {
            WaitKind::Subprocess
        }
        ("name_resolution.py" | "resolver_threads.py", _) => WaitKind::Lookup,
        _ => return kind_of_method(name),
    };
    Some(kind)
}

/// The same for methods of a loop, wherever they are.
fn kind_of_method(name: &str) -> Option<WaitKind> {
    Some(match name {
        "getaddrinfo" | "getnameinfo" => WaitKind::Lookup,
        "create_connection"
        | "create_unix_connection"
        | "create_server"
        | "sock_connect"
        | "sock_accept"
        | "start_tls"
        | "_connect_sock" => WaitKind::Connection,
        "_read_from" => WaitKind::Read,
        "_write_to" | "sendfile" => WaitKind::Write,
        name if name.starts_with("sock_recv") => WaitKind::Read,
        name if name.starts_with("sock_send") => WaitKind::Write,
        "shutdown_default_executor" => WaitKind::Executor,
        _ => return None,
    })
}
