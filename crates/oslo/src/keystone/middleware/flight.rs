//! One question for all who ask the same at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::Instrument;

/// Questions that are being answered.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    waiting: Mutex<HashMap<K, watch::Receiver<Option<V>>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { waiting: Mutex::default() }
    }
}

impl<K, V> Flights<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer to a question: that of the question which is on its way already, or of this one. It is answered even
    /// if all who asked have gone. `None` if answering failed in a way that it cannot.
    pub(super) async fn join(self: &Arc<Self>, key: K, ask: impl Future<Output = V> + Send + 'static) -> Option<V> {
        let mut answer = {
            let mut waiting = self.waiting.lock();
            match waiting.get(&key) {
                Some(answer) => answer.clone(),
                None => {
                    let (tell, answer) = watch::channel(None);
                    waiting.insert(key.clone(), answer.clone());
                    let landing = Landing { flights: Arc::clone(self), key };
                    let fly = async move {
                        let value = ask.await;
                        drop(landing);
                        tell.send_replace(Some(value));
                    };
                    tokio::spawn(fly.in_current_span());
                    answer
                }
            }
        };
        answer.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }
}

/// Takes the question off the list when it is answered, or when answering it panics.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.waiting.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_same_question_is_asked_once_and_answered_to_all() {
        let (flights, asked) = (Arc::new(Flights::default()), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let (flights, asked) = (Arc::clone(&flights), Arc::clone(&asked));
                tokio::spawn(async move {
                    let ask = async move {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        asked.fetch_add(1, Ordering::SeqCst)
                    };
                    flights.join(number % 2, ask).await.unwrap()
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.unwrap() < 2);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert!(flights.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn nobody_hangs_on_a_question_that_ends_badly() {
        let flights: Arc<Flights<u8, u8>> = Arc::default();
        assert_eq!(flights.join(1, async { panic!("on purpose") }).await, None);
        assert!(flights.waiting.lock().is_empty());
        assert_eq!(flights.join(1, async { 7 }).await, Some(7));
    }
}
