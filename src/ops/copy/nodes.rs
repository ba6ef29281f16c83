//! The entries of a layer to be, by path.
//!
//! A selection is in the order of a layer, so most of what is put comes after all that was put before: it is added to a list,
//! and only what comes out of order needs a map.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::destination::Node;
use crate::layer::path_order;

#[derive(Default)]
pub(super) struct Nodes {
    /// Sorted.
    run: Vec<(Box<[u8]>, Node)>,
    rest: BTreeMap<LayerPath, Node>,
}

/// A path in the order of a layer.
#[derive(PartialEq, Eq)]
struct LayerPath(Box<[u8]>);

impl Ord for LayerPath {
    fn cmp(&self, other: &Self) -> Ordering {
        path_order(&self.0, &other.0)
    }
}

impl PartialOrd for LayerPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Nodes {
    pub(super) fn get(&self, path: &[u8]) -> Option<&Node> {
        match self.in_run(path) {
            Ok(at) => Some(&self.run[at].1),
            Err(_) if self.rest.is_empty() => None,
            Err(_) => self.rest.get(&LayerPath(path.into())),
        }
    }

    pub(super) fn get_mut(&mut self, path: &[u8]) -> Option<&mut Node> {
        match self.in_run(path) {
            Ok(at) => Some(&mut self.run[at].1),
            Err(_) => self.rest.get_mut(&LayerPath(path.into())),
        }
    }

    pub(super) fn insert(&mut self, path: Vec<u8>, node: Node) {
        match self.in_run(&path) {
            Ok(at) => self.run[at].1 = node,
            Err(at) if at == self.run.len() => {
                // Before it was the last of all, it may have been out of order.
                if !self.rest.is_empty() {
                    self.rest.remove(&LayerPath(path.as_slice().into()));
                }
                self.run.push((path.into(), node));
            }
            Err(_) => _ = self.rest.insert(LayerPath(path.into()), node),
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.run.retain(|(path, _)| keep(path));
        self.rest.retain(|LayerPath(path), _| keep(path));
    }

    /// Returns the place in the list, or where the path would be.
    fn in_run(&self, path: &[u8]) -> Result<usize, usize> {
        match self.run.last() {
            Some((last, _)) if path_order(last, path).is_ge() => {
                self.run.binary_search_by(|(other, _)| path_order(other, path))
            }
            _ => Err(self.run.len()),
        }
    }

    /// Returns all in the order of a layer.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (Vec<u8>, Node)> {
        let mut run = self.run.into_iter().peekable();
        let mut rest = self.rest.into_iter().map(|(LayerPath(path), node)| (path, node)).peekable();
        let next = move || match (run.peek(), rest.peek()) {
            (Some((one, _)), Some((other, _))) if path_order(one, other).is_gt() => rest.next(),
            (Some(_), _) => run.next(),
            (None, _) => rest.next(),
        };
        std::iter::from_fn(next).map(|(path, node)| (path.into_vec(), node))
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::SelectedEntry;
    use super::*;
    use crate::layer::TarEntry;

    fn node(number: u32) -> Node {
        let entry = TarEntry { mode: number, ..TarEntry::plain_directory(Vec::new()) };
        Node::own(0, SelectedEntry::new(entry))
    }

    fn mode(node: &Node) -> u32 {
        match &node.what {
            super::super::destination::What::Own(own, _) => own.entry.mode,
            _ => unreachable!(),
        }
    }

    #[test]
    fn it_is_a_map_in_the_order_of_a_layer() {
        let paths = ["b", "b/x", "b-c", "a", "", "c", "b/y", "b", "a/z", "c", "d/d"];
        for removed in ["", "b", "c", "d"] {
            let (mut nodes, mut expected) = (Nodes::default(), BTreeMap::new());
            for (number, path) in (0..).zip(paths) {
                nodes.insert(path.into(), node(number));
                expected.insert(LayerPath(path.as_bytes().into()), number);
                if path == "c" {
                    nodes.retain(|path| path != removed.as_bytes());
                    expected.retain(|LayerPath(path), _| path.as_ref() != removed.as_bytes());
                }
                for path in paths {
                    let found = nodes.get(path.as_bytes()).map(mode);
                    assert_eq!(found, expected.get(&LayerPath(path.as_bytes().into())).copied(), "{path}");
                    assert_eq!(nodes.get_mut(path.as_bytes()).map(|node| mode(node)), found);
                }
            }
            let all: Vec<_> = nodes.into_iter().map(|(path, node)| (path, mode(&node))).collect();
            let expected: Vec<_> =
                expected.into_iter().map(|(LayerPath(path), mode)| (path.into_vec(), mode)).collect();
            assert_eq!(all, expected);
        }
    }
}
