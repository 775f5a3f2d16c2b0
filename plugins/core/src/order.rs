//! Few things in order, with little code.
//!
//! The sorting of the standard library, which a set collects with as well, is made for long
//! lists and takes 15 to 40 KiB of a module for each type. What is sorted here is a dozen
//! names or bindings.
//!
//! Invariant: equal things keep their order.

/// Puts `items` in ascending order.
pub fn ascending<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut sorted: Vec<T> = Vec::new();
    for item in items {
        let at = sorted.partition_point(|known| *known <= item);
        sorted.insert(at, item);
    }
    sorted
}

/// The same with equal ones once.
pub fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut sorted = ascending(items);
    sorted.dedup();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_things_are_put_in_order() {
        assert_eq!(ascending([3, 1, 2, 1]), [1, 1, 2, 3]);
        assert_eq!(distinct(["b", "a", "b"]), ["a", "b"]);
        assert!(distinct(Vec::<u8>::new()).is_empty());
    }
}
