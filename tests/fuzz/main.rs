//! Any bytes at all: nothing that a user writes makes kiln panic, hang, or point outside of the text.
//!
//! [`texts`] makes them up, [`everything`] puts them through whatever reads text, [`size`] through it in bulk.
//! `PROPTEST_CASES=100000 cargo test --test fuzz` looks for longer.

mod everything;
mod size;
mod texts;

use everything::{read_dockerfile, read_word};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes(bytes in any::<Vec<u8>>()) {
        read_dockerfile(&bytes);
        read_word(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text(text in any::<String>()) {
        read_dockerfile(text.as_bytes());
        read_word(&text);
    }

    #[test]
    fn what_looks_like_a_dockerfile(text in texts::dockerfile_like()) {
        read_dockerfile(text.as_bytes());
    }

    #[test]
    fn what_looks_like_a_word(text in texts::word_like()) {
        read_word(&text);
    }

    #[test]
    fn dockerfiles_with_damage(bytes in texts::damaged()) {
        read_dockerfile(&bytes);
    }
}
