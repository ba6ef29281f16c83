//! The argument of `--chmod`: an octal number, or clauses as in chmod(1) (`u=rwX,go=rX`, `+x`, `go=u`).
//!
//! Octal sets the same bits on files and directories. Symbolic clauses change what an entry has, with umask 0 and in the
//! manner of BSD's chmod, as in BuildKit: `=` drops set-id bits of directories too, `t` belongs to nobody's letter.

/// A parsed `--chmod`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chmod {
    /// These twelve bits, for every entry.
    Octal(u32),
    /// Changes, applied in order to the bits of each entry.
    Symbolic(Vec<Change>),
}

/// One change of an entry's bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Takes these bits away.
    Clear(u32),
    /// Adds these bits.
    Set(u32),
    /// Adds these of the execute bits if it is a directory, or if the entry had any before all changes.
    Search(u32),
    /// Puts the three bits of a class where others have theirs.
    Copy {
        /// How far the bits are shifted: 6 for user, 3 for group, 0 for others.
        from: u32,
        /// The bits that may change.
        to: u32,
        /// `=`, `+` or `-`.
        operator: Operator,
    },
}

/// What is done with bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Remove,
    /// `=`
    Set,
}

/// Why a `--chmod` cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChmodError {
    /// Digits that are not an octal number of twelve bits.
    #[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
    Octal(String),
    /// Neither digits nor clauses.
    #[error("invalid chmod parameter: '{0}': invalid syntax")]
    Symbolic(String),
}

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const OTHERS: u32 = 0o007;
const EXECUTE: u32 = 0o111;
/// What a clause without a letter in front is for.
const EVERYBODY: u32 = SET_USER_ID | SET_GROUP_ID | 0o777;
const ALL: u32 = EVERYBODY | STICKY;
/// What directories have that are made on the way to a destination.
const MADE_DIRECTORY: u32 = 0o755;

impl Chmod {
    /// Reads the expanded value of `--chmod`.
    pub fn parse(text: &str) -> Result<Self, ChmodError> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= ALL);
            return bits.map(Self::Octal).ok_or_else(|| ChmodError::Octal(text.to_owned()));
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut changes).ok_or_else(|| ChmodError::Symbolic(text.to_owned()))?;
        }
        Ok(Self::Symbolic(changes))
    }

    /// Returns the twelve bits of an entry that has `mode` now.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(changes) => {
                let before = mode & ALL;
                let searchable = is_directory || before & EXECUTE != 0;
                changes.iter().fold(before, |mode, change| change.apply(mode, searchable))
            }
        }
    }

    /// Returns the bits of a directory that is made because something must be in it: only octal numbers change it, and
    /// only its permissions.
    pub fn made_directory(&self) -> u32 {
        match self {
            Self::Octal(bits) => bits & 0o777,
            Self::Symbolic(_) => MADE_DIRECTORY,
        }
    }
}

impl Change {
    fn apply(self, mode: u32, searchable: bool) -> u32 {
        match self {
            Self::Clear(bits) => mode & !bits,
            Self::Set(bits) => mode | bits,
            Self::Search(bits) => mode | if searchable { bits } else { 0 },
            Self::Copy { from, to, operator } => {
                let bits = (((mode >> from) & OTHERS) * EXECUTE) & to;
                match operator {
                    Operator::Add => mode | bits,
                    Operator::Remove => mode & !bits,
                    Operator::Set => (mode & !(to & 0o777)) | bits,
                }
            }
        }
    }
}

/// `[ugoa...]([+-=][perms...])...`
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let mut letters = clause.chars().peekable();
    let mut who = 0;
    while let Some(bits) = letters.peek().copied().and_then(bits_of) {
        who |= bits;
        letters.next();
    }
    letters.peek()?;
    while let Some(letter) = letters.next() {
        let operator = match letter {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        // What only others may do has nothing to do with set-id and sticky bits.
        let may_be_special = who & !OTHERS != 0 || who == 0;
        let (mut bits, mut search, mut sticky, mut copied) = (0, 0, false, false);
        while let Some(letter) = letters.next_if(|letter| !"+-=".contains(*letter)) {
            match letter {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= EXECUTE,
                'X' if operator == Operator::Remove => bits |= EXECUTE,
                'X' => search = EXECUTE,
                's' if may_be_special => bits |= SET_USER_ID | SET_GROUP_ID,
                't' if may_be_special => sticky = true,
                's' | 't' => {}
                'u' | 'g' | 'o' => {
                    push(changes, operator, affected(who, sticky), bits, search, bits != 0);
                    (bits, search, copied) = (0, 0, true);
                    let from = match letter {
                        'u' => 6,
                        'g' => 3,
                        _ => 0,
                    };
                    changes.push(Change::Copy { from, to: affected(who, false) & 0o777, operator });
                }
                _ => return None,
            }
        }
        let bits = bits | if sticky { STICKY } else { 0 };
        push(changes, operator, affected(who, sticky), bits, search, bits != 0 || !copied);
    }
    Some(())
}

/// Which bits a clause may change. `t` is a letter of its own: without any other it stands alone.
fn affected(who: u32, sticky: bool) -> u32 {
    match (who, sticky) {
        (0, true) => STICKY,
        (0, false) => EVERYBODY,
        (who, true) => who | STICKY,
        (who, false) => who,
    }
}

/// Adds the changes of one operator with its letters, if it has any or is `whole`: `=` alone clears, but after `u`, `g` or
/// `o` there is nothing left to clear.
fn push(changes: &mut Vec<Change>, operator: Operator, affected: u32, bits: u32, search: u32, whole: bool) {
    match operator {
        Operator::Set if whole => changes.extend([Change::Clear(affected), Change::Set(bits & affected)]),
        Operator::Add if bits != 0 => changes.push(Change::Set(bits & affected)),
        Operator::Remove if bits != 0 => changes.push(Change::Clear(bits & affected)),
        _ => {}
    }
    if search != 0 {
        changes.push(Change::Search(search & affected));
    }
}

fn bits_of(letter: char) -> Option<u32> {
    match letter {
        'u' => Some(SET_USER_ID | 0o700),
        'g' => Some(SET_GROUP_ID | 0o070),
        'o' => Some(OTHERS),
        'a' => Some(EVERYBODY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, mode: u32, is_directory: bool, want: u32) {
        let got = Chmod::parse(text).expect("valid").apply(mode, is_directory);
        assert_eq!(got, want, "{text} on {mode:o} gave {got:o}");
    }

    #[test]
    fn octal_ignores_what_was_there() {
        check("0644", 0o4755, true, 0o644);
        check("7777", 0, false, 0o7777);
        check("0", 0o777, false, 0);
    }

    #[test]
    fn clauses_work_as_in_chmod() {
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("+x", 0o644, false, 0o755);
        check("go=u", 0o640, false, 0o666);
        check("a-w", 0o777, false, 0o555);
        check("u+s,g-s", 0o2755, false, 0o4755);
        check("+t", 0o755, true, 0o1755);
        check("u=rw", 0o4755, false, 0o655);
        check("u-x+w", 0o755, false, 0o655);
        check("a+X", 0o644, false, 0o644);
        check("a+x,a+X", 0o640, false, 0o751);
        check("a-X", 0o755, true, 0o644);
        check("g=uw", 0o751, false, 0o721);
        check("g=uo", 0o750, false, 0o700);
        check("o-u", 0o657, false, 0o651);
        check("=", 0o7777, false, 0o1000);
    }

    // As BuildKit has it, and chmod(1) of BSD.
    #[test]
    fn special_bits_differ_from_gnu_chmod() {
        check("u=rw", 0o4755, true, 0o655);
        check("a=rX", 0o1777, true, 0o1555);
        check("o+t", 0o755, true, 0o755);
        check("+xt", 0o644, false, 0o1644);
        check("u=rwx,g=u,o=", 0o1777, true, 0o1770);
    }

    #[test]
    fn directories_on_the_way_take_the_permissions_of_an_octal_number() {
        let made = |text: &str| Chmod::parse(text).expect("valid").made_directory();
        assert_eq!((made("4711"), made("0"), made("u=rwx,go="), made("+t")), (0o711, 0, 0o755, 0o755));
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(matches!(Chmod::parse("999"), Err(ChmodError::Octal(_))));
        assert!(matches!(Chmod::parse("17777"), Err(ChmodError::Octal(_))));
        assert!(matches!(Chmod::parse("777777777777777"), Err(ChmodError::Octal(_))));
        for text in ["u", "z=x", "u=q", "u=rw,", "rw", "-é"] {
            assert!(matches!(Chmod::parse(text), Err(ChmodError::Symbolic(_))), "{text}");
        }
    }
}
