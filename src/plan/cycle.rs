//! Stages that need each other, in a circle: what stands in the way of any order.

use super::references::references;
use super::stage::{Base, Stages};

/// For each stage, which circle it is in; stages of one circle, and no others, have the same number.
pub(super) type Circles = Vec<usize>;

impl Stages<'_> {
    /// Whether the stages at `one` and `other` need each other, over any number of stages between.
    pub(super) fn need_each_other(&self, one: usize, other: usize) -> bool {
        let circles = self.circles.get_or_init(|| circles(&self.needs()));
        circles[one] == circles[other]
    }

    /// The stages that each stage names, later ones as well.
    fn needs(&self) -> Vec<Vec<usize>> {
        let needs = self.all.iter().enumerate().map(|(at, stage)| {
            let named = stage.body.iter().flat_map(|instruction| references(instruction)).filter_map(|(from, copy)| {
                let name = from.text.to_lowercase();
                let named = self.places.before(&name, at).or_else(|| self.places.after(&name, at));
                named.or_else(|| name.parse().ok().filter(|stage| copy && *stage < self.all.len()))
            });
            let base = match stage.base {
                Base::Stage(base) => Some(base),
                _ => None,
            };
            named.chain(base).collect()
        });
        needs.collect()
    }
}

/// Parts a graph into circles: walks it once, and then against the arrows, last finished first.
fn circles(arrows: &[Vec<usize>]) -> Circles {
    let mut against = vec![Vec::new(); arrows.len()];
    for (from, all) in arrows.iter().enumerate() {
        all.iter().for_each(|to| against[*to].push(from));
    }
    let mut order = Vec::new();
    let mut seen = vec![false; arrows.len()];
    (0..arrows.len()).for_each(|start| walk(arrows, start, &mut seen, &mut order));
    let mut circles = vec![0; arrows.len()];
    let mut seen = vec![false; arrows.len()];
    for start in order.into_iter().rev() {
        let mut circle = Vec::new();
        walk(&against, start, &mut seen, &mut circle);
        circle.into_iter().for_each(|member| circles[member] = start);
    }
    circles
}

/// Adds what can be reached from `start` and was not seen before, each after all that it leads to. The way is kept in a
/// list, since it may be as long as a file.
fn walk(arrows: &[Vec<usize>], start: usize, seen: &mut [bool], finished: &mut Vec<usize>) {
    if std::mem::replace(&mut seen[start], true) {
        return;
    }
    let mut way = vec![(start, arrows[start].iter())];
    while let Some((at, next)) = way.last_mut() {
        match next.next() {
            Some(to) if !std::mem::replace(&mut seen[*to], true) => way.push((*to, arrows[*to].iter())),
            Some(_) => {}
            None => {
                finished.push(*at);
                way.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_back_is_a_circle() {
        let found = circles(&[vec![1], vec![2, 4], vec![0], vec![2], vec![]]);
        assert!(found[0] == found[1] && found[1] == found[2]);
        assert!(found[3] != found[0] && found[4] != found[0] && found[3] != found[4]);
    }

    #[test]
    fn a_long_way_needs_no_stack() {
        let long = 100_000;
        let found = circles(&(0..long).map(|at| vec![(at + 1) % long]).collect::<Vec<_>>());
        assert!(found.iter().all(|circle| *circle == found[0]));
    }
}
