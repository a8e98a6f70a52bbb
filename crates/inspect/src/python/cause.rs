//! Why a thread is where it is.
//!
//! A thread is looked at several times within some milliseconds, and what most of the moments
//! agree on is the cause. Where they do not agree, or what decides cannot be read, the cause is
//! [`Cause::Unknown`].

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::frames::{Frame, Raw, frames};
use super::gil::native_thread;
use super::layout::Layout;
use super::moment::{Moment, Observer, Place};
use crate::kernel::{cpu_time, syscall_name, thread_name};

/// Moments after which it is tried to decide.
const ROUND: usize = 10;
/// How often it is tried.
const ROUNDS: usize = 3;
/// Between two moments.
const PAUSE: Duration = Duration::from_micros(500);
/// A round takes so long, or longer.
const SHORTEST_ROUND: Duration = Duration::from_millis(5);
/// What has run for so long from one moment to the next has been seen running, however long it was.
const RUNNING: Duration = Duration::from_millis(1);

/// Why a thread is where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It runs Python code.
    Python,
    /// It runs C code that holds the interpreter.
    CGil,
    /// It runs C code that has released the interpreter.
    CNogil,
    /// It sleeps in the system call of that name (its number where the name is not known).
    Syscall(String),
    /// It waits for the interpreter.
    GilWait {
        /// The kernel's number of the thread that holds it.
        thread: u32,
        /// That thread's name, if it was given one.
        name: Option<String>,
        /// What that thread is at, if it could be read.
        at: Option<Frame>,
    },
    /// It collects garbage.
    Gc,
    /// It is ready to run, and most of the time has no processor.
    Descheduled,
    /// What was seen does not agree, or could not be read.
    Unknown,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Cause::Python => "python",
            Cause::CGil => "c-gil",
            Cause::CNogil => "c-nogil",
            Cause::Syscall(name) => return write!(formatter, "syscall:{name}"),
            Cause::GilWait { .. } => "gil-wait",
            Cause::Gc => "gc",
            Cause::Descheduled => "descheduled",
            Cause::Unknown => "unknown",
        })
    }
}

/// Why the thread of that number (the kernel's) and that `PyThreadState` is where it is.
///
/// May be called from any other thread, with or without the interpreter; takes 5 to 15 ms, and
/// more when the machine is busy. Without a layout only system calls are told from each other.
#[must_use]
pub fn cause(layout: Option<&Layout>, thread: u32, thread_state: usize) -> Cause {
    observe(layout, thread, thread_state, ROUNDS, |seen| {
        seen.ran * 2 >= seen.elapsed.mul_f64(seen.share(Moment::is_runnable))
    })
}

/// As [`cause`], for a machine on which the thread gets little of a processor: looks until it was
/// often enough seen running or asleep, and is [`Cause::Descheduled`] only after all of `patience`.
#[must_use]
pub fn cause_when_run(
    layout: Option<&Layout>,
    thread: u32,
    thread_state: usize,
    patience: Duration,
) -> Cause {
    let rounds = patience.as_millis() / SHORTEST_ROUND.as_millis();
    let rounds = usize::try_from(rounds).unwrap_or(usize::MAX);
    observe(layout, thread, thread_state, rounds.max(ROUNDS), |seen| {
        seen.judged().count() >= ROUND
    })
}

/// Looks at the thread for up to so many rounds. What runs is judged once it has run enough.
fn observe(
    layout: Option<&Layout>,
    thread: u32,
    thread_state: usize,
    rounds: usize,
    has_run_enough: impl Fn(&Seen) -> bool,
) -> Cause {
    let observer = Observer::new(layout, thread, thread_state);
    let begun = Instant::now();
    let Some(cpu_before) = cpu_time(thread) else {
        return Cause::Unknown;
    };
    let mut cpu = cpu_before;
    let mut moments = Vec::with_capacity(ROUND * ROUNDS);
    for round in 1..=rounds {
        for _moment in 0..ROUND {
            let (started, moment) = (Instant::now(), observer.look());
            sleep(PAUSE);
            let Some(cpu_now) = cpu_time(thread) else {
                return Cause::Unknown;
            };
            let ran = cpu_now.saturating_sub(cpu);
            let is_running = ran >= RUNNING.min(started.elapsed() / 2);
            moments.push(if moment.is_runnable() && !is_running {
                Moment::Ready
            } else {
                moment
            });
            cpu = cpu_now;
        }
        let seen = Seen {
            moments: &moments,
            elapsed: begun.elapsed(),
            ran: cpu.saturating_sub(cpu_before),
        };
        if let Some(verdict) = seen.verdict(round == rounds, has_run_enough(&seen)) {
            return explain(verdict, layout);
        }
    }
    Cause::Unknown
}

/// What was seen of a thread.
struct Seen<'a> {
    moments: &'a [Moment],
    /// From the first moment to the last.
    elapsed: Duration,
    /// For how much of that it was on a processor.
    ran: Duration,
}

/// What most moments agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    InCall(i64),
    WaitsForInterpreter {
        holder: usize,
    },
    WithoutInterpreter,
    Descheduled,
    /// It holds the interpreter, and its place changes.
    Moves,
    /// It holds the interpreter, and its place stays.
    Stays {
        place: Place,
        collects: bool,
    },
}

impl Seen<'_> {
    /// Of how many of the moments something holds, as a part of 1.
    fn share(&self, holds: impl Fn(Moment) -> bool) -> f64 {
        let count = self.moments.iter().filter(|moment| holds(**moment)).count();
        #[expect(clippy::cast_precision_loss, reason = "there are few moments")]
        let share = count as f64 / self.moments.len().max(1) as f64;
        share
    }

    /// The moments at which it was seen doing something.
    fn judged(&self) -> impl Iterator<Item = Moment> {
        (self.moments.iter().copied()).filter(|moment| *moment != Moment::Ready)
    }

    /// `None` if more moments are needed. At last a majority does.
    fn verdict(&self, is_last: bool, has_run_enough: bool) -> Option<Verdict> {
        let needed = if is_last { 0.5 } else { 0.7 };
        if self.share(Moment::is_runnable) > needed && !has_run_enough {
            // A slice of time is some milliseconds: one round alone may be somebody else's.
            return is_last.then_some(Verdict::Descheduled);
        }
        let judged: Vec<_> = self.judged().collect();
        let most = Seen {
            moments: &judged,
            ..*self
        };
        let is_most = |holds: &dyn Fn(Moment) -> bool| most.share(holds) > needed;
        if judged.len() < ROUND / 2 {
            None
        } else if is_most(&|moment| moment == Moment::WithoutInterpreter) {
            Some(Verdict::WithoutInterpreter)
        } else if is_most(&|moment| matches!(moment, Moment::HoldsInterpreter { .. })) {
            self.with_interpreter()
        } else if is_most(&|moment| matches!(moment, Moment::WaitsForInterpreter { .. })) {
            judged.iter().rev().find_map(|moment| match moment {
                Moment::WaitsForInterpreter { holder } => {
                    Some(Verdict::WaitsForInterpreter { holder: *holder })
                }
                _ => None,
            })
        } else {
            judged.iter().find_map(|moment| match moment {
                Moment::InCall(number) if is_most(&|other| other == *moment) => {
                    Some(Verdict::InCall(*number))
                }
                _ => None,
            })
        }
    }

    /// Whether Python code runs or one instruction takes all the time. One change may be the way
    /// into that instruction: then the moments after it decide.
    fn with_interpreter(&self) -> Option<Verdict> {
        let held: Vec<_> = (self.moments.iter())
            .filter_map(|moment| match moment {
                Moment::HoldsInterpreter { place, collects } => Some((*place, *collects)),
                _ => None,
            })
            .collect();
        let changes = |held: &[(Place, bool)]| {
            held.windows(2)
                .filter(|pair| pair[0].0 != pair[1].0 || pair[0].0 == Place::Changing)
                .count()
        };
        let latest = &held[held.len().saturating_sub(ROUND / 2)..];
        let (place, _collects) = *latest.last()?;
        match changes(&held) {
            0 => {}
            1 if self.moments.len() > ROUND && changes(latest) == 0 => {}
            1 => return None,
            _ => return Some(Verdict::Moves),
        }
        Some(Verdict::Stays {
            place,
            collects: latest.iter().all(|(_place, collects)| *collects),
        })
    }
}

fn explain(verdict: Verdict, layout: Option<&Layout>) -> Cause {
    match verdict {
        Verdict::InCall(number) => Cause::Syscall(syscall_name(number).into_owned()),
        Verdict::WithoutInterpreter => Cause::CNogil,
        Verdict::Descheduled => Cause::Descheduled,
        Verdict::Moves => Cause::Python,
        Verdict::Stays { collects: true, .. } => Cause::Gc,
        Verdict::Stays {
            place: Place::At(raw),
            ..
        } if jumps(layout, raw) => Cause::Python,
        Verdict::Stays { .. } => Cause::CGil,
        Verdict::WaitsForInterpreter { holder } => {
            let holder_thread = layout.and_then(|layout| {
                let thread = native_thread(layout, holder).ok()?;
                let at = frames(layout, holder, 1).ok();
                Some((thread, at.and_then(|frames| frames.into_iter().next())))
            });
            match holder_thread {
                Some((thread, at)) => Cause::GilWait {
                    thread,
                    name: thread_name(thread),
                    at,
                },
                None => Cause::Unknown,
            }
        }
    }
}

/// Whether the thread stands at a jump backward: it does not stand, the jump leads to itself.
fn jumps(layout: Option<&Layout>, raw: Raw) -> bool {
    layout.is_some_and(|layout| {
        raw.operation()
            .is_ok_and(|operation| layout.code.backward_jumps.contains(&operation))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Duration = Duration::from_millis(5);

    fn verdict(moments: &[Moment], ran: Duration, is_last: bool) -> Option<Verdict> {
        Seen {
            moments,
            elapsed: ALL,
            ran,
        }
        .verdict(is_last, ran * 2 >= ALL)
    }

    fn held(instruction: usize) -> Moment {
        Moment::HoldsInterpreter {
            place: Place::At(Raw {
                address: 1,
                code: 2,
                instruction,
            }),
            collects: false,
        }
    }

    fn stays(instruction: usize) -> Option<Verdict> {
        let Moment::HoldsInterpreter { place, collects } = held(instruction) else {
            unreachable!("made above");
        };
        Some(Verdict::Stays { place, collects })
    }

    #[test]
    fn sleeping_in_a_call() {
        let moments = [Moment::InCall(7); ROUND];
        assert_eq!(
            verdict(&moments, Duration::ZERO, false),
            Some(Verdict::InCall(7))
        );
    }

    #[test]
    fn different_calls_agree_on_nothing() {
        let moments: Vec<_> = (0..10).map(Moment::InCall).collect();
        assert_eq!(verdict(&moments, Duration::ZERO, true), None);
    }

    #[test]
    fn a_majority_does_at_last() {
        let mut moments = [Moment::InCall(7); ROUND];
        moments[..4].fill(Moment::WithoutInterpreter);
        assert_eq!(verdict(&moments, ALL, false), None);
        assert_eq!(verdict(&moments, ALL, true), Some(Verdict::InCall(7)));
    }

    #[test]
    fn ready_and_not_run() {
        for moment in [held(1), Moment::WithoutInterpreter, Moment::Runs] {
            let seen = |is_last| verdict(&[moment; ROUND], Duration::from_millis(2), is_last);
            assert_eq!(seen(false), None);
            assert_eq!(seen(true), Some(Verdict::Descheduled));
        }
    }

    #[test]
    fn who_waits_for_the_interpreter_and_then_for_a_processor() {
        let mut moments = [Moment::WaitsForInterpreter { holder: 1 }; ROUND];
        moments[..5].fill(Moment::Ready);
        let seen = Some(Verdict::WaitsForInterpreter { holder: 1 });
        assert_eq!(verdict(&moments, Duration::ZERO, false), seen);
        moments[..7].fill(Moment::Ready);
        assert_eq!(verdict(&moments, Duration::ZERO, false), None);
        assert_eq!(
            verdict(&moments, Duration::ZERO, true),
            Some(Verdict::Descheduled)
        );
    }

    #[test]
    fn moments_without_a_processor_say_nothing() {
        let mut moments = [Moment::WithoutInterpreter; ROUND];
        moments[..4].fill(Moment::Ready);
        assert_eq!(
            verdict(&moments, ALL, false),
            Some(Verdict::WithoutInterpreter)
        );
        moments[..9].fill(Moment::Ready);
        assert_eq!(verdict(&moments, ALL, true), None);
    }

    #[test]
    fn running_without_the_interpreter() {
        let moments = [Moment::WithoutInterpreter; ROUND];
        assert_eq!(
            verdict(&moments, ALL, false),
            Some(Verdict::WithoutInterpreter)
        );
        assert_eq!(verdict(&[Moment::Runs; ROUND], ALL, true), None);
    }

    #[test]
    fn python_code_moves() {
        let moments: Vec<_> = (0..ROUND).map(held).collect();
        assert_eq!(verdict(&moments, ALL, false), Some(Verdict::Moves));
    }

    #[test]
    fn python_code_may_never_be_seen_standing() {
        let moment = Moment::HoldsInterpreter {
            place: Place::Changing,
            collects: false,
        };
        assert_eq!(verdict(&[moment; ROUND], ALL, false), Some(Verdict::Moves));
    }

    #[test]
    fn one_instruction_stays() {
        assert_eq!(verdict(&[held(1); ROUND], ALL, false), stays(1));
    }

    #[test]
    fn the_way_into_an_instruction_is_no_movement() {
        let mut moments = vec![held(1)];
        moments.resize(ROUND, held(2));
        assert_eq!(verdict(&moments, ALL, false), None);
        moments.resize(2 * ROUND, held(2));
        assert_eq!(verdict(&moments, ALL, false), stays(2));
    }

    #[test]
    fn the_latest_holder_is_named() {
        let mut moments = [Moment::WaitsForInterpreter { holder: 1 }; ROUND];
        moments[ROUND - 1] = Moment::WaitsForInterpreter { holder: 2 };
        assert_eq!(
            verdict(&moments, Duration::ZERO, false),
            Some(Verdict::WaitsForInterpreter { holder: 2 })
        );
    }

    #[test]
    fn causes_have_words() {
        assert_eq!(Cause::Syscall("read".into()).to_string(), "syscall:read");
        assert_eq!(Cause::CNogil.to_string(), "c-nogil");
    }
}
