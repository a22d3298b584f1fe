//! What "latest" and labels stand for at one host, for the calls that go there (docs/adr/0010).

use std::collections::HashMap;

use tokio::sync::watch;

use crate::backend::{Standing, Target};
use crate::model::version::VersionChoice;

/// A target that is not in the list is named to the host as it is.
#[derive(Debug, Default)]
pub(super) struct Standings(watch::Sender<HashMap<Target, Standing>>);

impl Standings {
    pub(super) fn get(&self, target: &Target) -> Standing {
        self.0.borrow().get(target).copied().unwrap_or_default()
    }

    pub(super) fn set(&self, target: &Target, standing: Standing) {
        self.0.send_modify(|all| match standing {
            Standing::AsNamed => drop(all.remove(target)),
            Standing::Version { .. } | Standing::Vacant => drop(all.insert(target.clone(), standing)),
        });
    }

    /// The host has said that it no longer has this version. False where the target stands for another by now.
    pub(super) fn vacate(&self, target: &Target, version: i64) -> bool {
        self.0.send_if_modified(|all| match all.get_mut(target) {
            Some(standing) if matches!(&*standing, Standing::Version { number, .. } if *number == version) => {
                *standing = Standing::Vacant;
                true
            }
            _ => false,
        })
    }

    pub(super) fn any_vacant(&self) -> bool {
        self.0.borrow().values().any(|standing| *standing == Standing::Vacant)
    }

    /// The choices of this model whose version is gone.
    pub(super) fn vacancies(&self, model: &str) -> Vec<VersionChoice> {
        let all = self.0.borrow();
        let vacant = all.iter().filter(|(target, standing)| target.model == model && **standing == Standing::Vacant);
        vacant.map(|(target, _)| target.version.clone()).collect()
    }

    /// The version to ask for by its number; none where the target is named as it is. Waits while a place is vacant.
    pub(super) async fn version(&self, target: &Target) -> Option<i64> {
        let mut all = self.0.subscribe();
        let settled = all.wait_for(|all| all.get(target) != Some(&Standing::Vacant)).await;
        // The sender lives as long as this.
        match settled.ok()?.get(target)? {
            Standing::Version { number, .. } => Some(*number),
            Standing::AsNamed | Standing::Vacant => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest() -> Target {
        Target { model: "m".to_owned(), version: VersionChoice::Latest }
    }

    fn version(number: i64) -> Standing {
        Standing::Version { number, era: 0 }
    }

    #[tokio::test]
    async fn calls_wait_for_the_successor_of_a_version_that_is_gone() {
        let standings = Standings::default();
        assert_eq!(standings.version(&latest()).await, None, "nobody has looked");
        standings.set(&latest(), version(3));
        assert_eq!(standings.version(&latest()).await, Some(3));
        assert!(standings.vacate(&latest(), 3) && standings.any_vacant());
        assert_eq!(standings.vacancies("m"), [VersionChoice::Latest]);
        assert_eq!(standings.vacancies("other"), []);
        let target = latest();
        let (waited, ()) = tokio::join!(standings.version(&target), async {
            tokio::task::yield_now().await;
            standings.set(&latest(), version(4));
        });
        assert_eq!(waited, Some(4));
    }

    #[test]
    fn late_news_of_an_old_version_changes_nothing() {
        let standings = Standings::default();
        assert!(!standings.vacate(&latest(), 3));
        standings.set(&latest(), version(4));
        assert!(!standings.vacate(&latest(), 3));
        assert_eq!(standings.get(&latest()), version(4));
        standings.set(&latest(), Standing::AsNamed);
        assert_eq!(standings.get(&latest()), Standing::AsNamed);
    }
}
