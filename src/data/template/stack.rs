//! Parsers of strangers' files recurse deeper than a default thread's stack; here they get one of their own.

use std::cell::Cell;

use super::super::error::Error;

/// Enough for the deepest template of the accepted size, by measurement; only the pages that are touched cost memory.
const STACK: usize = 64 << 20;

thread_local! {
    /// Whether this thread is one of ours.
    static LARGE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread with a large stack, this one where it is such a thread already. A panic on a new thread
/// becomes an error.
pub(crate) fn on_big_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    if LARGE.get() {
        return Ok(work());
    }
    let marked = || {
        LARGE.set(true);
        work()
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("reader".into())
            .stack_size(STACK)
            .spawn_scoped(scope, marked)
            .map_err(|e| Error::Thread(e.to_string()))?
            .join()
            .map_err(|_| Error::Thread("the library that reads the file panicked on it".into()))
    })
}
