//! Whether a thread runs, or where it sleeps.

use super::read_file;

/// What a thread is at, for the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It runs, or would if it had a processor.
    Runnable,
    /// It sleeps in a system call.
    InCall {
        /// The call's number.
        number: i64,
        /// The call's first argument.
        first: usize,
    },
    /// It sleeps, and in which call is not known.
    Asleep,
}

/// What a thread of this process is at; `None` when it has ended, or the kernel does not say.
#[must_use]
pub fn activity(thread: u32) -> Option<Activity> {
    // `syscall` says it all. Sandboxes leave it out, and so do kernels that are built without it.
    match read_file(thread, "syscall") {
        Ok(text) => parse_syscall(&text),
        Err(_left_out) => parse_stat(&read_file(thread, "stat").ok()?),
    }
}

/// `running`; or the call's number, six arguments, stack and instruction pointer; or -1 and the
/// pointers, for a thread that sleeps without having called.
fn parse_syscall(text: &str) -> Option<Activity> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?;
    if first == "running" {
        return Some(Activity::Runnable);
    }
    let number = first.parse().ok()?;
    if number < 0 {
        return Some(Activity::Asleep);
    }
    let argument = words.next()?.strip_prefix("0x")?;
    Some(Activity::InCall {
        number,
        first: usize::from_str_radix(argument, 16).ok()?,
    })
}

/// The state is the word behind the name, which is in parentheses and may have some itself.
fn parse_stat(text: &str) -> Option<Activity> {
    let (_number_and_name, fields) = text.rsplit_once(')')?;
    match fields.split_ascii_whitespace().next()? {
        "R" => Some(Activity::Runnable),
        "S" | "D" => Some(Activity::Asleep),
        // Stopped, traced, dead.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_syscall_file() {
        let sleeping = "230 0x1 0x0 0x7ffd0 0x0 0x0 0x0 0x7ffd6b1c 0x7f13\n";
        assert_eq!(
            parse_syscall(sleeping),
            Some(Activity::InCall {
                number: 230,
                first: 1
            })
        );
        let waiting = "202 0x55d0c8a41e98 0x189 0x0 0x0 0x0 0xffffffff 0x7f 0x7f\n";
        assert_eq!(
            parse_syscall(waiting),
            Some(Activity::InCall {
                number: 202,
                first: 0x55d0_c8a4_1e98
            })
        );
        assert_eq!(parse_syscall("running\n"), Some(Activity::Runnable));
        assert_eq!(
            parse_syscall("-1 0x7ffd6b1c 0x7f13\n"),
            Some(Activity::Asleep)
        );
    }

    #[test]
    fn what_is_no_syscall_file() {
        for text in [
            "",
            "\n",
            "run\n",
            "12\n",
            "12 13\n",
            "12 0xyz\n",
            "0x1 0x2\n",
        ] {
            assert_eq!(parse_syscall(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_stat_file() {
        let of = |state| parse_stat(&format!("91 (a) b) (c)) {state} 1 91 91 0 -1 4194304\n"));
        assert_eq!(of("R"), Some(Activity::Runnable));
        assert_eq!(of("S"), Some(Activity::Asleep));
        assert_eq!(of("D"), Some(Activity::Asleep));
        assert_eq!(of("T"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("91 (python)"), None);
    }

    #[test]
    fn who_reads_of_itself_is_seen_reading() {
        // SAFETY: asks for a number.
        let thread = unsafe { libc::gettid() }.unsigned_abs();
        match activity(thread) {
            Some(Activity::InCall { number, first: _ }) => assert_eq!(number, libc::SYS_read),
            // Where there is no such file.
            other => assert_eq!(other, Some(Activity::Runnable)),
        }
        assert_eq!(activity(u32::MAX), None);
    }
}
