//! Leaves nothing behind when a run is interrupted: a measurement may have written gigabytes.

use std::io;
use std::path::PathBuf;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::load::runtime;

/// What a shell expects of a process that ended by SIGINT.
const EXIT_CODE: i32 = 130;

/// Removes a folder and ends the process when it is told to end (SIGINT, SIGTERM). Servers it started end by themselves:
/// their input closes with the process.
///
/// # Errors
/// When signals cannot be listened for.
pub(crate) fn remove_when_interrupted(folder: PathBuf) -> io::Result<()> {
    let runtime = runtime()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        // What cannot be removed is the system's to clean up.
        let _ = std::fs::remove_dir_all(folder);
        std::process::exit(EXIT_CODE);
    };
    thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(wait)?;
    Ok(())
}
