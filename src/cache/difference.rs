//! Why a step has another key than it had: the facts of both, compared.

use std::collections::BTreeMap;

/// Facts of a step, as [`super::explain`] writes them: a line `name = value` each.
type Values<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// A fact that is not the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// Its values that were there before and are not now.
    pub before: Vec<String>,
    /// Its values that are there now and were not before.
    pub now: Vec<String>,
}

/// Returns the facts that differ, by name. Values that only changed places are told as they all were and are.
pub fn differences(before: &str, now: &str) -> Vec<Difference> {
    let (before, now) = (values(before), values(now));
    let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
    let none = Vec::new();
    let compared = names.filter_map(|name| {
        let (before, now) = (before.get(name).unwrap_or(&none), now.get(name).unwrap_or(&none));
        (before != now).then(|| Difference::new(name, before, now))
    });
    compared.collect()
}

fn values(facts: &str) -> Values<'_> {
    let mut values = Values::new();
    for (name, value) in facts.lines().filter_map(|line| line.split_once(" = ")) {
        values.entry(name).or_default().push(value);
    }
    values
}

impl Difference {
    fn new(name: &str, before: &[&str], now: &[&str]) -> Self {
        let only = |these: &[&str], others: &[&str]| -> Vec<String> {
            these.iter().filter(|value| !others.contains(value)).map(|value| (*value).to_owned()).collect()
        };
        let all = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let (gone, come) = (only(before, now), only(now, before));
        let name = name.to_owned();
        match gone.is_empty() && come.is_empty() {
            true => Self { name, before: all(before), now: all(now) },
            false => Self { name, before: gone, now: come },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &str, now: &str) -> Vec<String> {
        let tell = |d: Difference| format!("{}: {} -> {}", d.name, d.before.join(","), d.now.join(","));
        differences(before, now).into_iter().map(tell).collect()
    }

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let before = "op = run/1\nargv = sh\nargv = make\nenv = A=1\nenv = B=2\nlayer = x\n";
        assert_eq!(told(before, before), [""; 0]);
        assert_eq!(told(before, &before.replace("B=2", "B=3")), ["env: B=2 -> B=3"]);
        assert_eq!(told(before, &before.replace("env = B=2\n", "")), ["env: B=2 -> "]);
        assert_eq!(told(before, &format!("{before}device = gpu\n")), ["device:  -> gpu"]);
        assert_eq!(told("a = 1\na = 2\n", "a = 2\na = 1\n"), ["a: 1,2 -> 2,1"]);
        assert_eq!(told("a = 1\n", "a = 1\na = 1\n"), ["a: 1 -> 1,1"]);
    }
}
