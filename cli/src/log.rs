//! Logging to stderr, and what a panic does: it is logged, and the whole process ends.

use std::panic::PanicHookInfo;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;

/// Sends log lines to stderr.
///
/// # Errors
/// When the filter cannot be read.
pub(crate) fn start(filter: Option<&str>, default: &str) -> Result<(), Failure> {
    let text = filter.unwrap_or(default);
    // The quorum's library tells of every step, and of a voter that is away as an error: ours says what matters.
    let filter = match text.contains("openraft") {
        true => text.to_owned(),
        false => format!("{text},openraft=off"),
    };
    let filter = EnvFilter::builder().parse(&filter).map_err(|error| {
        Failure::usage(format!("--log {text}: {error}"))
            .hint("give error, warn, info or debug, or targets such as keylane_broker=debug,info")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .finish()
        .init();
    Ok(())
}

/// Makes a panic of any thread end the process: half a server would hold connections and answer nothing.
pub(crate) fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        log_panic(panic);
        std::process::abort();
    }));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    let message = text.unwrap_or("no message");
    let place = panic.location().map(ToString::to_string);
    let backtrace = std::backtrace::Backtrace::force_capture();
    tracing::error!(place, %backtrace, "this is a bug, the process ends: {message}");
}
