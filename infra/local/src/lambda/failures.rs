//! Hides how Lambda reads what a function says of a batch: which items are to come again.

use std::collections::BTreeSet;

use serde::Deserialize;

/// Which items of a batch are to be delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    These(BTreeSet<String>),
    All,
}

/// Reads a partial batch response. No response and an empty list mean that all is well; whatever
/// is malformed, or names an item that was not in the batch, means that nothing is.
pub(super) fn failed_in<'b>(response: &[u8], batch: impl Iterator<Item = &'b str>) -> Failed {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Response {
        batch_item_failures: Option<Vec<Item>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        item_identifier: String,
    }
    if response.trim_ascii().is_empty() {
        return Failed::These(BTreeSet::new());
    }
    let Ok(response) = serde_json::from_slice::<Option<Response>>(response) else {
        return Failed::All;
    };
    let items = response
        .and_then(|response| response.batch_item_failures)
        .unwrap_or_default();
    let ids: BTreeSet<_> = items.into_iter().map(|item| item.item_identifier).collect();
    let known: BTreeSet<_> = batch.collect();
    if ids.iter().all(|id| known.contains(id.as_str())) {
        Failed::These(ids)
    } else {
        Failed::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_batch_response_is_read_as_lambda_reads_it() {
        let these = |ids: &[&str]| Failed::These(ids.iter().map(ToString::to_string).collect());
        for (response, expected) in [
            ("", these(&[])),
            ("null", these(&[])),
            ("{}", these(&[])),
            (r#"{"batchItemFailures":null}"#, these(&[])),
            (r#"{"batchItemFailures":[]}"#, these(&[])),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#,
                these(&["b"]),
            ),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":"c"}]}"#,
                Failed::All,
            ),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
                Failed::All,
            ),
            (
                r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
                Failed::All,
            ),
            (r#"{"batchItemFailures":[{"messageId":"b"}]}"#, Failed::All),
            (r#"{"batchItemFailures":"b"}"#, Failed::All),
            (r#""done""#, Failed::All),
            ("{", Failed::All),
        ] {
            assert_eq!(
                failed_in(response.as_bytes(), ["a", "b"].into_iter()),
                expected,
                "{response}"
            );
        }
    }
}
