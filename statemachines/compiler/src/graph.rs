//! From requisites to a nesting of series and parallel parts, plus joins for the edges that do not nest.
//!
//! Invariant: whatever the nesting lets a stage wait for is one of its requisites, direct or not, so that no stage
//! starts late. An edge that the nesting cannot express becomes a *join*: the stage waits for records instead.

use std::collections::HashMap;

/// A nesting of steps.
#[derive(Clone, Debug, PartialEq)]
pub enum Flow<T> {
    /// One step.
    Step(T),
    /// One after the other; never nested directly in another series.
    Series(Vec<Flow<T>>),
    /// Side by side; two parts or more, never nested directly in another parallel.
    Parallel(Vec<Flow<T>>),
}

/// The order in which a machine walks the stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Walk {
    /// Stages by index.
    pub flow: Flow<usize>,
    /// Whether the stage needs a join, by index.
    pub joins: Vec<bool>,
}

/// Deepest nesting of `Parallel` states that is emitted. Each level is four levels of JSON, and readers of JSON give
/// up at 128; deeper parts are hung on the first level behind a join.
pub const MAX_DEPTH: usize = 20;

/// Stages in an order in which every stage comes after its requisites, or the stages that lie on a cycle or behind one.
///
/// # Errors
/// The indices that no order exists for.
pub fn topological_order(requisites: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = requisites.iter().map(Vec::len).collect();
    let mut dependants: Vec<Vec<usize>> = vec![Vec::new(); requisites.len()];
    for (stage, list) in requisites.iter().enumerate() {
        for requisite in list {
            if let Some(of) = dependants.get_mut(*requisite) {
                of.push(stage);
            }
        }
    }
    let mut order: Vec<usize> = Vec::with_capacity(requisites.len());
    order.extend((0..requisites.len()).filter(|stage| waiting.get(*stage) == Some(&0)));
    let mut at = 0;
    while let Some(stage) = order.get(at).copied() {
        at += 1;
        for dependant in dependants.get(stage).into_iter().flatten() {
            if let Some(left) = waiting.get_mut(*dependant) {
                *left -= 1;
                if *left == 0 {
                    order.push(*dependant);
                }
            }
        }
    }
    if order.len() == requisites.len() {
        Ok(order)
    } else {
        Err((0..requisites.len())
            .filter(|stage| waiting.get(*stage).is_some_and(|left| *left > 0))
            .collect())
    }
}

/// How a machine walks an acyclic graph; `order` is its [`topological_order`].
///
/// A stage of `ends_early` may be complete while its sub-stages are still at work: what depends on it joins, so that it
/// need not wait for them.
#[must_use]
pub fn walk(requisites: &[Vec<usize>], order: &[usize], ends_early: &[bool]) -> Walk {
    let reduced = without_implied(requisites, order);
    let mut cut = vec![false; requisites.len()];
    loop {
        let walk = Reduction::new(&reduced, order, &cut, ends_early).run();
        let mut too_deep = Vec::new();
        entries_below(&walk.flow, 0, &mut too_deep);
        if too_deep.is_empty() {
            return walk;
        }
        for stage in too_deep {
            if let Some(flag) = cut.get_mut(stage) {
                *flag = true;
            }
        }
    }
}

/// The first stages of every branch that lies just below [`MAX_DEPTH`] parallel levels.
fn entries_below(flow: &Flow<usize>, depth: usize, found: &mut Vec<usize>) {
    match flow {
        Flow::Step(_) => {}
        Flow::Series(parts) => parts
            .iter()
            .for_each(|part| entries_below(part, depth, found)),
        Flow::Parallel(parts) if depth == MAX_DEPTH => {
            parts.iter().for_each(|part| entries(part, found));
        }
        Flow::Parallel(parts) => parts
            .iter()
            .for_each(|part| entries_below(part, depth + 1, found)),
    }
}

/// The steps that a flow starts with.
fn entries(flow: &Flow<usize>, found: &mut Vec<usize>) {
    match flow {
        Flow::Step(stage) => found.push(*stage),
        Flow::Series(parts) => parts.iter().take(1).for_each(|part| entries(part, found)),
        Flow::Parallel(parts) => parts.iter().for_each(|part| entries(part, found)),
    }
}

/// The requisites that no other requisite implies (the transitive reduction).
fn without_implied(requisites: &[Vec<usize>], order: &[usize]) -> Vec<Vec<usize>> {
    let words = requisites.len().div_ceil(64);
    let mut position = vec![0_usize; requisites.len()];
    for (at, stage) in order.iter().enumerate() {
        if let Some(slot) = position.get_mut(*stage) {
            *slot = at;
        }
    }
    let place = |stage: usize| position.get(stage).copied().unwrap_or(0);
    let mut ancestors: Vec<Vec<u64>> = vec![Vec::new(); requisites.len()];
    let mut reduced = vec![Vec::new(); requisites.len()];
    for stage in order {
        let mut list = requisites.get(*stage).cloned().unwrap_or_default();
        // The latest first: only a later one can imply an earlier one.
        list.sort_by_key(|requisite| std::cmp::Reverse(place(*requisite)));
        list.dedup();
        let mut all = vec![0_u64; words];
        let mut kept = Vec::new();
        for requisite in list {
            let (word, bit) = (requisite / 64, 1_u64 << (requisite % 64));
            if all.get(word).is_some_and(|set| set & bit != 0) {
                continue;
            }
            kept.push(requisite);
            if let Some(set) = all.get_mut(word) {
                *set |= bit;
            }
            for (into, from) in all
                .iter_mut()
                .zip(ancestors.get(requisite).into_iter().flatten())
            {
                *into |= from;
            }
        }
        if let (Some(set), Some(slot)) = (ancestors.get_mut(*stage), reduced.get_mut(*stage)) {
            *set = all;
            *slot = kept;
        }
    }
    reduced
}

/// A part of the graph that has been reduced to one node.
#[derive(Clone, Debug)]
enum Part {
    Stage(usize),
    Series(usize, usize),
    Parallel(usize, usize),
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Index into the parts; none once the node went into another.
    part: Option<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Merges nodes in series and in parallel until one is left; where nothing merges, an edge becomes a join.
///
/// Nodes are numbered by the position of their first stage in the topological order.
struct Reduction {
    nodes: Vec<Node>,
    parts: Vec<Part>,
    joins: Vec<bool>,
    dirty: Vec<usize>,
    /// Nodes by what is before and after them; entries may be out of date and are checked.
    alike: HashMap<(u64, u64), usize>,
}

impl Reduction {
    fn new(requisites: &[Vec<usize>], order: &[usize], cut: &[bool], ends_early: &[bool]) -> Self {
        let mut position = vec![0_usize; order.len()];
        for (at, stage) in order.iter().enumerate() {
            if let Some(slot) = position.get_mut(*stage) {
                *slot = at;
            }
        }
        let mut joins = vec![false; order.len()];
        let mut nodes = vec![Node::default(); order.len()];
        for (at, stage) in order.iter().enumerate() {
            let is_cut = cut.get(*stage).copied().unwrap_or(false);
            let all = requisites.get(*stage).map_or(&[][..], Vec::as_slice);
            let mut before: Vec<usize> = all
                .iter()
                .filter(|requisite| !is_cut && ends_early.get(**requisite) != Some(&true))
                .filter_map(|requisite| position.get(*requisite).copied())
                .collect();
            if before.len() < all.len()
                && let Some(join) = joins.get_mut(*stage)
            {
                *join = true;
            }
            before.sort_unstable();
            for requisite in &before {
                if let Some(node) = nodes.get_mut(*requisite) {
                    // Stages come in order, so the list stays sorted.
                    node.after.push(at);
                }
            }
            if let Some(node) = nodes.get_mut(at) {
                node.part = Some(at);
                node.before = before;
            }
        }
        Self {
            dirty: (0..order.len()).rev().collect(),
            parts: order.iter().copied().map(Part::Stage).collect(),
            nodes,
            joins,
            alike: HashMap::new(),
        }
    }

    fn run(mut self) -> Walk {
        let mut at = 0;
        loop {
            while let Some(node) = self.dirty.pop() {
                self.merge(node);
            }
            // What has one node before it at most never gets a second: everything behind `at` is settled.
            while at < self.nodes.len() && self.before(at).len() < 2 {
                at += 1;
            }
            if at == self.nodes.len() {
                break;
            }
            self.join(at);
        }
        let left: Vec<usize> = self.nodes.iter().filter_map(|node| node.part).collect();
        let mut flows: Vec<Flow<usize>> = left.iter().map(|part| self.flow(*part)).collect();
        let flow = match (flows.pop(), flows.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                flows.push(last);
                Flow::Parallel(flatten_parallel(flows))
            }
            (None, _) => Flow::Series(Vec::new()),
        };
        Walk {
            flow,
            joins: self.joins,
        }
    }

    fn before(&self, node: usize) -> &[usize] {
        self.nodes.get(node).map_or(&[], |node| &node.before)
    }

    fn after(&self, node: usize) -> &[usize] {
        self.nodes.get(node).map_or(&[], |node| &node.after)
    }

    fn is_alive(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.part.is_some())
    }

    fn merge(&mut self, node: usize) {
        if !self.is_alive(node) {
            return;
        }
        if let [next] = *self.after(node)
            && self.before(next).len() == 1
        {
            self.merge_series(node, next);
            return;
        }
        if let [previous] = *self.before(node)
            && self.after(previous).len() == 1
        {
            self.merge_series(previous, node);
            return;
        }
        if self.before(node).is_empty() && self.after(node).is_empty() {
            // Everything that stands alone is put side by side at the end.
            return;
        }
        let key = (mix(self.before(node)), mix(self.after(node)));
        match self.alike.get(&key).copied() {
            Some(other)
                if other != node
                    && self.is_alive(other)
                    && self.before(other) == self.before(node)
                    && self.after(other) == self.after(node) =>
            {
                self.merge_parallel(node.min(other), node.max(other));
            }
            _ => {
                self.alike.insert(key, node);
            }
        }
    }

    /// `first` takes `second` in.
    fn take_in(&mut self, first: usize, second: usize, make: fn(usize, usize) -> Part) -> Node {
        let taken = self
            .nodes
            .get_mut(second)
            .map(std::mem::take)
            .unwrap_or_default();
        let number = self.parts.len();
        if let Some(node) = self.nodes.get_mut(first)
            && let (Some(one), Some(two)) = (node.part, taken.part)
        {
            self.parts.push(make(one, two));
            node.part = Some(number);
        }
        self.dirty.push(first);
        taken
    }

    fn merge_series(&mut self, first: usize, second: usize) {
        let taken = self.take_in(first, second, Part::Series);
        for next in &taken.after {
            if let Some(node) = self.nodes.get_mut(*next) {
                node.before.retain(|before| *before != second);
                insert_sorted(&mut node.before, first);
            }
            self.dirty.push(*next);
        }
        if let Some(node) = self.nodes.get_mut(first) {
            node.after = taken.after;
        }
    }

    fn merge_parallel(&mut self, first: usize, second: usize) {
        let taken = self.take_in(first, second, Part::Parallel);
        for previous in taken.before {
            if let Some(node) = self.nodes.get_mut(previous) {
                node.after.retain(|after| *after != second);
            }
            self.dirty.push(previous);
        }
        for next in taken.after {
            if let Some(node) = self.nodes.get_mut(next) {
                node.before.retain(|before| *before != second);
            }
            self.dirty.push(next);
        }
    }

    /// Gives up all edges into `node` but one: its first stages join instead.
    fn join(&mut self, node: usize) {
        // Best stays a node that has nothing else after it (they merge at once), then the latest.
        let Some(keep) = self
            .before(node)
            .iter()
            .copied()
            .max_by_key(|before| (self.after(*before).len() == 1, *before))
        else {
            return;
        };
        let given_up: Vec<usize> = self
            .before(node)
            .iter()
            .copied()
            .filter(|before| *before != keep)
            .collect();
        for before in given_up {
            if let Some(previous) = self.nodes.get_mut(before) {
                previous.after.retain(|after| *after != node);
            }
            self.dirty.push(before);
        }
        let part = self.nodes.get_mut(node).and_then(|this| {
            this.before = vec![keep];
            this.part
        });
        self.dirty.push(keep);
        self.dirty.push(node);
        let mut first = part.into_iter().collect::<Vec<_>>();
        while let Some(part) = first.pop() {
            match self.parts.get(part) {
                Some(Part::Stage(stage)) => {
                    if let Some(join) = self.joins.get_mut(*stage) {
                        *join = true;
                    }
                }
                Some(Part::Series(one, _)) => first.push(*one),
                Some(Part::Parallel(one, two)) => first.extend([*one, *two]),
                None => {}
            }
        }
    }

    /// The flow of a part, without recursion: a pipeline of a thousand stages in a row is a thousand parts deep.
    fn flow(&self, part: usize) -> Flow<usize> {
        enum Do {
            Visit(usize),
            Series,
            Parallel,
        }
        let mut to_do = vec![Do::Visit(part)];
        let mut done: Vec<Flow<usize>> = Vec::new();
        while let Some(next) = to_do.pop() {
            match next {
                Do::Visit(part) => match self.parts.get(part) {
                    Some(Part::Stage(stage)) => done.push(Flow::Step(*stage)),
                    Some(Part::Series(one, two)) => {
                        to_do.extend([Do::Series, Do::Visit(*two), Do::Visit(*one)]);
                    }
                    Some(Part::Parallel(one, two)) => {
                        to_do.extend([Do::Parallel, Do::Visit(*two), Do::Visit(*one)]);
                    }
                    None => {}
                },
                Do::Series => {
                    if let (Some(two), Some(one)) = (done.pop(), done.pop()) {
                        done.push(in_series(one, two));
                    }
                }
                Do::Parallel => {
                    if let (Some(two), Some(one)) = (done.pop(), done.pop()) {
                        done.push(Flow::Parallel(flatten_parallel(vec![one, two])));
                    }
                }
            }
        }
        done.pop().unwrap_or(Flow::Series(Vec::new()))
    }
}

/// One flow after another, flattened.
fn in_series(one: Flow<usize>, two: Flow<usize>) -> Flow<usize> {
    let mut parts = match one {
        Flow::Series(parts) => parts,
        other => vec![other],
    };
    match two {
        Flow::Series(more) => parts.extend(more),
        other => parts.push(other),
    }
    Flow::Series(parts)
}

fn flatten_parallel(flows: Vec<Flow<usize>>) -> Vec<Flow<usize>> {
    let mut parts = Vec::with_capacity(flows.len());
    for flow in flows {
        match flow {
            Flow::Parallel(more) => parts.extend(more),
            other => parts.push(other),
        }
    }
    // In the order of the file, whatever the order of the merges was.
    parts.sort_by_cached_key(first_stage);
    parts
}

fn first_stage(flow: &Flow<usize>) -> usize {
    match flow {
        Flow::Step(stage) => *stage,
        Flow::Series(parts) => parts.first().map_or(0, first_stage),
        Flow::Parallel(parts) => parts.iter().map(first_stage).min().unwrap_or(0),
    }
}

fn insert_sorted(list: &mut Vec<usize>, item: usize) {
    if let Err(at) = list.binary_search(&item) {
        list.insert(at, item);
    }
}

/// A hash of a set of nodes; fixed, so that the same graph is reduced the same way everywhere.
fn mix(nodes: &[usize]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for node in nodes {
        hash = (hash ^ (*node as u64).wrapping_add(1)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(requisites: &[&[usize]]) -> Walk {
        let requisites: Vec<Vec<usize>> = requisites.iter().map(|list| list.to_vec()).collect();
        let order = topological_order(&requisites).unwrap();
        walk(&requisites, &order, &[])
    }

    fn text(flow: &Flow<usize>) -> String {
        match flow {
            Flow::Step(stage) => stage.to_string(),
            Flow::Series(parts) => parts.iter().map(text).collect::<Vec<_>>().join(" "),
            Flow::Parallel(parts) => {
                format!("({})", parts.iter().map(text).collect::<Vec<_>>().join("|"))
            }
        }
    }

    #[test]
    fn a_chain_is_one_series() {
        assert_eq!(text(&walked(&[&[], &[0], &[1], &[2]]).flow), "0 1 2 3");
    }

    #[test]
    fn a_diamond_needs_no_join() {
        let walk = walked(&[&[], &[0], &[0], &[1, 2]]);
        assert_eq!(text(&walk.flow), "0 (1|2) 3");
        assert!(walk.joins.iter().all(|join| !join));
    }

    #[test]
    fn an_implied_requisite_costs_nothing() {
        let walk = walked(&[&[], &[0], &[0, 1]]);
        assert_eq!(text(&walk.flow), "0 1 2");
        assert!(walk.joins.iter().all(|join| !join));
    }

    #[test]
    fn two_layers_that_depend_on_each_other_fully_need_no_join() {
        let walk = walked(&[&[], &[], &[0, 1], &[0, 1], &[2, 3]]);
        assert_eq!(text(&walk.flow), "(0|1) (2|3) 4");
        assert!(walk.joins.iter().all(|join| !join));
    }

    #[test]
    fn an_edge_that_does_not_nest_becomes_one_join() {
        // 2 needs 0 and 1, 3 needs 1 only: nesting would make 3 wait for 0.
        let walk = walked(&[&[], &[], &[0, 1], &[1]]);
        assert_eq!(text(&walk.flow), "(0 2|1 3)");
        assert_eq!(walk.joins, [false, false, true, false]);
    }

    #[test]
    fn what_follows_a_stage_that_ends_before_its_sub_stages_joins() {
        let requisites = [vec![], vec![0], vec![1], vec![0, 2]];
        let order = topological_order(&requisites).unwrap();
        let walk = walk(&requisites, &order, &[true, false, false, false]);
        assert_eq!(text(&walk.flow), "(0|1 2 3)");
        assert_eq!(walk.joins, [false, true, false, false]);
    }

    #[test]
    fn a_cycle_has_no_order() {
        assert_eq!(
            topological_order(&[vec![], vec![0, 2], vec![1], vec![2]]),
            Err(vec![1, 2, 3])
        );
    }

    #[test]
    fn a_deep_comb_is_cut_into_shallow_parts() {
        // Stage 2i+1 is a leaf beside stage 2i+2, 200 times over.
        let mut requisites: Vec<Vec<usize>> = vec![vec![]];
        for step in 0..200 {
            requisites.push(vec![2 * step]);
            requisites.push(vec![2 * step]);
        }
        let order = topological_order(&requisites).unwrap();
        let walk = walk(&requisites, &order, &[]);
        fn depth(flow: &Flow<usize>) -> usize {
            match flow {
                Flow::Step(_) => 0,
                Flow::Series(parts) => parts.iter().map(depth).max().unwrap_or(0),
                Flow::Parallel(parts) => 1 + parts.iter().map(depth).max().unwrap_or(0),
            }
        }
        assert!(depth(&walk.flow) <= MAX_DEPTH + 1, "{}", depth(&walk.flow));
        assert!(walk.joins.iter().filter(|join| **join).count() < 40);
    }
}
