//! The C library's functions by which std, tokio and the rest learn the time, wait, start threads and draw random numbers. The simulation's
//! programs define them under their own names, so that the linker takes these and the product's code runs in the machine unchanged. Calls
//! from threads that are not simulated go to the real ones.
//!
//! The simulation's only unsafe code. Each function has its C prototype's contract (the manual page of its name), which its caller upholds; nothing here
//! relies on more. Pointers are used only during the call, by the calling thread, except those of `pthread_create`, which are handed to
//! the thread that they are meant for.

#![allow(unsafe_code)]
// Words of the system's interface: this module exists only where they have 64 bits.
#![allow(clippy::cast_possible_truncation)]

use std::ffi::{CStr, c_int, c_long, c_uint, c_void};
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use libc::{
    clockid_t, epoll_event, nfds_t, pollfd, pthread_attr_t, pthread_key_t, pthread_t, sigset_t, size_t,
    ssize_t, timespec,
};

use super::calls::{self, Clock, Waited};
use super::real;
use super::turn::{self, Birth};

const BILLION: u64 = 1_000_000_000;

/// The next definition of a function after ours, as the type says it is.
macro_rules! real {
    ($name:literal: fn($($argument:ty),*) -> $result:ty) => {{
        static ADDRESS: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        let address = next_definition(&ADDRESS, $name);
        // SAFETY: `address` is the C library's function of that name, and the type is its prototype's (for `syscall` a
        // call with all seven arguments, which the calling conventions of x86_64 and aarch64 pass as to a variadic function).
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(address) }
    }};
}

fn next_definition(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: `name` is a string that ends in a zero byte; dlsym(3) asks for nothing else.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        // A panic would ask for the time, and so come back to here.
        std::process::abort();
    }
    cache.store(found, Ordering::Relaxed);
    found
}

/// Keeps the definitions below in every program that runs a machine, and says that this is such a program.
pub(super) fn defined() -> usize {
    let functions = [
        clock_gettime as *const () as usize,
        clock_nanosleep as *const () as usize,
        nanosleep as *const () as usize,
        sched_yield as *const () as usize,
        sched_getaffinity as *const () as usize,
        syscall as *const () as usize,
        getrandom as *const () as usize,
        getentropy as *const () as usize,
        pthread_create as *const () as usize,
        pthread_join as *const () as usize,
        epoll_wait as *const () as usize,
        epoll_pwait as *const () as usize,
        poll as *const () as usize,
        ppoll as *const () as usize,
        write as *const () as usize,
    ];
    functions
        .into_iter()
        .fold(0, |all, function| all ^ std::hint::black_box(function))
}

fn clock(id: clockid_t) -> Clock {
    match id {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => Clock::Wall,
        _ => Clock::Monotonic,
    }
}

fn in_ns(time: timespec) -> u64 {
    let (seconds, ns) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds
        .unwrap_or(0)
        .saturating_mul(BILLION)
        .saturating_add(ns.unwrap_or(0))
}

fn as_timespec(ns: u64) -> timespec {
    timespec {
        tv_sec: (ns / BILLION).cast_signed(),
        tv_nsec: (ns % BILLION).cast_signed(),
    }
}

/// Returns -1 with the error in `errno`, as a system call does.
fn error(number: c_int) -> c_int {
    // SAFETY: errno's address is the calling thread's own and always valid.
    unsafe { *libc::__errno_location() = number };
    -1
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(id: clockid_t, time: *mut timespec) -> c_int {
    match calls::clock_ns(clock(id)) {
        Some(ns) => {
            // SAFETY: the caller gives a place for a time.
            unsafe { time.write(as_timespec(ns)) };
            0
        }
        None => {
            let real = real!(c"clock_gettime": fn(clockid_t, *mut timespec) -> c_int);
            // SAFETY: the caller's own call.
            unsafe { real(id, time) }
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    id: clockid_t,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
) -> c_int {
    if turn::simulated() {
        // SAFETY: the caller gives a time.
        let ns = in_ns(unsafe { time.read() });
        match flags & libc::TIMER_ABSTIME {
            0 => calls::sleep_for(ns),
            _ => calls::sleep_until(clock(id), ns),
        }
        return 0;
    }
    let real = real!(c"clock_nanosleep": fn(clockid_t, c_int, *const timespec, *mut timespec) -> c_int);
    // SAFETY: the caller's own call.
    unsafe { real(id, flags, time, left) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int {
    if turn::simulated() {
        // SAFETY: the caller gives a time.
        calls::sleep_for(in_ns(unsafe { time.read() }));
        return 0;
    }
    let real = real!(c"nanosleep": fn(*const timespec, *mut timespec) -> c_int);
    // SAFETY: the caller's own call.
    unsafe { real(time, left) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_yield() -> c_int {
    if calls::give_way() {
        return 0;
    }
    let real = real!(c"sched_yield": fn() -> c_int);
    // SAFETY: it takes nothing.
    unsafe { real() }
}

/// A simulated host has one processor, wherever it is simulated: nobody spins, and pools have the same size everywhere.
#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getaffinity(
    process: libc::pid_t,
    size: size_t,
    set: *mut libc::cpu_set_t,
) -> c_int {
    if turn::simulated() && size > 0 {
        // SAFETY: the caller gives `size` writable bytes.
        unsafe {
            ptr::write_bytes(set.cast::<u8>(), 0, size);
            ptr::write(set.cast::<u8>(), 1);
        }
        return 0;
    }
    let real = real!(c"sched_getaffinity": fn(libc::pid_t, size_t, *mut libc::cpu_set_t) -> c_int);
    // SAFETY: the caller's own call.
    unsafe { real(process, size, set) }
}

/// Defined without `...`: on x86_64 and aarch64 a variadic call passes its words where these seven are expected, and those that the
/// caller did not give are not looked at.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    if turn::simulated() {
        match number {
            libc::SYS_futex => {
                // SAFETY: the caller's arguments are futex(2)'s.
                return unsafe { futex(a, b, c, d, f) };
            }
            libc::SYS_getrandom => {
                // SAFETY: the caller gives a place for as many bytes.
                return unsafe { getrandom(as_pointer(a), b.cast_unsigned() as size_t, low(c)) } as c_long;
            }
            libc::SYS_clock_gettime => {
                // SAFETY: the caller gives a place for a time.
                return c_long::from(unsafe { clock_gettime(low(a).cast_signed(), as_pointer(b)) });
            }
            libc::SYS_sched_yield => {
                // SAFETY: it takes nothing.
                return c_long::from(unsafe { sched_yield() });
            }
            _ => {}
        }
    }
    let real = real!(c"syscall": fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long);
    // SAFETY: the caller's own call.
    unsafe { real(number, a, b, c, d, e, f) }
}

/// The lower half of a word, which is all that a 32-bit argument defines.
fn low(word: c_long) -> u32 {
    word.cast_unsigned() as u32
}

fn as_pointer<T>(word: c_long) -> *mut T {
    ptr::with_exposed_provenance_mut(word.cast_unsigned() as usize)
}

/// # Safety
/// The arguments are those of futex(2), private to this process.
unsafe fn futex(word: c_long, operation: c_long, value: c_long, timeout: c_long, bits: c_long) -> c_long {
    let address = word.cast_unsigned() as usize;
    let operation = low(operation).cast_signed();
    let (command, value) = (operation & libc::FUTEX_CMD_MASK, low(value));
    match command {
        libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET => {
            let timeout: *mut timespec = as_pointer(timeout);
            // SAFETY: futex(2) takes a time or nothing there.
            let timeout = (!timeout.is_null()).then(|| in_ns(unsafe { timeout.read() }));
            let (bits, deadline) = if command == libc::FUTEX_WAIT {
                (u32::MAX, timeout.map(calls::Until::After))
            } else if operation & libc::FUTEX_CLOCK_REALTIME != 0 {
                (low(bits), timeout.map(|ns| calls::Until::At(Clock::Wall, ns)))
            } else {
                (
                    low(bits),
                    timeout.map(|ns| calls::Until::At(Clock::Monotonic, ns)),
                )
            };
            let word: *mut u32 = as_pointer(word);
            // SAFETY: futex(2) takes the address of an aligned 32-bit word that is only accessed atomically.
            let word = unsafe { AtomicU32::from_ptr(word) };
            match calls::wait(address, bits, deadline, || word.load(Ordering::SeqCst) == value) {
                Waited::Woken => 0,
                Waited::Changed => c_long::from(error(libc::EAGAIN)),
                Waited::TimedOut => c_long::from(error(libc::ETIMEDOUT)),
            }
        }
        libc::FUTEX_WAKE => calls::wake(address, value, u32::MAX),
        libc::FUTEX_WAKE_BITSET => calls::wake(address, value, low(bits)),
        _ => c_long::from(error(libc::ENOSYS)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(place: *mut c_void, len: size_t, flags: c_uint) -> ssize_t {
    if turn::simulated() {
        if len > 0 {
            // SAFETY: the caller gives a place for `len` bytes; zeroed first, so that a slice of them may be made.
            let bytes = unsafe {
                ptr::write_bytes(place.cast::<u8>(), 0, len);
                std::slice::from_raw_parts_mut(place.cast::<u8>(), len)
            };
            calls::fill_random(bytes);
        }
        return len.cast_signed();
    }
    let real = real!(c"getrandom": fn(*mut c_void, size_t, c_uint) -> ssize_t);
    // SAFETY: the caller's own call.
    unsafe { real(place, len, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(place: *mut c_void, len: size_t) -> c_int {
    if turn::simulated() {
        // SAFETY: the caller gives a place for `len` bytes.
        unsafe { getrandom(place, len, 0) };
        return 0;
    }
    let real = real!(c"getentropy": fn(*mut c_void, size_t) -> c_int);
    // SAFETY: the caller's own call.
    unsafe { real(place, len) }
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;

/// What a simulated thread is started with.
struct Begin {
    birth: Birth,
    start: Start,
    argument: *mut c_void,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    let real =
        real!(c"pthread_create": fn(*mut pthread_t, *const pthread_attr_t, Start, *mut c_void) -> c_int);
    let Some(birth) = turn::birth() else {
        // SAFETY: the caller's own call.
        return unsafe { real(thread, attributes, start, argument) };
    };
    let number = birth.number();
    let begin = Box::into_raw(Box::new(Begin {
        birth,
        start,
        argument,
    }));
    // SAFETY: the caller's own call, but for the function and its argument, which `begin` takes over.
    let result = unsafe { real(thread, attributes, begin_thread, begin.cast()) };
    if result == 0 {
        // SAFETY: pthread_create(3) has stored the new thread's handle there.
        calls::thread_begun(unsafe { thread.read() } as usize, number);
    } else {
        // SAFETY: no thread began, so the box is still ours alone.
        drop(unsafe { Box::from_raw(begin) });
        calls::thread_not_begun(number);
    }
    result
}

extern "C" fn begin_thread(begin: *mut c_void) -> *mut c_void {
    // SAFETY: `pthread_create` above made this box for this thread and gave it up.
    let Begin {
        birth,
        start,
        argument,
    } = *unsafe { Box::from_raw(begin.cast::<Begin>()) };
    at_thread_end(birth.number());
    birth.adopt();
    start(argument)
}

/// Has the calling thread's turn handed on after its last destructor: those of thread-local values run before a key's.
fn at_thread_end(number: usize) {
    static KEY: OnceLock<pthread_key_t> = OnceLock::new();
    let key = *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: a place for the key, and a destructor that takes any value.
        let made = unsafe { libc::pthread_key_create(&raw mut key, Some(thread_ends)) };
        assert_eq!(made, 0, "a key for thread ends can be made");
        key
    });
    // The value is never followed; it must only not be null.
    let value: *const c_void = ptr::without_provenance(number + 1);
    // SAFETY: the key was made above and is never deleted.
    unsafe { libc::pthread_setspecific(key, value) };
}

unsafe extern "C" fn thread_ends(_: *mut c_void) {
    turn::thread_ends();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    // In the machine first; what is left of the thread then ends by itself.
    calls::join(thread as usize);
    let real = real!(c"pthread_join": fn(pthread_t, *mut *mut c_void) -> c_int);
    // SAFETY: the caller's own call.
    unsafe { real(thread, value) }
}

/// Repeats a look that does not wait until it finds something or the time is up.
fn look_until(timeout_ns: Option<u64>, descriptor: Option<c_int>, mut look: impl FnMut() -> c_int) -> c_int {
    let deadline = timeout_ns.map(calls::deadline_after);
    loop {
        let found = look();
        if found != 0 || timeout_ns == Some(0) {
            calls::maybe_give_way();
            return found;
        }
        if calls::await_events(descriptor, deadline) == Waited::TimedOut {
            return look();
        }
    }
}

fn timeout_ns(ms: c_int) -> Option<u64> {
    u64::try_from(ms).ok().map(|ms| ms * 1_000_000)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout_ms: c_int,
) -> c_int {
    let real = real!(c"epoll_wait": fn(c_int, *mut epoll_event, c_int, c_int) -> c_int);
    if turn::simulated() {
        // SAFETY: the caller's own call, only with another timeout.
        return look_until(timeout_ns(timeout_ms), Some(epoll), || unsafe {
            real(epoll, events, most, 0)
        });
    }
    // SAFETY: the caller's own call.
    unsafe { real(epoll, events, most, timeout_ms) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout_ms: c_int,
    signals: *const sigset_t,
) -> c_int {
    let real = real!(c"epoll_pwait": fn(c_int, *mut epoll_event, c_int, c_int, *const sigset_t) -> c_int);
    if turn::simulated() {
        // SAFETY: the caller's own call, only with another timeout.
        return look_until(timeout_ns(timeout_ms), Some(epoll), || unsafe {
            real(epoll, events, most, 0, signals)
        });
    }
    // SAFETY: the caller's own call.
    unsafe { real(epoll, events, most, timeout_ms, signals) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(descriptors: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int {
    let real = real!(c"poll": fn(*mut pollfd, nfds_t, c_int) -> c_int);
    if turn::simulated() {
        // SAFETY: the caller's own call, only with another timeout.
        return look_until(timeout_ns(timeout_ms), None, || unsafe {
            real(descriptors, count, 0)
        });
    }
    // SAFETY: the caller's own call.
    unsafe { real(descriptors, count, timeout_ms) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ppoll(
    descriptors: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    signals: *const sigset_t,
) -> c_int {
    let real = real!(c"ppoll": fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t) -> c_int);
    if turn::simulated() {
        // SAFETY: the caller gives a time or nothing.
        let timeout_ns = (!timeout.is_null()).then(|| in_ns(unsafe { timeout.read() }));
        let at_once = as_timespec(0);
        // SAFETY: the caller's own call, only with another timeout.
        return look_until(timeout_ns, None, || unsafe {
            real(descriptors, count, &raw const at_once, signals)
        });
    }
    // SAFETY: the caller's own call.
    unsafe { real(descriptors, count, timeout, signals) }
}

/// Noted: those who wait for descriptors look again afterwards.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, len: size_t) -> ssize_t {
    let real = real!(c"write": fn(c_int, *const c_void, size_t) -> ssize_t);
    // SAFETY: the caller's own call.
    let written = unsafe { real(descriptor, bytes, len) };
    if turn::simulated() {
        turn::note_write();
        // Only those that wake somebody: who loses the turn, and perhaps for good, at a print holds everybody's lock on the output.
        if descriptor > libc::STDERR_FILENO {
            calls::maybe_give_way();
        }
    }
    written
}

/// Which of these epoll instances, for which threads of this process wait, have something.
pub(super) fn readable(descriptors: &[c_int]) -> Vec<bool> {
    let borrowed: Vec<BorrowedFd<'_>> = descriptors
        .iter()
        // SAFETY: the thread that waits for it has been given it by its owner, who keeps it open during that call.
        .map(|descriptor| unsafe { BorrowedFd::borrow_raw(*descriptor) })
        .collect();
    real::readable(&borrowed)
}
