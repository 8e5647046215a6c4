//! CloudWatch's embedded metric format: metrics in a line of a function's log.
//!
//! Format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use serde::Deserialize;
use serde_json::Value;

const NAMESPACE: &str = "Quoteflow";
/// The dimension that a count may have besides `function`.
const REASON: &str = "reason";

/// One metric of one line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub name: String,
    pub reason: Option<String>,
    /// The values since the previous line: a count's increase, or each duration.
    pub values: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    cloud_watch_metrics: Vec<Directive>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: String,
    dimensions: Vec<Vec<String>>,
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: String,
}

/// The metrics of Quoteflow's namespace in a log line, given as JSON. As in CloudWatch, a metric without a number is
/// left out, and a line in another format has none.
pub(crate) fn samples(line: &Value) -> Vec<Sample> {
    let Some(Ok(Metadata { cloud_watch_metrics })) = line.get("_aws").map(Metadata::deserialize) else {
        return Vec::new();
    };
    let mut samples = Vec::new();
    for directive in cloud_watch_metrics.iter().filter(|directive| directive.namespace == NAMESPACE) {
        let by_reason = directive.dimensions.iter().flatten().any(|dimension| dimension == REASON);
        let reason = line.get(REASON).and_then(Value::as_str).filter(|_| by_reason);
        for Metric { name } in &directive.metrics {
            let values: Vec<f64> = match line.get(name) {
                Some(Value::Array(values)) => values.iter().filter_map(Value::as_f64).collect(),
                Some(value) => value.as_f64().into_iter().collect(),
                None => Vec::new(),
            };
            if !values.is_empty() {
                samples.push(Sample { name: name.clone(), reason: reason.map(str::to_owned), values });
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(namespace: &str, dimensions: &Value, names: &[&str], members: &Value) -> Value {
        let metrics: Vec<Value> = names.iter().map(|name| json!({ "Name": name, "Unit": "Count" })).collect();
        let directive = json!({ "Namespace": namespace, "Dimensions": dimensions, "Metrics": metrics });
        let mut line = json!({ "_aws": { "Timestamp": 1, "CloudWatchMetrics": [directive] } });
        for (name, value) in members.as_object().unwrap() {
            line[name] = value.clone();
        }
        line
    }

    fn sample(name: &str, reason: Option<&str>, values: &[f64]) -> Sample {
        Sample { name: name.to_owned(), reason: reason.map(str::to_owned), values: values.to_vec() }
    }

    #[test]
    fn every_metric_of_a_line_is_read_with_one_value_or_many() {
        let line = line(
            NAMESPACE,
            &json!([["function"]]),
            &["Loaded", "LoadSeconds"],
            &json!({ "function": "load-quotes", "Loaded": 5, "LoadSeconds": [0.25, 1.5] }),
        );
        let read = samples(&line);
        assert_eq!(read, [sample("Loaded", None, &[5.0]), sample("LoadSeconds", None, &[0.25, 1.5])]);
    }

    #[test]
    fn a_reason_counts_only_where_it_is_a_dimension() {
        let members = json!({ "function": "fetch-quotes", "reason": "rate_limited", "Missed": 2.0 });
        let by_reason = line(NAMESPACE, &json!([["function", "reason"]]), &["Missed"], &members);
        assert_eq!(samples(&by_reason), [sample("Missed", Some("rate_limited"), &[2.0])]);
        let plain = line(NAMESPACE, &json!([["function"]]), &["Missed"], &members);
        assert_eq!(samples(&plain), [sample("Missed", None, &[2.0])]);
    }

    #[test]
    fn several_directives_of_a_line_are_read_and_other_namespaces_are_not() {
        let mut own =
            line(NAMESPACE, &json!([["function"]]), &["Loaded"], &json!({ "Loaded": 1, "Other": 7 }));
        let other = line("Other", &json!([[]]), &["Other"], &json!({}));
        let directives = own["_aws"]["CloudWatchMetrics"].as_array_mut().unwrap();
        directives.push(other["_aws"]["CloudWatchMetrics"][0].clone());
        directives.push(directives[0].clone());
        assert_eq!(samples(&own), [sample("Loaded", None, &[1.0]), sample("Loaded", None, &[1.0])]);
    }

    #[test]
    fn a_line_without_numbers_or_without_the_format_has_no_metrics() {
        let text = line(NAMESPACE, &json!([["function"]]), &["Loaded"], &json!({ "Loaded": "five" }));
        let missing = line(NAMESPACE, &json!([["function"]]), &["Loaded"], &json!({}));
        let empty = line(NAMESPACE, &json!([["function"]]), &["Loaded"], &json!({ "Loaded": [] }));
        let odd = [
            json!({ "_aws": { "CloudWatchMetrics": "?" } }),
            json!({ "level": "INFO" }),
            json!([1]),
            json!(null),
        ];
        for line in [text, missing, empty].iter().chain(&odd) {
            assert_eq!(samples(line), [], "{line}");
        }
    }
}
