//! What was asked of a harness and is not answered yet.

use std::collections::BTreeMap;

/// Open requests by the id they were sent with. `R` says what each is for, and which command
/// waits for its answer.
#[derive(Debug)]
pub struct Requests<R> {
    next: u64,
    open: BTreeMap<u64, R>,
}

impl<R> Default for Requests<R> {
    fn default() -> Self {
        Self::starting_at(1)
    }
}

impl<R> Requests<R> {
    /// The first id is this one, for a protocol in which a low one could be mistaken for an id of
    /// the harness. By default it is 1.
    #[must_use]
    pub fn starting_at(first: u64) -> Self {
        Self { next: first, open: BTreeMap::new() }
    }

    /// The id to send it with. Ids rise and are never used twice.
    pub fn open(&mut self, request: R) -> u64 {
        let id = self.next;
        self.next += 1;
        self.open.insert(id, request);
        id
    }

    /// The request that an answer belongs to; `None` when nobody waits for one with this id.
    pub fn close(&mut self, id: u64) -> Option<R> {
        self.open.remove(&id)
    }

    /// The open request with this id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&R> {
        self.open.get(&id)
    }

    /// Whether one of the open requests is like this.
    pub fn any(&self, wanted: impl FnMut(&R) -> bool) -> bool {
        self.open.values().any(wanted)
    }

    /// All open requests with their ids, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &R)> {
        self.open.iter().map(|(id, request)| (*id, request))
    }

    /// Forgets all of them, because nobody will answer any more, and gives them out.
    pub fn drain(&mut self) -> impl Iterator<Item = R> + use<R> {
        std::mem::take(&mut self.open).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_closes_its_request_and_no_other() {
        let mut requests = Requests::default();
        let (first, second) = (requests.open("first"), requests.open("second"));
        assert_eq!(requests.close(second), Some("second"));
        assert_eq!(requests.close(second), None);
        assert_eq!((requests.get(first), requests.get(second)), (Some(&"first"), None));
        assert!(requests.any(|request| *request == "first"));
        assert!(!requests.any(|request| *request == "second"));
    }

    #[test]
    fn no_id_is_used_twice() {
        let mut requests = Requests::starting_at(1000);
        assert_eq!((requests.open("a"), requests.open("b")), (1000, 1001));
        assert_eq!(requests.drain().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(requests.open("c"), 1002);
        assert_eq!(requests.iter().collect::<Vec<_>>(), [(1002, &"c")]);
    }
}
