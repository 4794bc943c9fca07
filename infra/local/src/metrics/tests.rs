//! What lines become, and what the scrape shows.

use serde_json::json;

use super::*;

fn document(metrics: &Value, members: &Value) -> String {
    let mut document = json!({
        "_aws": { "Timestamp": 1, "CloudWatchMetrics": [{
            "Namespace": "Sparkle",
            "Dimensions": [["Tier"], ["Tier", "Model"]],
            "Metrics": metrics,
        }]},
    });
    let object = document.as_object_mut().unwrap();
    object.extend(members.as_object().unwrap().clone());
    document.to_string()
}

fn turns(model: &str, count: f64) -> String {
    let metrics = json!([{ "Name": "TurnsStarted", "Unit": "Count" }]);
    document(
        &metrics,
        &json!({ "Tier": "pro", "Model": model, "TurnsStarted": count }),
    )
}

#[test]
fn counts_add_up_under_the_largest_dimension_set() {
    let metrics = Metrics::default();
    assert_eq!(metrics.record_line(&turns("m", 2.0)), Recorded::Yes);
    assert_eq!(metrics.record_line(&turns("m", 0.5)), Recorded::Yes);
    let page = metrics.render();
    assert!(
        page.contains("# TYPE turns_started_total counter\n"),
        "{page}"
    );
    assert!(
        page.contains("turns_started_total{model=\"m\",tier=\"pro\"} 2.5\n"),
        "{page}"
    );
    assert_eq!(page.matches("turns_started_total{").count(), 1, "{page}");
}

#[test]
fn times_become_histograms_in_seconds() {
    let metrics = Metrics::default();
    let directive = json!([{ "Name": "first_token_ms", "Unit": "Milliseconds" }]);
    let line = document(
        &directive,
        &json!({ "first_token_ms": [10, 11, 2_000_000] }),
    );
    assert_eq!(metrics.record_line(&line), Recorded::Yes);
    let page = metrics.render();
    for line in [
        "# TYPE first_token_seconds histogram",
        "first_token_seconds_bucket{le=\"0.005\"} 0",
        "first_token_seconds_bucket{le=\"0.01\"} 1",
        "first_token_seconds_bucket{le=\"0.025\"} 2",
        "first_token_seconds_bucket{le=\"900\"} 2",
        "first_token_seconds_bucket{le=\"+Inf\"} 3",
        "first_token_seconds_sum 2000.021",
        "first_token_seconds_count 3",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} is not in\n{page}"
        );
    }
}

#[test]
fn a_metric_without_a_unit_keeps_its_last_value() {
    let metrics = Metrics::default();
    for value in [3, 1] {
        let directive = json!([{ "Name": "breaker.open", "Unit": "None" }]);
        metrics.record_line(&document(&directive, &json!({ "breaker.open": value })));
    }
    metrics.gauge("active_sessions", "Open connections.", 7.0);
    metrics.counter("frames_refused", "Frames refused.", 2);
    metrics.counter("frames_refused_total", "Frames refused.", 3);
    let page = metrics.render();
    assert!(
        page.contains("# TYPE breaker_open gauge\nbreaker_open 1\n"),
        "{page}"
    );
    assert!(page.contains("active_sessions 7\n"), "{page}");
    assert!(page.contains("frames_refused_total 5\n"), "{page}");
}

#[test]
fn an_ordinary_line_is_not_taken() {
    let metrics = Metrics::default();
    for line in [
        "plain text",
        r#"{"level":"INFO","message":"\"CloudWatchMetrics\" is a word"}"#,
        r#"{"_aws":{"CloudWatchMetrics":"no array"}}"#,
        r#"{"_aws":{"CloudWatchMetrics":[]"#,
    ] {
        assert_eq!(metrics.record_line(line), Recorded::No, "{line}");
    }
}

#[test]
fn what_has_no_room_is_dropped_and_counted() {
    let metrics = Metrics::default();
    for n in 0..SERIES_MAX + 5 {
        metrics.record_line(&turns(&n.to_string(), 1.0));
    }
    metrics.record_line(&turns("0", -1.0));
    metrics.record_line(&turns("0", 1.0));
    let page = metrics.render();
    assert_eq!(page.matches("turns_started_total{").count(), SERIES_MAX);
    assert!(page.contains("metrics_dropped_samples_total 6\n"));
    assert!(page.contains("turns_started_total{model=\"0\",tier=\"pro\"} 2\n"));
}

#[test]
fn a_name_that_has_another_kind_already_is_dropped() {
    let metrics = Metrics::default();
    metrics.gauge("wait_seconds", "A gauge.", 1.0);
    let directive = json!([{ "Name": "wait", "Unit": "Seconds" }]);
    metrics.record_line(&document(&directive, &json!({ "wait": 2 })));
    let page = metrics.render();
    assert!(page.contains("wait_seconds 1\n"), "{page}");
    assert!(page.contains("metrics_dropped_samples_total 1\n"), "{page}");
}

#[test]
fn names_become_what_prometheus_allows() {
    for (given, expected) in [
        ("TurnsStarted", "turns_started"),
        ("gen_ai.client.token.usage", "gen_ai_client_token_usage"),
        ("HTTPErrors", "httperrors"),
        ("2xx", "_2xx"),
        ("__a--b", "a_b"),
        ("…", "unnamed"),
    ] {
        assert_eq!(snake_case(given), expected);
    }
    assert_eq!(label_name("le"), "le_");
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::default();
    metrics.record_line(&turns("a\"b\\c\nd", 1.0));
    let page = metrics.render();
    assert!(page.contains(r#"model="a\"b\\c\nd""#), "{page}");
}
