//! What is known of services when alerts are decided.

use super::Figure;
use std::collections::BTreeMap;

/// What is known of one instance of a service at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// The service, as it stands in the stack file.
    pub(crate) service: String,
    /// Which of its instances; none where there is only one.
    pub(crate) instance: Option<String>,
    /// Its labels there.
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether it is given up.
    pub(crate) failed: bool,
    /// Whether it is wanted and can't be used.
    pub(crate) not_ready: bool,
    /// Whether its probes say that it isn't well; `None` while they don't say.
    pub(crate) unhealthy: Option<bool>,
    /// How often it was started again after trouble, as far as is known.
    pub(crate) restarts: u64,
    /// How often it came to which limit.
    pub(crate) hits: BTreeMap<&'static str, u64>,
    /// Its figures, as far as they are known.
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Why it is where it is.
    pub(crate) why: String,
}

impl Facts {
    /// The labels of an alert of this rule about it, which make up what the alert is.
    pub(super) fn labels_of(
        &self,
        rule: &str,
        more: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut labels = more.clone();
        labels.insert(super::NAME.to_owned(), rule.to_owned());
        labels.insert("service".to_owned(), self.service.clone());
        if let Some(instance) = &self.instance {
            labels.insert("instance".to_owned(), instance.clone());
        }
        labels
    }
}
