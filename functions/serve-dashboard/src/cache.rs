use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::{content::Content, question::Question};

/// How many bytes of answers are kept at most: symbols and limits are the clients' choice.
const CAPACITY: usize = 16 << 20;

/// The answers of the last seconds. Time is the wall clock's: a function may be frozen between two requests.
pub struct Cache {
    lifetime: SignedDuration,
    answers: HashMap<Question, (Content, Timestamp)>,
}

impl Cache {
    /// A cache whose answers live for `seconds` from when they were read.
    pub fn new(seconds: u32) -> Self {
        Self { lifetime: SignedDuration::from_secs(seconds.into()), answers: HashMap::new() }
    }

    /// The known answer and how many whole seconds it has left; `None` where it is too old or there is none.
    pub fn get(&self, question: &Question, now: Timestamp) -> Option<(Content, u64)> {
        let (content, as_of) = self.answers.get(question)?;
        let left = self.left(*as_of, now)?;
        Some((content.clone(), left))
    }

    /// Keeps an answer that was read at `as_of`, and returns what [`Cache::get`] would.
    pub fn put(&mut self, question: Question, content: Content, as_of: Timestamp) -> (Content, u64) {
        let lifetime = self.lifetime;
        self.answers.retain(|_, (_, read)| as_of.duration_since(*read) < lifetime);
        let bytes: usize = self.answers.values().map(|(content, _)| content.len()).sum();
        if bytes + content.len() > CAPACITY {
            self.answers.clear();
        }
        self.answers.insert(question, (content.clone(), as_of));
        (content, lifetime.as_secs().unsigned_abs())
    }

    fn left(&self, as_of: Timestamp, now: Timestamp) -> Option<u64> {
        // A clock that was set back makes no answer older than none.
        let age = now.duration_since(as_of).max(SignedDuration::ZERO);
        let left = self.lifetime - age;
        left.is_positive().then(|| left.as_secs().unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Timestamp = Timestamp::constant(1_785_765_912, 250_000_000);

    fn content(bytes: usize) -> Content {
        Content::compressed("application/json", vec![0; bytes].leak())
    }

    fn after(milliseconds: i64) -> Timestamp {
        READ + SignedDuration::from_millis(milliseconds)
    }

    #[test]
    fn an_answer_lives_from_its_read_on_and_tells_the_whole_seconds_left() {
        let mut cache = Cache::new(5);
        assert_eq!(cache.put(Question::Kpi, content(1), READ).1, 5);
        let left = |at| cache.get(&Question::Kpi, at).map(|(_, left)| left);
        assert_eq!(
            [0, 1, 4999, 5000].map(|milliseconds| left(after(milliseconds))),
            [Some(5), Some(4), Some(0), None]
        );
        assert_eq!(left(after(-60_000)), Some(5), "a clock that was set back");
        assert!(cache.get(&Question::Health, READ).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut cache = Cache::new(5);
        for limit in 1..=100 {
            let question = Question::History { symbol: "AAPL".parse().unwrap(), limit };
            cache.put(question, content(1 << 20), READ);
            let kept: usize = cache.answers.values().map(|(content, _)| content.len()).sum();
            assert!(kept <= CAPACITY, "{kept}");
        }
        cache.put(Question::Kpi, content(1), after(5000));
        assert_eq!(cache.answers.len(), 1, "the old ones are forgotten");
    }
}
