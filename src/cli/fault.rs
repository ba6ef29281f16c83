//! A fault of kiln's own: what a panic comes to.
//!
//! The process ends at once, as after `kill -9`. What it was writing has no name yet, its sandboxes and helpers end with it, and the next
//! build sweeps what it was working on. So the release program does without the tables and code that unwinding takes, a seventh of it.

use super::report::Exit;

/// Has every panic from now on, of whatever thread, say what it is and end the process.
#[expect(clippy::print_stderr, reason = "the terminal may be what panicked")]
pub(super) fn end_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        eprintln!(
            "kiln: this is a fault of kiln's own, not of your build: please report the lines above, and what was built"
        );
        std::process::exit(Exit::Internal.code().into());
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    const PANICS: &str = "KILN_TEST_PANICS";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "how this test tells itself what to do")]
    fn a_panic_of_any_thread_ends_the_process_and_says_whose_fault_it_is() {
        if std::env::var_os(PANICS).is_some() {
            super::end_on_panic();
            let _ = std::thread::spawn(|| panic!("out of order")).join();
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "cli::fault::tests::a_panic_of_any_thread_ends_the_process_and_says_whose_fault_it_is";
        let ended = Command::new(this).args(["--exact", name, "--nocapture"]).env(PANICS, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(5), "{said}");
        assert!(said.contains("out of order") && said.contains("a fault of kiln's own"), "{said}");
    }
}
