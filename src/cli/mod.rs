//! The command line: arguments to requests, events to progress, outcomes to reports and exit codes.
//!
//! ```text
//! args (as typed) --request, environment--> BuildRequest --builder--> outcome --report, metadata--> terminal, files
//!                                              events --progress::{plain, tty, rawjson}--> standard error
//! ```
//!
//! One verb, one file. Only here is the environment read, the clock asked and something printed. Standard
//! output carries results (an image id, a list, an archive); everything else goes to standard error.

mod annotations;
mod args;
mod call;
mod environment;
mod fields;
mod names;
mod outputs;
mod request;
mod secrets;
mod sources;
mod usage;
