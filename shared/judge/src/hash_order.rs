//! The order in which the original goes through the groups: that of its language's hash maps.
//!
//! It adds up weighted scores in this order, and a sum of doubles depends on its order in the last digit, which decides
//! now and then how the score is rounded. Grouping goes through a mutable map (Scala 2.12's) first; maps of up to four
//! entries then keep that order, larger ones become a hash trie.

/// Maps of up to this size keep the order of insertion.
const SMALL_MAP: usize = 4;

/// The names of a list with duplicates, each once, in the order of a map grouped by them.
pub(crate) fn grouped<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    of_map(mutable_map(names))
}

/// Entries of an immutable map in its order, given in the order of insertion.
pub(crate) fn of_map(mut names: Vec<&str>) -> Vec<&str> {
    if names.len() > SMALL_MAP {
        // A trie node branches on five bits of the hash, the lowest first.
        names.sort_by_key(|name| {
            let hash = trie_hash(string_hash(name));
            [0, 5, 10, 15, 20, 25, 30].map(|shift| (hash >> shift) & 31)
        });
    }
    names
}

/// `java.lang.String.hashCode`.
fn string_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    })
}

fn trie_hash(hash: u32) -> u32 {
    let hash = hash.wrapping_add(!(hash << 9));
    let hash = hash ^ (hash >> 14);
    let hash = hash.wrapping_add(hash << 4);
    hash ^ (hash >> 10)
}

/// A chained hash table: new entries go to the head of their chain, and it is gone through from its last slot.
fn mutable_map<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut slots: Vec<Vec<&str>> = vec![Vec::new(); 16];
    let mut count = 0;
    for name in names {
        let size = slots.len();
        let Some(chain) = slots.get_mut(slot(name, size)) else {
            continue;
        };
        if chain.contains(&name) {
            continue;
        }
        chain.insert(0, name);
        count += 1;
        if count * 4 > size * 3 {
            let mut larger: Vec<Vec<&str>> = vec![Vec::new(); size * 2];
            for name in slots.iter().rev().flatten() {
                if let Some(chain) = larger.get_mut(slot(name, size * 2)) {
                    chain.insert(0, name);
                }
            }
            slots = larger;
        }
    }
    slots.into_iter().rev().flatten().collect()
}

/// The slot of a name in a table of `size` slots, a power of two.
fn slot(name: &str, size: usize) -> usize {
    let bits = size.trailing_zeros();
    let swapped = string_hash(name)
        .wrapping_mul(0x9E37_75CD)
        .swap_bytes()
        .wrapping_mul(0x9E37_75CD);
    (swapped.rotate_right(bits) >> (32 - bits)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_groups_come_in_the_recorded_order() {
        let seen = [
            "latency", "memory", "über", "über", "memory", "gc", "system", "gc",
        ];
        assert_eq!(
            grouped(seen.into_iter()),
            ["system", "latency", "über", "gc", "memory"]
        );
    }

    #[test]
    fn a_table_that_grows_loses_nothing() {
        let names: Vec<String> = (0..200).map(|index| format!("group {index}")).collect();
        let mut ordered = grouped(names.iter().map(String::as_str));
        ordered.sort_unstable();
        let mut expected: Vec<&str> = names.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(ordered, expected);
    }
}
